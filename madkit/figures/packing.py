"""Text that a page unpacks when somebody looks at it."""

import base64
import gzip


def packed(text: str) -> str:
    """Text compressed, in letters that may stand in a page: base64 of gzip, which browsers read by themselves."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), 9, mtime=0)).decode("ascii")


def unpacked(letters: str) -> str:
    """The text of `packed`.

    Example:
        >>> unpacked(packed("a text"))
        'a text'
    """
    return gzip.decompress(base64.b64decode(letters)).decode("utf-8")
