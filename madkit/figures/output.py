"""Write figures and texts: whole files only, and the same bytes for the same input."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import madkit
from madkit.errors import StoreError
from madkit.figures.registry import Sheet
from madkit.files import write_atomically

DPI = 200


def write(sheet: Sheet, out: Path, formats: Sequence[str], folders: Sequence[Path]) -> Iterator[Path]:
    """Write one sheet to `out` and yield each path; `folders` (the results drawn) go into the metadata."""
    if isinstance(sheet.body, str):
        yield _replace(out / sheet.name, sheet.body.encode("utf-8"))
        return
    for name in formats:
        buffer = io.BytesIO()
        metadata = _metadata(name, sheet.name, folders)
        sheet.body.savefig(buffer, format=name, dpi=DPI, metadata=metadata)
        # The layout holds for the other formats too, and finding it is half the time.
        sheet.body.set_layout_engine("none")
        yield _replace(out / f"{sheet.name}.{name}", buffer.getvalue())


def _metadata(format_name: str, title: str, folders: Sequence[Path]) -> dict[str, Any]:
    """Title, version and run folders under the names that each format gives them; never a date."""
    made_from = "Drawn from: " + "; ".join(folder.as_posix() for folder in folders)
    maker = f"madkit {madkit.__version__}"
    if format_name == "pdf":
        return {"Title": title, "Subject": made_from, "Creator": maker, "CreationDate": None}
    if format_name == "svg":
        return {"Title": title, "Description": made_from, "Creator": maker, "Date": None}
    return {"Title": title, "Description": made_from, "Software": maker}


def _replace(path: Path, content: bytes) -> Path:
    try:
        return write_atomically(path, lambda temporary: temporary.write_bytes(content))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreError(f"out={path.parent}: cannot write {path.name} ({reason}); name another folder.") from None
