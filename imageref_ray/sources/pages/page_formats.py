"""A file → its page or pages, by the type that its name says; one reader per type, imported when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from imageref_ray.sources.entries import Unusable
from imageref_ray.sources.pages.page import Page

LARGEST_PAGE, LARGEST_BOOK = 20_000_000, 500_000_000
"""Bytes; larger pages (PDF: books) are refused."""


def read_pages(path: Path) -> Iterator[tuple[str, Page | Unusable]]:
    """The pages in a file, each with its name there (empty where the file is one page), or why one cannot be used."""
    try:
        if path.suffix.lower() == ".parquet":
            from imageref_ray.sources.pages.interleaved_pages import read_interleaved

            yield from read_interleaved(path)
        else:
            yield "", read_page(path)
    except Unusable as problem:
        yield "", problem


def read_page(path: Path) -> Page:
    """The page in a file. Raises Unusable."""
    suffix = path.suffix.lower()
    largest = LARGEST_BOOK if suffix == ".pdf" else LARGEST_PAGE
    try:
        if path.stat().st_size > largest:
            raise Unusable("PageTooLarge", f"{path} has more than {largest} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise Unusable("BrokenDocument", f"{path} cannot be read: {error.strerror}") from None
    try:
        return _reader(suffix, path)(data)
    except Unusable as problem:
        raise Unusable(problem.error, f"{path} {problem}") from None


def _reader(suffix: str, path: Path) -> Callable[[bytes], Page]:
    if suffix in (".md", ".markdown", ".mdx", ".qmd", ".rmd"):
        from imageref_ray.sources.pages.markdown_page import parse_markdown

        return lambda data: parse_markdown(data, jsx=suffix == ".mdx")
    if suffix == ".rst":
        from imageref_ray.sources.pages.rst_page import parse_rst

        return parse_rst
    if suffix == ".pdf":
        from imageref_ray.sources.pages.pdf_page import parse_pdf

        return lambda data: parse_pdf(data, path)
    if suffix == ".json":
        from imageref_ray.sources.pages.docling_page import parse_docling

        return parse_docling
    from imageref_ray.sources.pages.html_page import parse_html

    return parse_html
