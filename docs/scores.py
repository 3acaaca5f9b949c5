"""Write docs/scores.md from the docstrings of the scores; ``--check`` says whether it is up to date.

python docs/scores.py
"""

import argparse
import inspect
import sys
from pathlib import Path

from madkit import scores
from madkit.scores import Score

PAGE = Path(__file__).with_suffix(".md")
LABELS = ("Formula", "Source", "Blind to", "Use when")
SECTIONS = ("Args", "Raises", "Example")
HEAD = """# Scores

A score turns a vector into a number; higher is more anomalous. A recipe names it by its class:

```yaml
detectors:
  - feature: activations
    score: {class_path: KNearestNeighbours, init_args: {k: 10, metric: cosine}}
```

In results it is called by its name and each option that is not at its default: `knn_k10_cosine`. All are float64 and
the same for any batch size, order and number of processes. An *online* score learns from trusted prompts only, an
*offline* one from untrusted prompts too; neither sees a label. In formulas x is the row that is scored, of d features,
and mu and C are mean and covariance of the trusted rows.

This page is made from the docstrings by `python docs/scores.py`.
"""


def public() -> list[type[Score]]:
    """The scores that a recipe may name, in alphabetical order."""
    classes = [getattr(scores, name) for name in sorted(scores.__all__)]
    # A base class does not say how a row is scored.
    return [cls for cls in classes if isinstance(cls, type) and issubclass(cls, Score) and cls.score is not Score.score]


def paragraphs(cls: type[Score]) -> dict[str, str]:
    """The labelled paragraphs of a docstring, each in one line; under ``""`` those without a label."""
    texts = {"": ""}
    for part in inspect.cleandoc(cls.__doc__ or "").split("\n\n"):
        label, colon, text = part.partition(":")
        if label in LABELS:
            texts[label] = " ".join(text.split())
        elif not (colon and label in SECTIONS):
            texts[""] += " " * bool(texts[""]) + " ".join(part.split())
    return texts


def options(cls: type[Score]) -> list[str]:
    """A line for each option: its name, its default and what the docstring says of it."""
    blocks = [part for part in inspect.cleandoc(cls.__doc__ or "").split("\n\n") if part.startswith("Args:\n")]
    texts: dict[str, str] = {}
    name = ""
    for line in blocks[0].splitlines()[1:] if blocks else ():
        if line.startswith(" " * 8):
            texts[name] += " " + line.strip()
        else:
            name, _, text = line.strip().partition(": ")
            texts[name] = text
    if set(texts) != set(cls.options()):
        raise SystemExit(f"{cls.__name__}: the docstring has Args {sorted(texts)}, not {sorted(cls.options())}")
    lines = []
    for name, option in cls.options().items():
        default = "required" if option.default is option.empty else f"default `{option.default!r}`"
        lines.append(f"- `{name}` ({default}): {texts[name]}")
    return lines


def section(cls: type[Score]) -> str:
    """Everything about one score."""
    texts = paragraphs(cls)
    if missing := [label for label in LABELS if label not in texts]:
        raise SystemExit(f"{cls.__name__}: the docstring has no paragraph {missing[0]!r}")
    heading = f"`{cls.short}`, {'offline' if cls.offline else 'online'}"
    body = [f"## {cls.__name__}", f"{heading}. {texts['']}", *(f"**{label}:** {texts[label]}" for label in LABELS)]
    lines = options(cls)
    return "\n\n".join([*body, *(["**Options:**", "\n".join(lines)] if lines else [])]) + "\n"


def table() -> str:
    """All scores at a glance."""
    lines = ["| name | class | learns from | sparse rows | use when |", "|---|---|---|---|---|"]
    for cls in public():
        splits = "trusted, untrusted" if cls.offline else "trusted"
        # What comes after the first clause is in the section.
        when = paragraphs(cls).get("Use when", "").split(". ")[0].split("; ")[0].rstrip(".").replace("|", "\\|")
        link = f"[{cls.__name__}](#{cls.__name__.lower()})"
        sparse = "stay sparse" if cls.sparse else "made dense"
        lines.append(f"| `{cls.short}` | {link} | {splits} | {sparse} | {when} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page: all scores at a glance, then one section each."""
    return "\n".join([HEAD, table(), *(section(cls) for cls in public())])


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is stale")
    if not parser.parse_args().check:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        sys.exit(f"{PAGE} is stale: run `python docs/scores.py`")


if __name__ == "__main__":
    main()
