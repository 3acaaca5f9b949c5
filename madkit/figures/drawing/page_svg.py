"""An SVG as small as a page that holds many of them needs it: the same picture to a twentieth of a point."""

import base64
import io
import re
from functools import lru_cache

import numpy as np
from matplotlib.path import Path
from PIL import Image

from madkit.figures.drawing.style import DPI

TOLERANCE = 0.05
"""Points by which a line may lie beside the one that was drawn: a tenth of the thinnest line."""
_FEWEST = 8  # vertices of a line worth simplifying
_QUALITY = 50  # of WebP: dots of a scatter stay dots
_DPI = 150  # more than a screen shows of a figure that is as wide as the page
_LINES = re.compile(r' d="([MLz\d.\s-]+)"')
_GROUP = re.compile(r'<g id="([^"]*)"')
_REFERENCE = re.compile(r'#([^")]*)')
_IMAGE = re.compile(r'<image xlink:href="data:image/png;base64,\s*([^"]*)"')
_INDENT = re.compile(r"\n\s*")


def page_svg(svg: str) -> str:
    """The picture for the page.

    Straight lines lose the vertices that nobody sees and say how far each lies from the one before. Pictures in the
    picture, such as the dots of a scatter, become WebP, on white, which leaves what is below them as it is. Names of
    groups go, as nothing refers to them.

    Args:
        svg: as matplotlib draws it.
    """
    svg = _LINES.sub(lambda match: f' d="{_relative(match.group(1))}"', svg)
    svg = _IMAGE.sub(lambda match: _smaller_image(match.group(1)), svg)
    named = set(_REFERENCE.findall(svg))
    svg = _GROUP.sub(lambda match: match.group() if match.group(1) in named else "<g", svg)
    return _INDENT.sub("\n", svg)


def _relative(data: str) -> str:
    """The lines of a path: simplified, in hundredths of a point, each vertex relative to the last."""
    pieces, last = [], np.zeros(2, dtype=int)
    for part in data.split("M")[1:]:
        closed = "z" in part
        vertices = np.array(part.replace("L", " ").replace("z", " ").split(), dtype=float).reshape(-1, 2)
        hundredths = np.round(_simplified(vertices) * 100).astype(int)
        steps = np.diff(hundredths, axis=0, prepend=last[None])
        pieces.append("m" + "".join(map(_number, steps[0])))
        if moves := steps[1:][np.any(steps[1:] != 0, axis=1)].ravel().tolist():
            pieces.append("l" + "".join(map(_number, moves)))
        pieces.append("z" * closed)
        # A closed line ends where it began.
        last = hundredths[0] if closed else hundredths[-1]
    return "".join(pieces)


@lru_cache(maxsize=1 << 15)
def _number(hundredths: int) -> str:
    """As short as SVG allows: no zero before the point, and a sign or a space between numbers."""
    text = f"{hundredths / 100:.2f}".rstrip("0").rstrip(".")
    text = text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
    return text if text.startswith("-") else f" {text}"


def _simplified(vertices: np.ndarray) -> np.ndarray:
    """The vertices (n, 2) that a line needs."""
    if len(vertices) < _FEWEST:
        return vertices
    path = Path(vertices)
    path.should_simplify, path.simplify_threshold = True, TOLERANCE
    path = path.cleaned(simplify=True)
    return np.asarray(path.vertices, dtype=float)[np.asarray(path.codes) != Path.STOP]


def _smaller_image(encoded: str) -> str:
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA")
    opaque = image.getextrema()[-1] == (255, 255)
    if not opaque:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    width, height = (max(1, round(side * _DPI / DPI)) for side in image.size)
    image = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "WEBP", quality=_QUALITY, method=4)
    below = "" if opaque else 'style="mix-blend-mode:multiply" '
    return f'<image {below}xlink:href="data:image/webp;base64,{base64.b64encode(content.getvalue()).decode("ascii")}"'
