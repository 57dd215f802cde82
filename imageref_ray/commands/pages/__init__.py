"""What all pages of the project share: values + a template ─▶ one self-contained HTML page.

`base.html` holds the frame and the look (light and dark), `parts.html` small pieces. A page loads nothing from
outside; everything that came from a document or a model is escaped, and the page's Content-Security-Policy lets
no script run but the page's own, whose hash it names.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import PIL.Image
    from jinja2 import Environment

JPEG_QUALITY = 85


@functools.cache
def environment(folder: Path) -> Environment:
    """Templates of `folder` and of this package; values are escaped, a missing one is an error."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def render(template: Path, script: str = "", **values: Any) -> str:
    """The page of `template`, which extends `base.html`. `script` is our own JavaScript: no data may be in it."""
    from markupsafe import Markup

    # The HTML parser turns line ends into \n before it hashes; anything else must be kept as it is.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    allowed = Markup(f"'sha256-{digest}'" if script else "'none'")
    page = environment(template.parent).get_template(template.name)
    return page.render(script=Markup(script), allowed=allowed, **values)


def data_uri(picture: PIL.Image.Image, longest: int) -> str:
    """An RGB picture as a JPEG data URI, at most `longest` pixels wide and high."""
    small = picture.copy()
    small.thumbnail((longest, longest))
    packed = io.BytesIO()
    small.save(packed, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode("ascii")


def line(text: str) -> dict[str, str]:
    """One line of a response without its marks: `kind` (title, header or text) and `text`."""
    level = len(text) - len(text.lstrip("#"))
    kind = "text" if not level else "title" if level == 1 else "header"
    return {"kind": kind, "text": text.lstrip("#").strip()}
