"""The settings of a source: which samples are read, how images are fetched, which are filtered out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.places import Own, Shared, folder_or_bucket


class FetchConfig(Config):
    """How images are fetched, and from where: always allowed are public web addresses and files under source.root."""

    allow_hosts: tuple[str, ...] = Field(
        (), description="hosts that are fetched from although their addresses are private, e.g. media.intranet"
    )
    allow_roots: Shared[tuple[str, ...]] = Field(
        (), description="further places to read from: folders, s3://bucket/prefix or gs://bucket/prefix"
    )
    connect_timeout_s: float = Field(10, gt=0, description="seconds to connect to a server")
    read_timeout_s: float = Field(20, gt=0, description="maximum seconds without data from a server")
    deadline_s: float = Field(60, gt=0, description="maximum seconds per image, redirects and retries included")
    attempts: int = Field(
        3, ge=1, description="maximum tries per image after errors that may pass (time-outs, busy servers)"
    )
    redirects: int = Field(5, ge=0, description="maximum redirects per image")
    parallel: int = Field(8, ge=1, description="images of one sample fetched at once")
    user_agent: str = Field("imageref-ray", description="User-Agent header; include a contact when you crawl")
    s3_endpoint: str | None = Field(
        None, description="endpoint of an S3-compatible store, e.g. http://minio:9000; default: AWS"
    )
    s3_region: str | None = Field(None, description="region of the buckets; default: from the AWS environment")
    gs_endpoint: str | None = Field(
        None, description="endpoint of a store with Google's JSON API, e.g. http://fake-gcs:4443; default: Google Cloud"
    )
    anonymous: bool = Field(False, description="access s3: and gs: without credentials (public buckets)")

    @field_validator("allow_roots")
    @classmethod
    def _are_folders_or_buckets(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        for root in roots:
            folder_or_bucket(root)
        return roots

    @field_validator("s3_endpoint", "gs_endpoint")
    @classmethod
    def _is_a_server(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not re.fullmatch(r"https?://[^\s/]+/?", endpoint):
            raise ValueError(f"{endpoint!r} is not a server address; expected http(s)://host:port and nothing after it")
        return endpoint


class FilterConfig(Config):
    """Filters for valid images; all are off by default (the paper's values are in brackets)."""

    min_side: int | None = Field(None, ge=1, description="minimum pixels of the shorter side [100]")
    aspect: tuple[float, float] | None = Field(None, description="[min, max] of width / height [0.5, 2.0]")
    animated: bool = Field(True, description="true: use the first frame of animated images; false: skip them [false]")
    max_ocr_chars: int | None = Field(
        None, ge=0, description="maximum characters of text in the image, if the source gives them [100]"
    )
    min_aesthetics: float | None = Field(None, description="minimum aesthetic score, if the source gives one [0.01]")
    near_duplicates: int | None = Field(
        None,
        ge=0,
        le=32,
        description="within a sample, keep one of the images whose perceptual hashes differ in at most this many of 64 "
        "bits [6]",
    )

    @field_validator("aspect")
    @classmethod
    def _ordered(cls, aspect: tuple[float, float] | None) -> tuple[float, float] | None:
        if aspect and not 0 < aspect[0] < aspect[1]:
            raise ValueError(f"{list(aspect)} is not a range; expected [min, max] with 0 < min < max")
        return aspect


class FurnitureConfig(Config):
    """Which pictures of pages belong to their frame (navigation, logos, icons); each is left out and reported once."""

    share: float = Field(
        0.2,
        gt=0,
        le=1,
        description="a picture (by its content) on more than this fraction of all pages, and on 5 at least, is "
        "furniture; 1: none is for its number",
    )
    icon_side: int = Field(
        48,
        ge=0,
        description="pixels; a picture whose longer side is no longer is an icon: content only where words stand in "
        "its line or it has a caption, and on 5 % of the pages at most; 0: icons are like other pictures",
    )


class SectionsConfig(Config):
    """How long pages become several samples: cut at headings, where that is not enough between paragraphs.

    Code, tables and lists are never cut, and pictures stay with their text. A section's title is the path of headings.
    """

    max_tokens: int | None = Field(
        4000,
        ge=50,
        description="most tokens of a section's text, estimated: one per four characters, one per CJK "
        "character (reading needs no tokenizer); null: pages are not cut by tokens",
    )
    max_images: int | None = Field(
        20, ge=1, description="most pictures of a section; null: pages are not cut by pictures"
    )


ONLY = {
    **dict.fromkeys(("events", "labels", "exclude", "complete"), "paper"),
    "files": "samples",
    "pages": "folder",
    "group": "folder",
    "furniture": "folder",
    "sections": "folder",
}
"""Settings that apply to one kind of source only."""


class SourceConfig(Config):
    """Where samples come from."""

    kind: Literal["paper", "samples", "folder"] = Field(
        "paper",
        description="paper: events and news in the ImageRef-VL layout; samples: JSONL or Parquet files; folder: pages "
        "(HTML, Markdown, reStructuredText, PDF)",
    )
    root: Shared[Path] = Field(description="folder of the data; events, files and pages are relative to it")
    events: str = Field("events.jsonl", description="paper: the event file, relative to root, next to news/ and image/")
    labels: Own[Path | None] = Field(
        None, description="paper: label CSV; only events that have labels are read, the others are reported"
    )
    exclude: Own[Path | None] = Field(
        None, description="paper: file of ids (newsID) of documents to leave out: one per line, or a JSON list"
    )
    complete: bool = Field(
        False, description="paper: leave out documents that list an image whose file is missing, and report them"
    )
    files: tuple[str, ...] = Field(
        ("*.jsonl", "*.parquet"), min_length=1, description="samples: file names or glob patterns, relative to root"
    )
    pages: tuple[str, ...] = Field(
        tuple(f"**/*.{kind}" for kind in ("html", "htm", "xhtml", "md", "markdown", "mdx", "qmd", "rst", "pdf")),
        min_length=1,
        description="folder: page names or glob patterns, relative to root, whatever their letter case; files of other "
        "types (but pictures and what belongs to a site) are reported with their number",
    )
    group: Literal["page", "folder"] = Field("page", description="folder: one sample per page or per sub-folder")
    furniture: FurnitureConfig = Field(
        FurnitureConfig(), description="folder: which pictures belong to the pages' frame"
    )
    sections: SectionsConfig = Field(
        SectionsConfig(), description="folder, with group: page: how long pages are cut into several samples"
    )
    limit: int | None = Field(None, ge=1, description="read only the first N usable samples")
    max_image_bytes: int = Field(20_000_000, ge=1, description="bytes; larger image files are refused")
    max_image_pixels: int = Field(50_000_000, ge=1, description="pixels; larger images are refused before decoding")
    fetch: FetchConfig = Field(FetchConfig(), description="how images are fetched, and from where")
    filters: FilterConfig = Field(FilterConfig(), description="which valid images are filtered out")

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> SourceConfig:
        for key, kind in ONLY.items():
            if self.kind != kind and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} belongs to kind {kind}, not {self.kind}; leave it out or set kind: {kind}")
        return self
