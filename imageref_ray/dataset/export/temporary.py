"""A folder → one beside it, in which an export is written before it counts."""

from __future__ import annotations

import glob
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imageref_ray.core.durable import writing
from imageref_ray.engines.base import EngineError


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """A folder beside it for this export alone, which is gone at the end, with what killed ones have left.

    Raises EngineError where another start of the job has begun to export meanwhile: its files are as good.
    """
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*tmp"):
        shutil.rmtree(left, ignore_errors=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with writing(temporary):
            temporary.mkdir()
        yield temporary
    except FileNotFoundError:
        if temporary.exists():
            raise
        raise EngineError(f"another start of the job has taken over {folder}; this one writes no more") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
