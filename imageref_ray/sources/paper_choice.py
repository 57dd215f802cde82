"""Which events and documents of the paper's layout are read: those with labels, not excluded, with all their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imageref_ray.core.config import ConfigError
from imageref_ray.core.config.source import SourceConfig
from imageref_ray.core.files import first_names, require_file
from imageref_ray.core.label_rows import label_rows
from imageref_ray.sources.entries import Unusable
from imageref_ray.sources.id_lists import Ids, read_ids

_IDS = Ids("a document", ("newsID",), {"newsIDs": ("newsID",)})

EXCLUDED = "ExcludedDocument"
"""The error of a document that is left out by its id."""


@dataclass(frozen=True, slots=True)
class Choice:
    """`labelled` are the events of the label file `labels`, `excluded` the documents that the file `exclude` lists;
    with `complete`, documents with a missing image are left out, too."""

    labels: Path | None = None
    labelled: frozenset[str] = frozenset()
    exclude: Path | None = None
    excluded: frozenset[str] = frozenset()
    complete: bool = False

    def check_document(self, news: str) -> None:
        """Raise Unusable for a document that is excluded."""
        if news in self.excluded:
            raise Unusable(EXCLUDED, f"document {news} is listed in {self.exclude}")

    def check_images(self, news: str, missing: Sequence[str]) -> None:
        """Raise Unusable for a document that lacks images, where only complete ones are read."""
        if self.complete and missing:
            what = f"{len(missing)} of the images that document {news} lists ({first_names(missing)})"
            raise Unusable("IncompleteDocument", f"{what} have no file, and source.complete leaves it out")


EVERYTHING = Choice()
"""Nothing is left out."""


def read_choice(source: SourceConfig) -> Choice:
    """The files that a source names, read. Raises ConfigError for one that cannot be used."""
    labelled = frozenset(row.event for row in label_rows(source.labels)) if source.labels else frozenset[str]()
    if source.labels and not labelled:
        raise ConfigError(f"{source.labels} holds no event; give the label CSV of the events, or remove source.labels")
    excluded = read_exclusions(source.exclude) if source.exclude else frozenset[str]()
    return Choice(source.labels, labelled, source.exclude, excluded, source.complete)


def read_exclusions(path: Path) -> frozenset[str]:
    """Ids of documents (newsID): one per line, or as JSON. Raises ConfigError if the file is neither."""
    require_file(path, "the list of documents to leave out")
    return frozenset(read_ids(path, _IDS))
