"""Images to ask about (COCO, Objects365, a folder or a manifest) → `Image` values, and a failure for each other one.

    <root>/**/000000000139.jpg              coco         id 000000000139
    <root>/**/objects365_v2_00000001.jpg    objects365   id objects365_v2_00000001
    <root>/**/any.png                       folder       id its path under root
    <manifest>.jsonl {"image", "id"?}       manifest     id as given, else the path

Images with an id in `exclude` (used elsewhere) are skipped. Image files are not opened here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Failure, Image

Kind = Literal["coco", "objects365", "folder", "manifest"]
STAGE = "read"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")

_COCO = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{12})", re.IGNORECASE)
_OBJECTS365 = re.compile(r"(objects365_v[12]_\d{8})", re.IGNORECASE)
_PATTERNS: dict[str, re.Pattern[str]] = {"coco": _COCO, "objects365": _OBJECTS365}
_EXAMPLES = {"coco": "000000000139.jpg", "objects365": "objects365_v2_00000001.jpg"}


def read(kind: Kind, root: Path, exclude: frozenset[str] = frozenset()) -> Iterator[Image | Failure]:
    """Images in the order of their paths (of a manifest: of its lines); `root` is a folder, or the manifest's file.

    A repeated image id and a file name that does not fit the kind are failures. Raises ConfigError if the folder or
    manifest does not exist or has no image.
    """
    if kind not in get_args(Kind):
        raise ConfigError(f"images: kind {kind} is unknown; use one of {', '.join(get_args(Kind))}")
    seen: dict[str, str] = {}
    for item in _manifest(root) if kind == "manifest" else _files(kind, root):
        if isinstance(item, Failure):
            yield item
        elif item.id in seen:
            message = f"image {item.id} is both {item.uri} and {seen[item.id]}; keep one of them"
            yield Failure(item.id, STAGE, "RepeatedImage", message, item=item.uri)
        else:
            seen[item.id] = item.uri
            if image_id(item.id) not in exclude:
                yield item
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
    """Image ids to skip from a file: one per line, or a JSON list of ids or of objects with `image_id` or `image`.

    Raises ConfigError if the file does not exist or has another format.
    """
    if not path.is_file():
        raise ConfigError(
            f"exclusion list {path} does not exist; give a file of image ids: one per line, or a JSON list"
        )
    text = path.read_text(encoding="utf-8-sig")
    if not text.lstrip().startswith("["):
        return frozenset(image_id(line.strip()) for line in text.splitlines() if line.strip())
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"exclusion list {path} is not valid JSON ({error}); fix the file") from None
    named = [entry.get("image_id", entry.get("image")) if isinstance(entry, dict) else entry for entry in entries]
    ids = [image_id(name) for name in named if isinstance(name, str | int) and not isinstance(name, bool)]
    if len(ids) < len(named):
        number = next(i for i, name in enumerate(named) if isinstance(name, bool) or not isinstance(name, str | int))
        raise ConfigError(f"exclusion list {path}: entry {number} is {entries[number]!r}, not an image id")
    return frozenset(ids)


def _files(kind: str, root: Path) -> Iterator[Image | Failure]:
    if not root.is_dir():
        raise ConfigError(f"image folder {root} does not exist; set images.root to the images of kind {kind}")
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        name = path.relative_to(root).as_posix()
        match = _PATTERNS[kind].fullmatch(path.stem) if kind in _PATTERNS else None
        if kind in _PATTERNS and not match:
            message = f"{path} is not named like {_EXAMPLES[kind]}; rename it, or set images.kind to folder"
            yield Failure(name, STAGE, "UnknownName", message)
        else:
            yield Image(image_id(path.name) if match else name, str(path))


def _manifest(path: Path) -> Iterator[Image | Failure]:
    if not path.is_file():
        raise ConfigError(f'manifest {path} does not exist; give a JSONL file of {{"image": "path", "id": "name"}}')
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            yield _entry(line, f"{path.name}:{number}", path.parent)


def _entry(line: bytes, where: str, folder: Path) -> Image | Failure:
    try:
        entry: Any = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return Failure(where, STAGE, "BrokenLine", f"{where}: not valid JSON ({error}); write one JSON object per line")
    name = entry.get("image") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name:
        message = f'{where}: key image is missing; write {{"image": "path", "id": "name"}}'
        return Failure(where, STAGE, "MissingKey", message)
    return Image(str(entry.get("id") or name), str(folder / name))
