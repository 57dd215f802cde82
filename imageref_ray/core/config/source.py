"""The settings of a source: which samples are read, which pictures are fetched, which are left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.places import ADDRESS, Shared


class FetchConfig(Config):
    """How pictures get here, and what may be opened for them: public web addresses, the source's root, and this."""

    allow_hosts: tuple[str, ...] = Field((), description="hosts that may have private addresses, e.g. media.intranet")
    allow_roots: Shared[tuple[str, ...]] = Field(
        (), description="further folders, s3://bucket/prefix or gs://bucket/prefix"
    )
    connect_timeout_s: float = Field(10, gt=0, description="seconds until a connection stands")
    read_timeout_s: float = Field(20, gt=0, description="longest silence of a server")
    deadline_s: float = Field(60, gt=0, description="seconds for one picture, redirects and retries included")
    attempts: int = Field(3, ge=1, description="tries where the next one may succeed (time-outs, busy servers)")
    redirects: int = Field(5, ge=0, description="most redirects of one picture")
    parallel: int = Field(8, ge=1, description="pictures of one sample fetched at once")
    user_agent: str = Field("imageref-ray", description="what servers are told; name a contact when you crawl")
    s3_endpoint: str | None = Field(None, description="S3-compatible store, e.g. http://minio:9000")
    s3_region: str | None = Field(None, description="region of the buckets; by default the AWS environment's")
    gs_endpoint: str | None = Field(None, description="store that speaks Google's JSON API, e.g. http://fake-gcs:4443")
    anonymous: bool = Field(False, description="ask s3: and gs: without credentials (public buckets)")

    @field_validator("allow_roots")
    @classmethod
    def _can_be_read(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        for root in roots:
            if ADDRESS.match(root) and not root.startswith(("s3://", "gs://")):
                raise ValueError(f"{root} is no folder, s3://bucket/prefix or gs://bucket/prefix; give one of these")
        return roots

    @field_validator("s3_endpoint", "gs_endpoint")
    @classmethod
    def _is_a_server(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not re.fullmatch(r"https?://[^\s/]+/?", endpoint):
            raise ValueError(f"{endpoint!r} is no server; expected http(s)://host:port and nothing after it")
        return endpoint


class FilterConfig(Config):
    """Pictures left out though nothing is wrong with them; all off by default (in brackets: the paper's values)."""

    min_side: int | None = Field(None, ge=1, description="pixels of the shorter side [100]")
    aspect: tuple[float, float] | None = Field(None, description="least and most width / height [0.5, 2.0]")
    animated: bool = Field(True, description="false leaves animated pictures out [false]; else the first frame counts")
    max_ocr_chars: int | None = Field(None, ge=0, description="text in the picture, where the source tells it [100]")
    min_aesthetics: float | None = Field(None, description="aesthetic score, where the source tells it [0.01]")
    near_duplicates: int | None = Field(
        None,
        ge=0,
        le=32,
        description="within a sample, keep one of pictures whose 64-bit hashes differ in so few bits [6]",
    )

    @field_validator("aspect")
    @classmethod
    def _ordered(cls, aspect: tuple[float, float] | None) -> tuple[float, float] | None:
        if aspect and not 0 < aspect[0] < aspect[1]:
            raise ValueError(f"{list(aspect)} is no range; expected [least, most] with 0 < least < most")
        return aspect


ONLY = {"events": "paper", "files": "samples", "pages": "folder", "group": "folder"}
"""Keys of a source that belong to one kind."""


class SourceConfig(Config):
    """Where samples come from."""

    kind: Literal["paper", "samples", "folder"] = "paper"
    root: Shared[Path] = Field(description="folder that everything else is relative to")
    events: str = Field("events.jsonl", description="paper: event file inside root, beside news/ and image/")
    files: tuple[str, ...] = Field(
        ("*.jsonl", "*.parquet"), min_length=1, description="samples: files inside root, names or patterns"
    )
    pages: tuple[str, ...] = Field(
        ("**/*.html", "**/*.htm", "**/*.md", "**/*.markdown"),
        min_length=1,
        description="folder: pages inside root, names or patterns",
    )
    group: Literal["page", "folder"] = Field("page", description="folder: what is one sample, a page or a sub-folder")
    limit: int | None = Field(None, ge=1, description="read only the first N samples")
    max_image_bytes: int = Field(20_000_000, ge=1, description="larger files are refused")
    max_image_pixels: int = Field(50_000_000, ge=1, description="larger images are refused before they are decoded")
    fetch: FetchConfig = FetchConfig()
    filters: FilterConfig = FilterConfig()

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> SourceConfig:
        for key, kind in ONLY.items():
            if self.kind != kind and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} belongs to kind {kind}, not {self.kind}; leave it out or set kind: {kind}")
        return self
