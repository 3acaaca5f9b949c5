"""An SVG that is the same for the same figure, and no longer than it needs to be."""

import re

_HASHES = re.compile(rb"(?<=[\"#])[a-z][0-9a-f]{10}(?=[\")])")
_COORDINATES = re.compile(rb' (?:d|x|y|cx|cy|r|width|height|points|viewBox)="[^"]*"|(?:translate|rotate)\([^)]*\)')
_DECIMALS = re.compile(rb"-?\d*\.\d{3,}")


def short_svg(svg: bytes) -> bytes:
    """The picture as it goes to a file.

    Args:
        svg: as matplotlib draws it.
    """
    return _shortened(_with_counted_identifiers(svg))


def _with_counted_identifiers(svg: bytes) -> bytes:
    """The same picture with its identifiers numbered.

    Those of matplotlib are hashes of coordinates to the last bit, which varies with what was drawn before.
    """
    names: dict[bytes, bytes] = {}
    return _HASHES.sub(lambda match: names.setdefault(match.group(), b"%b%d" % (match.group()[:1], len(names))), svg)


def _shortened(svg: bytes) -> bytes:
    """The same picture with coordinates to a hundredth of a point: digits are most of the file, and the last ones vary.

    Only coordinates: a scale of 0.015625, by which matplotlib makes letters of their outlines, needs all its digits.
    """
    return _COORDINATES.sub(lambda match: _DECIMALS.sub(_hundredth, match.group()), svg)


def _hundredth(match: re.Match[bytes]) -> bytes:
    # Coordinates like to lie on halves, quarters and eighths of a point. Rounded a little beside the middle, they go
    # one way whatever their last digits are.
    return (b"%.2f" % (float(match.group()) + 1.3e-4)).rstrip(b"0").rstrip(b".")
