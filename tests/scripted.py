"""Engines written as functions: what a perfectly obedient model would say to the compact prompts."""

import os
import time

from imageref_ray import markdown, prompts
from imageref_ray.engines.base import EngineError, Request, RequestError

RESPONSE = "# A day out\nWhat happened in short.\n### The harbour\nBoats came.\n### The market\nPeople bought fish."


def annotator(request: Request) -> str:
    """A response, a description, a caption, or the first pictures at the first slots."""
    asked = "".join(part for part in request.messages[-1].parts if isinstance(part, str))
    if asked.endswith("Write the response."):
        return RESPONSE
    if asked.endswith("Place the pictures."):
        captions = sum(line.startswith("IMAGE_") for line in asked.splitlines())
        slots = len(markdown.slots(RESPONSE, "before"))
        return prompts.predictions([k if k <= captions else None for k in range(1, slots + 1)])
    return "Two red boats."


def slow_annotator(request: Request) -> str:
    """As `annotator`, slow enough to be killed in the middle."""
    time.sleep(0.02)
    return annotator(request)


def picky(request: Request) -> str:
    """Answers "echo n", refuses 3, trips over 5, is not an answer a parser accepts at 7."""
    number = int(str(request.messages[-1].parts[0]))
    if number == 3:
        raise RequestError("prompt of 9000 tokens is longer than 2048")
    if number == 5:
        raise ZeroDivisionError("a bug in somebody's script")
    return "nonsense" if number == 7 else f"echo {number}"


def broken(request: Request) -> str:
    """An endpoint that is gone."""
    raise EngineError("nobody answers at http://localhost:1/v1")


def dies_once(request: Request) -> str:
    """Kills its own process at the first request for 20, if the file named by DIES_ONCE is not there yet."""
    number = int(str(request.messages[-1].parts[0]))
    flag = os.environ["DIES_ONCE"]
    if number == 20 and not os.path.exists(flag):
        with open(flag, "w"):
            pass
        os.kill(os.getpid(), 9)
    return f"echo {number}"


def echoes(request: Request) -> str:
    """The user's words again."""
    return f"echo {request.messages[-1].parts[0]}"


def broken_for_three(request: Request) -> str:
    """Refuses 3 only."""
    if request.messages[-1].parts == ("3",):
        raise RequestError("too busy for this one")
    return echoes(request)
