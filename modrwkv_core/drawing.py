"""Drawings for pages and files: images in ``data:`` addresses, with words for those who cannot see them.

Drawings are SVG, made with matplotlib's object interface. What is drawn in the color of the ink follows the reader's
light or dark color scheme.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Annotated, Any, Final

from matplotlib.figure import Figure
from pydantic import StringConstraints

__all__ = ["ACCENTS", "INK", "STYLE", "Drawing", "accents", "data_uri", "to_drawing", "to_svg"]

INK: Final = "#010203"  # stands for the reader's text color until the SVG is written
ACCENTS: Final = ("#3f7fdb", "#dd6b20", "#1c9a84", "#9566d6", "#c9497c", "#8a8f1d")
STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "modrwkv",
    "font.size": 8,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.xmargin": 0.01,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """An image for a page.

    Attributes:
        uri: The image itself, as a ``data:`` address.
        alt: What it shows, in words.
        pixelated: Whether enlarging must keep its pixels sharp.
    """

    uri: Annotated[str, StringConstraints(pattern="^data:image/")]
    alt: str
    pixelated: bool = False


def accents(count: int) -> list[str]:
    """Return as many colors, which repeat after the last one."""
    return [ACCENTS[index % len(ACCENTS)] for index in range(count)]


def to_svg(figure: Figure) -> str:
    """Return a figure as SVG."""
    file = io.StringIO()
    figure.savefig(file, format="svg", dpi=160, transparent=True, metadata={"Date": None})
    ink = "<style>svg{color:#1b1d22}@media(prefers-color-scheme:dark){svg{color:#e4e6ea}}</style>"
    svg = file.getvalue().replace(INK, "currentColor").replace("</metadata>", f"</metadata>{ink}", 1)
    assert ink in svg
    return svg


def to_drawing(figure: Figure, alt: str) -> Drawing:
    """Return a figure as SVG, with its description in words."""
    return Drawing(data_uri("image/svg+xml", io.BytesIO(to_svg(figure).encode())), alt)


def data_uri(kind: str, file: io.BytesIO) -> str:
    """Return a file as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
