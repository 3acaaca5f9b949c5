"""`madkit data templates`: the wordings of the published quirky models as template files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import yaml

from madkit.data.prompts.published import read_published
from madkit.runs.atomic import write_atomically


def templates(source: str, out: str = "templates") -> int:
    """Write all wordings that the published quirky adapters were trained on, a file for each dataset.

    They are read from a copy of the repository that they are published in; its code is not run. Each is checked
    against what madkit knows of them. `--data.template 'templates/{dataset}.yaml'` takes them.

    Args:
        source: The copy, as `git clone https://github.com/davidoj/quirky-language-models` makes it.
        out: The folder of the files.
    """
    for name, found in read_published(Path(source)).items():
        entries = [{"template": template.text, "choices": list(template.choices)} for template in found]
        text = yaml.dump(entries, Dumper=_Lines, sort_keys=False, allow_unicode=True, width=120)
        print(write_atomically(Path(out) / f"{name}.yaml", partial(_write, text)))
    return 0


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


class _Lines(yaml.SafeDumper):
    """Writes texts of several lines as lines."""

    def represent_str(self, data: str) -> Any:
        """A text."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Lines.add_representer(str, _Lines.represent_str)
