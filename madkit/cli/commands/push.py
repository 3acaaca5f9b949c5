"""`madkit push`: a run's card, adapter, recipes and features on the hub, where others find and check them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from madkit.errors import ConfigError, StoreError
from madkit.figures.cards import Card, card_of, outdated
from madkit.figures.cards.card import FILE
from madkit.runs.hub_push import push_files

PARTS = ("card", "adapter", "recipes", "features")


def push(
    run: str,
    to: str,
    parts: list[str] | None = None,
    by: str = "",
    kind: Literal["model", "dataset"] | None = None,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
) -> int:
    """Push parts of a run in one commit. Recipes go as they are, with the paths that they name.

    Args:
        run: Folder of a run that has been judged.
        to: The repository, OWNER/NAME; it is made where there is none.
        parts: Of card, adapter, recipes and features (the stores, which may be large); by default the first three, as
            far as the run has them.
        by: Who made the run, where it has no card yet.
        kind: model or dataset; by default a model where there is an adapter.
        private: Whether a repository that is made is private.
        revision: A branch; by default the main one.
        dry_run: Only print which files would be pushed.
    """
    folder = Path(run)
    unknown = set(parts or ()) - set(PARTS)
    if unknown:
        raise ConfigError(f"parts={sorted(unknown)[0]!r}: choose from {', '.join(PARTS)}")
    adapter = (folder / "adapter" / "adapter_config.json").is_file()
    chosen = parts or ["card", *(["adapter"] if adapter else []), "recipes"]
    files: dict[str, Path | str] = {}
    if "adapter" in chosen:
        if not adapter:
            raise StoreError(f"run={run!r} has no adapter to push; name other parts, or fit one")
        # At the top, where PEFT looks; its own README is a form to fill in.
        files |= {path.name: path for path in _inside(folder / "adapter") if path.name != "README.md"}
    if "recipes" in chosen:
        files |= {
            path.name: path for path in (folder / f"{s}.yaml" for s in ("fit", "predict", "test")) if path.is_file()
        }
    if "features" in chosen:
        stored = _inside(folder / "features")
        if not stored:
            raise StoreError(f"run={run!r} has no features to push; run `madkit predict` first")
        files |= {path.relative_to(folder).as_posix(): path for path in stored}
    if "card" in chosen:
        card = _card(folder, by)
        files |= {FILE: card.json(), "README.md": _readme(card, folder)}
    if dry_run:
        print("\n".join(sorted(files)))
        return 0
    repository: Literal["model", "dataset"] = kind or ("model" if "adapter" in chosen else "dataset")
    message = f"{folder.parent.name}/{folder.name}: {', '.join(chosen)}"
    print(push_files(to, files, message, kind=repository, private=private, revision=revision))
    return 0


def _inside(folder: Path) -> list[Path]:
    """All files of a folder but hidden and unfinished ones."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(p.startswith(".") or p.endswith(".partial") for p in path.relative_to(folder).parts)
    ]


def _card(folder: Path, by: str) -> Card:
    """The card of a run: the one that lies there, as long as it says what is so."""
    made = card_of(folder, by)
    if not (folder / FILE).is_file() or by:
        return made
    written = Card.read(folder / FILE)
    if old := outdated(written, made):
        raise StoreError(f"{folder / FILE} is not of the run as it is now ({', '.join(old)}): run `madkit card` again")
    return written


def _readme(card: Card, folder: Path) -> str:
    """The card as the page of a repository, with what the hub reads at its head."""
    config = folder / "adapter" / "adapter_config.json"
    base = str(json.loads(config.read_text()).get("base_model_name_or_path")) if config.is_file() else ""
    head = ["library_name: peft"] if config.is_file() else []
    if base.count("/") == 1 and not base.startswith(("/", ".", "bases/")):
        head.append(f"base_model: {json.dumps(base)}")
    tags = ["tags:", "- madkit", "- mechanistic-anomaly-detection"]
    return "\n".join(["---", *head, *tags, "---", "", card.markdown()])
