"""A model for tests of faults: it writes slowly, says which process writes, and dies where it is told to."""

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

from imageref_ray.engines.base import EngineDied, Request

WORDS = 20
PAUSE_S = 0.05


async def writer(request: Request) -> AsyncGenerator[str, None]:
    """The process's number and `WORDS` words. Raises EngineDied in the process whose number the file DIES holds."""
    yield f"{os.getpid()} "
    for number in range(1 if request.sampling.max_tokens == 1 else WORDS):
        if Path(os.environ["DIES"]).read_text() == str(os.getpid()):
            raise EngineDied("it was told to")
        yield f"word{number} "
        await asyncio.sleep(PAUSE_S)
