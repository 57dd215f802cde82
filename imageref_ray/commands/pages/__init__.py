"""Shared by all pages: values + a template ─▶ one self-contained HTML page.

`base.html` holds the frame and the styles (light and dark), `parts.html` small macros, `browse.html` the controls of
`browse.js`. A page loads nothing from
elsewhere; text from documents and models is escaped, and the page's Content-Security-Policy allows only the page's own
script, by its hash.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imageref_ray.core.config import ConfigError
from imageref_ray.core.durable import DiskError, write_atomically, writing

if TYPE_CHECKING:
    from jinja2 import Environment

BROWSE = Path(__file__).parent / "browse.js"
"""The script that searches, filters and pages the cards of a page; browse.html has its controls."""


@functools.cache
def environment(folder: Path) -> Environment:
    """The templates of `folder` and of this package; values are escaped, a missing one is an error."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def render(template: Path, script: str = "", **values: Any) -> str:
    """Fill in `template`, which extends `base.html`. `script` is this project's JavaScript, never data."""
    from markupsafe import Markup

    # The HTML parser turns line ends into \n before it hashes; anything else must be kept as it is.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    allowed = Markup(f"'sha256-{digest}'" if script else "'none'")
    page = environment(template.parent).get_template(template.name)
    return page.render(script=Markup(script), allowed=allowed, **values)


def write(out: Path, html: str) -> int:
    """Write the page that `--out` names, and its folder; returns its bytes. Raises ConfigError if that fails, DiskError
    for a full disk."""
    content = html.encode("utf-8", "replace")
    try:
        with writing(out, len(content)):
            out.parent.mkdir(parents=True, exist_ok=True)
            if out.is_file() or not out.exists():
                write_atomically(out.resolve(), content)  # on a full disk the page of before stays
            else:
                out.write_bytes(content)  # a pipe
    except DiskError:
        raise
    except OSError as error:
        raise ConfigError(
            f"--out {out} cannot be written: {error.strerror}; give the path of a new HTML file"
        ) from None
    return len(content)
