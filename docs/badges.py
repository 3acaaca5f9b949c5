"""Draw the badges at the head of README.md, from what pyproject.toml says.

python docs/badges.py           writes docs/badges/
python docs/badges.py --check   fails where one is stale
"""

import re
import sys
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "badges"
#: Height of a badge, and space beside a text; in pixels.
HEIGHT, SPACE = 20, 6
#: Widths of narrow and of other letters at 11 pixels, about.
NARROW, LETTER = 4.0, 6.9


def badges() -> dict[str, str]:
    """Text of each SVG by its file's name."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, tools = settings["project"], settings["tool"]
    named = [re.search(r"Python :: (3\.\d+)$", line) for line in project["classifiers"]]
    facts = {"python": ("Python", " | ".join(found[1] for found in named if found))}
    facts["licence"] = ("licence", project["license"])
    if tools["mypy"]["disallow_untyped_defs"] and (ROOT / "madkit" / "py.typed").is_file():
        facts["types"] = ("types", "mypy")
    if "ruff" in tools:
        facts["style"] = ("code style", "Ruff")
    return {f"{name}.svg": drawn(*fact) for name, fact in facts.items()}


def drawn(label: str, value: str) -> str:
    """Two fields side by side; a text has the width it is given, whatever the font."""
    widths = [round(sum(NARROW if x in " .|ijlf" else LETTER for x in text) + 2 * SPACE) for text in (label, value)]
    starts, total = (0, widths[0]), sum(widths)
    fields = "".join(
        f'<rect x="{x}" width="{width}" height="{HEIGHT}" fill="{fill}"/>'
        f'<text x="{x + SPACE}" y="14" textLength="{width - 2 * SPACE}" lengthAdjust="spacingAndGlyphs">'
        f"{escape(text)}</text>"
        for x, width, fill, text in zip(starts, widths, ("#444", "#0b5f8a"), (label, value), strict=True)
    )
    name = escape(f"{label}: {value}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{HEIGHT}" role="img" aria-label="{name}">'
        f'<title>{name}</title><clipPath id="r"><rect width="{total}" height="{HEIGHT}" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)" fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{fields}</g>'
        "</svg>\n"
    )


def main(words: list[str]) -> int:
    """Write the badges, or say which are stale."""
    wanted = badges()
    if "--check" not in words:
        FOLDER.mkdir(exist_ok=True)
        for name, text in wanted.items():
            (FOLDER / name).write_text(text)
        return 0
    there = {path.name: path.read_text() for path in FOLDER.glob("*.svg")}
    stale = sorted(name for name in wanted | there if wanted.get(name) != there.get(name))
    for name in stale:
        print(f"docs/badges/{name} is not what pyproject.toml says: python docs/badges.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
