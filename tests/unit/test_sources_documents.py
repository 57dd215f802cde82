"""reStructuredText and Docling's JSON: text, pictures with their words, and what is not read."""

import json

import pytest

from imageref_ray.sources.entries import Unusable
from imageref_ray.sources.pages.docling_page import parse_docling
from imageref_ray.sources.pages.page import Picture
from imageref_ray.sources.pages.rst_page import parse_rst

RST = """
The manual
==========

See :ref:`the menu <menu>`, :doc:`other`, |version|. Press :kbd:`Ctrl`.

.. figure:: menu.png
   :alt: The menu
   :figgroup: x

   Figure 1: It is open.

.. code-block:: python
   :linenos:

   print(1)

.. tab-set::

   .. tab-item:: Linux

      .. image:: linux.png

.. toctree::

   a

1. one
2. two

.. raw:: html

   <b>no</b>
"""


def test_restructured_text_is_read_with_what_sphinx_adds() -> None:
    page = parse_rst(RST.encode())
    assert page.title == "The manual"
    assert page.text.split("\n") == [
        "See the menu, other, |version|. Press Ctrl.",
        "[Image 0]",
        "Figure 1: It is open.",
        "```python",
        "print(1)",
        "```",
        "Linux",
        "[Image 1]",
        "1. one",
        "2. two",
    ]
    assert page.images == (
        Picture(("menu.png",), alt="The menu", caption="Figure 1: It is open."),
        Picture(("linux.png",)),
    )
    broken = parse_rst(b"Title\n=====\n\n=== ===\nA\n")
    assert [problem.error for problem in broken.problems] == ["BrokenMarkup"]


def test_a_docling_document_is_read() -> None:
    def text(label: str, words: str, **more: object) -> dict[str, object]:
        return {"label": label, "text": words, **more}

    texts = [
        text("title", "Boats"),
        text("section_header", "Red ones", level=1),
        text("page_header", "Page 3", content_layer="furniture"),
        text("list_item", "one", enumerated=True),
        text("list_item", "two", enumerated=True),
        text("code", "int x;\n  y", code_language="C"),
        text("caption", "Figure 1: A boat"),
        text("text", "After."),
    ]
    picture = {"captions": [{"$ref": "#/texts/6"}], "image": {"uri": "boat.png"}}
    document = {
        "schema_name": "DoclingDocument",
        "name": "file",
        "body": {
            "children": [
                {"$ref": f"#/{name}"}
                for name in (
                    "texts/0",
                    "texts/1",
                    "texts/2",
                    "groups/0",
                    "texts/5",
                    "pictures/0",
                    "texts/6",
                    "tables/0",
                    "texts/7",
                )
            ]
        },
        "groups": [{"label": "list", "children": [{"$ref": "#/texts/3"}, {"$ref": "#/texts/4"}]}],
        "texts": texts,
        "pictures": [{**picture, "annotations": [{"kind": "description", "text": "a red boat"}]}],
        "tables": [{"data": {"grid": [[{"text": "a"}, {"text": "b"}]]}}],
    }
    page = parse_docling(json.dumps(document).encode())
    assert page.title == "Boats"
    assert page.text.split("\n") == [
        *("## Red ones", "1. one", "2. two", "```c", "int x;", "  y", "```"),
        *("[Image 0]", "Figure 1: A boat", "a | b", "After."),
    ]
    assert page.images == (Picture(("boat.png",), alt="a red boat", caption="Figure 1: A boat"),)


@pytest.mark.parametrize("data", [b"{}", b"[1]", b"{", b'{"schema_name": 1}'])
def test_other_json_is_no_page(data: bytes) -> None:
    with pytest.raises(Unusable):
        parse_docling(data)
