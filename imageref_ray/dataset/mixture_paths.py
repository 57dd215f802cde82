"""Paths in a mixture file (meta JSON): relative to the file, so that a run's folder may be moved or mounted elsewhere.

InternVL's own files name paths from the folder in which its trainer is started. Both are read: what is there beside
the file is meant, else what is in the working folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def relative(path: Path, folder: Path) -> str:
    """The path as a mixture file in `folder` names it: relative to it, absolute if it is not even in its parent."""
    path, folder = path.resolve(), folder.resolve()
    if path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    above = folder.parent
    if path.is_relative_to(above) and above != above.parent:
        return (Path("..") / path.relative_to(above)).as_posix()
    return str(path)


def placed(entry: Any, folder: Path) -> Any:
    """A data set's entry in a mixture file of `folder`: its relative paths from there, if all of them exist there.

    Else the entry unchanged: its paths are from the working folder. A `root` that is not given is the folder itself.
    """
    if not isinstance(entry, dict):
        return entry
    names = {key: value for key, value in ({"root": ""} | entry).items() if key in ("root", "annotation")}
    if not all(isinstance(value, str) for value in names.values()):
        return entry
    beside = {key: folder / value for key, value in names.items() if not Path(value).is_absolute()}
    if not all(map(os.path.exists, beside.values())):
        return entry
    return {**entry, **{key: str(path) for key, path in beside.items()}}
