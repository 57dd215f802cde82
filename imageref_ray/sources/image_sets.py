"""Images to ask about (COCO, Objects365, a folder, a bucket or a manifest) → `Image` values, a failure for each other.

    <root>/**/000000000139.jpg              coco         id 000000000139
    <root>/**/objects365_v2_00000001.jpg    objects365   id objects365_v2_00000001
    <root>/**/any.png                       folder       id its path under root
    <manifest>.jsonl {"image", "id"?}       manifest     id as given, else the path or address

Linked folders are searched as well; files and folders whose names begin with a dot are not. Images with an id in
`exclude` (used elsewhere) are skipped. Image files are not opened here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

from imageref_ray.core.config import ConfigError
from imageref_ray.core.config.source import FetchConfig
from imageref_ray.core.files import shown
from imageref_ray.core.json_files import BrokenJson, JsonRow, json_rows
from imageref_ray.core.records import Failure, Image
from imageref_ray.core.text import well_formed
from imageref_ray.sources import entries, fetch_object_store, id_lists
from imageref_ray.sources.entries import EXTENSIONS, id_text, resolve_address

STAGE = entries.STAGE
Kind = Literal["coco", "objects365", "folder", "manifest"]

_COCO = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{12})", re.IGNORECASE)
_OBJECTS365 = re.compile(r"(objects365_v[12]_\d{8})", re.IGNORECASE)
_PATTERNS: dict[str, re.Pattern[str]] = {"coco": _COCO, "objects365": _OBJECTS365}
_EXAMPLES = {"coco": "000000000139.jpg", "objects365": "objects365_v2_00000001.jpg"}

_IDS = id_lists.Ids(
    "an image",
    ("image_id", "image", "file_name"),
    {"images": ("file_name", "id"), "annotations": ("image_id",), "questions": ("image_id",)},
)
"""Objects365 numbers its images without v1 or v2, which only the file name has."""


def read(
    kind: Kind, root: Path | str, exclude: frozenset[str] = frozenset(), fetching: FetchConfig | None = None
) -> Iterator[Image | Failure]:
    """Images in the order of their paths (of a manifest: of its lines).

    `root` is a folder, an s3: or gs: address (listed with the settings `fetching`), or the manifest's file. A repeated
    image id, a file name that does not fit the kind, a folder that cannot be listed and an `exclude` of which no id is
    an image here are failures. Raises ConfigError if the folder, bucket or manifest does not exist or has no image.
    """
    if kind not in get_args(Kind):
        raise ConfigError(f"images: kind {kind} is unknown; use one of {', '.join(get_args(Kind))}")
    seen: dict[str, str] = {}
    excluded = 0
    for item in _manifest(Path(root)) if kind == "manifest" else _found(kind, root, fetching or FetchConfig()):
        if isinstance(item, Failure):
            yield item
        elif item.id in seen:
            message = f"image {item.id} is both {item.uri} and {seen[item.id]}; keep one of them"
            yield Failure(item.id, STAGE, "RepeatedImage", message, item=item.uri)
        else:
            seen[item.id] = item.uri
            excluded += (leave := image_id(item.id) in exclude)
            if not leave:
                yield item
    if exclude and seen and not excluded:
        message = f"none of the {len(exclude):,} ids to leave out (e.g. {min(exclude)}) is an image of {root}"
        yield Failure("exclude", STAGE, "NothingExcluded", message, item="exclude")
    if not seen:
        what = "line with an image" if kind == "manifest" else f"image {_EXAMPLES.get(kind, 'of a known format')}"
        raise ConfigError(f"{root} has no {what}; set images.root to the images of kind {kind}")


def image_id(name: str | int) -> str:
    """The image id for a number, file name or path, in any of the ways in which data sets write it.

    COCO ids are twelve digits without the split, Objects365 ids keep v1 or v2; any other name is its own id.
    """
    text = str(name).replace("\\", "/")
    if text.isdecimal():
        return text.zfill(12)
    stem = re.sub(r"\.\w{1,5}\Z", "", text.rsplit("/", 1)[-1])
    match = _COCO.fullmatch(stem) or _OBJECTS365.fullmatch(stem)
    return match[1].lower() if match else text


def read_exclusions(path: Path) -> frozenset[str]:
    """Image ids to skip from a file: one per line, a JSON list or JSON lines of ids or of objects with `image_id`,
    `image` or `file_name`, or a JSON object as COCO's, with a list `images`, `annotations` or `questions`.

    Raises ConfigError if the file does not exist or has another format.
    """
    if not path.is_file():
        raise ConfigError(
            f"exclusion list {path} does not exist; give a file of image ids: one per line, or a JSON list"
        )
    return frozenset(map(image_id, id_lists.read_ids(path, _IDS)))


def _found(kind: str, root: Path | str, fetching: FetchConfig) -> Iterator[Image | Failure]:
    """Every image under a folder or bucket, and a failure for a name that is not of the kind."""
    if isinstance(root, Path):
        if not root.is_dir():
            raise ConfigError(f"image folder {root} does not exist; set images.root to the images of kind {kind}")
        names = _files(root, "", frozenset())
    else:
        names = iter(fetch_object_store.names(root, fetching))
    for name in names:
        if isinstance(name, Failure):
            yield name
            continue
        file = name.rpartition("/")[2]
        stem, dot, extension = file.rpartition(".")
        if f"{dot}{extension}".lower() not in EXTENSIONS or any(part[:1] == "." for part in name.split("/")):
            continue
        if (shown := well_formed(name)) != name:
            message = f"{shown} has a name that is not UTF-8; rename it"
            yield Failure(shown, STAGE, "UnreadableName", message)
            continue
        uri = str(root / name) if isinstance(root, Path) else f"{root.rstrip('/')}/{quote(name)}"
        match = _PATTERNS[kind].fullmatch(stem) if kind in _PATTERNS else None
        if kind in _PATTERNS and not match:
            message = f"{uri} is not named like {_EXAMPLES[kind]}; rename it, or set images.kind to folder"
            yield Failure(name, STAGE, "UnknownName", message)
        else:
            yield Image(image_id(file) if match else name, uri)


def _files(root: Path, below: str, above: frozenset[str]) -> Iterator[str | Failure]:
    """The names, relative to root and in order, of the files in the folder `below` it and in its folders.

    Links to folders are followed, but not to one of those `above`. Nothing is asked of a file, as each of 100,000
    questions would be a round trip on a network's file system.
    """
    folder = root / below
    above |= {os.path.realpath(folder)}
    try:
        with os.scandir(folder) as scanned:
            listed = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        yield Failure(below or str(root), STAGE, "UnreadableFolder", f"{folder} cannot be listed: {error.strerror}")
        return
    for entry in listed:
        name = f"{below}/{entry.name}" if below else entry.name
        if not (os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()):
            yield name
        elif entry.name[:1] != "." and os.path.realpath(entry.path) not in above:
            yield from _files(root, name, above)


def _manifest(path: Path) -> Iterator[Image | Failure]:
    if not path.is_file():
        raise ConfigError(f'manifest {path} does not exist; give a JSONL file of {{"image": "path", "id": "name"}}')
    for row in json_rows(path):
        yield _entry(row, f"{path.name}{row.place}", path.parent)


def _entry(row: JsonRow, where: str, folder: Path) -> Image | Failure:
    try:
        entry: Any = row.read()
    except BrokenJson as error:
        return Failure(where, STAGE, "BrokenLine", f"{where}: {error}")
    name = entry.get("image") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name:
        message = f'{where}: key image is missing; write {{"image": "path", "id": "name"}}'
        return Failure(where, STAGE, "MissingKey", message)
    id = id_text(entry.get("id"))
    if id is None:
        message = f"{where}: id {shown(repr(entry['id']))} is neither a text nor a whole number"
        return Failure(where, STAGE, "BrokenLine", message)
    return Image(id or name, resolve_address(folder, name))
