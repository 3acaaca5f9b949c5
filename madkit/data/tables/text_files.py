"""Text of files that other programs wrote: compressed, with a byte-order mark, or in another encoding."""

from __future__ import annotations

import codecs
import lzma
import zipfile
import zlib
from pathlib import Path

import fsspec

from madkit.errors import ConfigError, DataError

_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
#: What opening and decompressing a file may raise.
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, ImportError)


def read_text(file: Path, encoding: str = "utf-8") -> str:
    """The text of a file, without the mark at its beginning.

    Args:
        file: What to read; by its suffix it may be compressed.
        encoding: Of the text.

    Raises:
        ConfigError: It cannot be opened, or there is no such encoding.
        DataError: It is in another encoding, or damaged.
    """
    content = read_bytes(file)
    try:
        return content.decode(without_mark(encoding))
    except UnicodeError as error:
        raise encoding_error(file, encoding, content, error) from None
    except LookupError:
        raise unknown_encoding(encoding) from None


def read_bytes(file: Path, limit: int = -1) -> bytes:
    """The first bytes of a file, decompressed; by default all of them.

    Raises:
        ConfigError: It cannot be opened.
        DataError: It is damaged.
    """
    try:
        with fsspec.open(str(file), "rb", compression="infer") as stream:
            return stream.read(limit)
    except UNREADABLE as error:
        raise unreadable(file, error) from None


def unreadable(file: Path, error: Exception) -> ConfigError | DataError:
    """What to raise for one of the errors `UNREADABLE`."""
    if isinstance(error, OSError) and error.strerror:
        return ConfigError(f"{str(file)!r} cannot be read: {error.strerror}")
    if isinstance(error, ImportError):
        return ConfigError(f"{str(file)!r} cannot be decompressed here ({error}): unpack it, or use .gz")
    return DataError(f"{str(file)!r} is damaged ({error or type(error).__name__}): copy or download it again")


def without_mark(encoding: str) -> str:
    """The name of a codec that skips a byte-order mark, where it is of UTF-8.

    Example:
        >>> without_mark("UTF_8"), without_mark("latin-1")
        ('utf-8-sig', 'latin-1')
    """
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding


def check_text(file: Path, encoding: str) -> None:
    """Refuse a file that is UTF-16 by its first bytes, which other codecs might take for odd letters.

    Raises:
        DataError: It begins with the mark of another encoding, or with zeros between the letters.
    """
    content = read_bytes(file, 4096)
    if without_mark(encoding) == "utf-8-sig" and (content.startswith(_MARKS[1:]) or b"\0" in content):
        raise encoding_error(file, encoding, content)


def encoding_error(file: Path, encoding: str, content: bytes, error: UnicodeError | None = None) -> DataError:
    """What to raise where some bytes are not in the encoding that they should be in."""
    if content.startswith(_MARKS[1:]) or b"\0" in content[:4096]:
        reason, source = "it looks like UTF-16", "UTF-16"
    else:
        start = getattr(error, "start", 0)
        line = content.count(b"\n", 0, start) + 1
        reason = f"{getattr(error, 'reason', error)} in line {line}, byte {start}"
        source = "WINDOWS-1252"
    return DataError(
        f"{str(file)!r} is not {encoding} ({reason}): save it as UTF-8, such as by `iconv -f {source} -t UTF-8`; of a "
        "raw table you can also set its encoding, such as latin-1 or utf-16"
    )


def unknown_encoding(encoding: str) -> ConfigError:
    """What to raise for a codec that does not exist."""
    return ConfigError(f"encoding={encoding!r} is not known: try utf-8, latin-1 or utf-16")
