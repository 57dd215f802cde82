"""A damaged page of any format is read or told, and never ends in a traceback."""

import random
from pathlib import Path

import pytest

from imageref_ray import sources
from imageref_ray.core.config import SourceConfig
from imageref_ray.core.records import Failure
from tests.unit.pdf_files import Shown, Word, pdf

DAMAGED = {
    ".md": b"---\ntitle: [x]\n---\n# T\n\n!!! note\n    ![a](a.png)\n\n"
    b"```{figure} b.png\n:alt: x\n\nc\n```\n[[x|y]] {a}`b` $x$\n",
    ".mdx": b"import a from 'b.png'\n\n<Tabs x={{a: 1}}>\n<Image src={a}/>\n</Tabs>\n{/* x */}\n",
    ".rst": b"T\n=\n\n.. figure:: a.png\n   :alt: x\n\n   c\n\n.. tip::\n\n   `x`_ :ref:`a <b>`\n\n"
    b"=== ===\nA   B\n=== ===\n",
    ".json": b'{"schema_name": "DoclingDocument", "body": {"children": [{"$ref": "#/texts/0"}]}, '
    b'"texts": [{"text": "a"}]}',
    ".pdf": pdf([[Word("Words", 40, 300), Shown("red", (40, 100, 90, 90))]]),
}


@pytest.mark.parametrize("suffix", DAMAGED)
def test_a_damaged_page_is_read_or_told(suffix: str, tmp_path: Path) -> None:
    good = DAMAGED[suffix]
    for number in range(40):
        draw_one = random.Random(f"{suffix} {number}")
        data = bytearray(good)
        at = draw_one.randrange(len(data))
        if number % 4 == 1:
            data = data[:at]
        elif number % 4 == 2:
            data[at : at + 1] = bytes(draw_one.randrange(256) for _ in range(3))
        elif number % 4 == 3:
            data[at:at] = draw_one.choice([b"[", b"> ", b"{", b"```{", b"<", b"\\ud83d", b'{"a":']) * draw_one.choice(
                [3, 300]
            )
        path = tmp_path / f"p{suffix}"
        path.write_bytes(bytes(data))
        found = list(sources.read(SourceConfig(kind="folder", root=tmp_path, pages=["p.*"])))
        assert found, number
        assert number or not isinstance(found[-1], Failure) or found[-1].error == "NoImages"
