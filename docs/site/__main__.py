"""Build the documentation as a site in build/docs/html: the pages of the repository and a reference.

python docs/site

Fails where a link leads nowhere, and where a public name has no place in the reference. It needs no network.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from linked_pages import copy_linked, links
from reference import public_names, write_api, write_commands

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "docs"
#: The pages from which all others are reached.
FIRST = ["README.md", "docs/README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


def navigation(index: str) -> list[dict[str, object]]:
    """The sections of docs/README.md, each with the pages that it links to."""
    sections: list[dict[str, object]] = []
    for part in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        paths = dict.fromkeys((Path("docs") / link).as_posix() for link in links(body) if ".md" in link)
        sections.append({title.strip(): [_inside(path) for path in paths]})
    return sections


def _inside(path: str) -> str:
    return (ROOT / path).resolve().relative_to(ROOT).as_posix()


def main() -> None:
    """Make the source, build the site, look whether all names are in it."""
    shutil.rmtree(BUILD, ignore_errors=True)
    source = BUILD / "source"
    copy_linked(ROOT, FIRST, source)
    nav: list[object] = [{"Overview": "README.md"}, {"Documentation": "docs/README.md"}]
    nav += navigation((ROOT / "docs" / "README.md").read_text(encoding="utf-8"))
    nav.append({"API": [{title: path} for title, path in write_api(source)]})
    nav.append({"Commands": [{title: path} for title, path in write_commands(source)]})
    nav.append({"Project": [{"Contributing": "CONTRIBUTING.md"}, {"Changes": "CHANGELOG.md"}]})
    config = (Path(__file__).parent / "zensical.toml").read_text(encoding="utf-8")
    # JSON's lists and strings are TOML's; its objects are not.
    listed = re.sub(r'\{("(?:[^"\\]|\\.)*"): ', r"{\1 = ", json.dumps(nav, ensure_ascii=False))
    (BUILD / "zensical.toml").write_text(
        config.replace("[project]\n", f"[project]\nnav = {listed}\n"), encoding="utf-8"
    )
    subprocess.run([Path(sys.executable).with_name("zensical"), "build", "--clean", "--strict"], cwd=BUILD, check=True)
    pages = {
        path.stem: path.read_text(encoding="utf-8") for path in (BUILD / "html" / "reference" / "api").glob("*.html")
    }
    missing = [
        name
        for package, names in public_names().items()
        for name in names
        if f'id="{name}"' not in pages.get(package, "")
    ]
    if missing:
        raise SystemExit(f"not in the reference: {', '.join(missing)}")
    print("open build/docs/html/index.html, or with its search: python -m http.server --directory build/docs/html")


if __name__ == "__main__":
    main()
