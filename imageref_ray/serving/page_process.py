"""A process of its own that reads pages of requests: a line of JSON in, `[format, text]`, a line out, the page.

A page can be made to take minutes, in which nobody else would be answered. The system ends this process when one page
has taken as many seconds of processor time as its argument says; whatever the load, an honest page takes a part of one.
"""

from __future__ import annotations

import codecs
import json
import resource
import sys
from typing import Any

from imageref_ray.core.records import to_row
from imageref_ray.sources.pages.figures import with_words
from imageref_ray.sources.pages.html_page import parse_html
from imageref_ray.sources.pages.markdown_page import parse_markdown


def main(seconds: int) -> None:
    """Answer until the input ends."""
    for line in sys.stdin.buffer:
        used = resource.getrusage(resource.RUSAGE_SELF)
        most = int(used.ru_utime + used.ru_stime) + 1 + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        sys.stdout.buffer.write(json.dumps(_page(*json.loads(line))).encode() + b"\n")
        sys.stdout.buffer.flush()


def _page(kind: str, text: str) -> dict[str, Any] | None:
    """The page as a row; None for one at which its reader fails."""
    parse = parse_markdown if kind == "markdown" else parse_html
    try:
        return to_row(with_words(parse(codecs.BOM_UTF8 + text.encode())))
    except Exception:  # noqa: BLE001 (this page's; the next one is read)
        return None


if __name__ == "__main__":
    main(int(sys.argv[1]))
