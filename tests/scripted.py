"""Engines written as functions: what a perfectly obedient model would say to the compact prompts."""

import asyncio
import gc
import hashlib
import json
import math
import os
import random
import time
from pathlib import Path
from typing import Any

import ray

from imageref_ray.batch import attempts
from imageref_ray.batch.worker import Row
from imageref_ray.commands.annotation.passes import annotate
from imageref_ray.core import markdown
from imageref_ray.core.records import Failure, Usage
from imageref_ray.engines.base import EngineError, Generate, Reply, Request, RequestError
from imageref_ray.evaluation.alignment import dice
from imageref_ray.stages import prompts

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


STORY = (
    " Two red boats lie here. They cost 3.5 dollars each. Dr. Holt paints one of them.\n\n"
    "A dog sleeps on the pier. Nobody is afraid of it."
)


def storyteller(request: Request) -> str:
    """STORY from where the open turn stands; asked about it, denies the dog and sees a cat, after which all is told."""
    asked = "".join(part for part in request.messages[-1].parts if isinstance(part, str)).strip()
    if asked.endswith("Is this in the picture?"):
        return "no" if "dog" in asked else "yes"
    if "is not in the picture." in asked:
        return "A cat sleeps on the pier. It is grey."
    told = request.prefix.rpartition("Answer:")[2]
    return STORY.removeprefix(told) if STORY.startswith(told) else " That is all."


def witness(request: Request) -> Reply | str:
    """As `storyteller`, three times as sure of what it says as of the contrary."""
    said = storyteller(request)
    if not request.guide:
        return said
    surer = {"yes": math.log(0.3), "no": math.log(0.1)}
    opening = surer if said == "yes" else {"yes": math.log(0.1), "no": math.log(0.3)}
    return Reply((said,), usage=Usage(1, 5, 4, 0, 1), logprobs=((opening[said],),), openings=(opening,))


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


def costly(request: Request) -> str:
    """Refuses after two calls."""
    raise RequestError("does not fit its guide", Usage(2, 14))


def broken(request: Request) -> str:
    """An endpoint that is gone."""
    raise EngineError("nobody answers at http://localhost:1/v1")


def frozen(request: Request) -> str:
    """How many objects its process no longer looks through for garbage."""
    return str(gc.get_freeze_count())


def die_once() -> None:
    """Kills its own process, if the file named by DIES_ONCE is not there yet."""
    flag = os.environ["DIES_ONCE"]
    if not os.path.exists(flag):
        with open(flag, "w"):
            pass
        os.kill(os.getpid(), 9)


def dies_once(request: Request) -> str:
    """As `echoes`; dies over the first request for 20."""
    if request.messages[-1].parts == ("20",):
        die_once()
    return echoes(request)


def deadly(request: Request) -> str:
    """As `echoes`; whoever reads one of the numbers in POISON dies of it."""
    if request.messages[-1].parts[0] in os.environ["POISON"].split():
        os.kill(os.getpid(), 9)
    return echoes(request)


def echoes(request: Request) -> str:
    """The user's words again."""
    return f"echo {request.messages[-1].parts[0]}"


def broken_for_three(request: Request) -> str:
    """Refuses 3 only."""
    if request.messages[-1].parts == ("3",):
        raise RequestError("too busy for this one")
    return echoes(request)


def counted(request: Request) -> str:
    """As `echoes`, slowly, and every call is a line in the file named by CALLS."""
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(f"{request.messages[-1].parts[0]}\n")
    time.sleep(0.01)
    return echoes(request)


def together(path: str) -> int:
    """How many processes have come to this file, this one among them."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    return len(set(open(path).read().split()))


async def three_together(request: Request) -> str:
    """As `echoes`, once three engines are at work; the answer to 0 comes when the file CALLS.go is there."""
    path = os.environ["CALLS"]
    while together(path) < 3 or (request.messages[-1].parts == ("0",) and not os.path.exists(f"{path}.go")):
        await asyncio.sleep(0.2)
    return echoes(request)


def whereabouts(request: Request) -> str:
    """As `echoes`; the node that it runs on is a line in the file named by CALLS."""
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(f"{ray.get_runtime_context().get_node_id()}\n")
    return echoes(request)


def prepared_by_three(row: Row) -> tuple[Row, tuple[Failure, ...]]:
    """A CPU step that ends when three processes are at it (its file lies in the folder of CALLS)."""
    while together(f"{os.environ['CALLS']}.prepare") < 3:
        time.sleep(0.2)
    return row, ()


def half_an_emoji(request: Request) -> str:
    """As `annotator`; reasons of placements hold half an emoji as a JSON escape, other replies hold it raw."""
    text = annotator(request)
    if '"predictions"' in text:
        return text.replace('"image"', '"analysis": "two boats \\ud83d", "image"', 1)
    return text.replace("boats.", "boats \ud83d.")


def boundless(request: Request) -> Reply:
    """Costs more than a column can count."""
    return Reply((echoes(request),), usage=Usage(1, 2**70))


def counted_dies_once(request: Request) -> str:
    """As `counted`; dies over the first request for 100, when it is counted."""
    reply = counted(request)
    if request.messages[-1].parts == ("100",):
        die_once()
    return reply


async def counted_annotate(row: Row, generate: Generate, **more: Any) -> Row:
    """A build's own work; every record is a line in the file named by CALLS, written when its first reply is there."""
    replies = 0

    async def counting(request: Request) -> Reply:
        nonlocal replies
        reply = await generate(request)
        if replies == 0:
            with open(os.environ["CALLS"], "a") as calls:
                calls.write(f"{row['id']}\n")
        replies += 1
        return reply

    return await annotate(row, counting, **more)


def moody_annotator(request: Request) -> str:
    """As `annotator` once the file named by MENDED is there; before, it refuses everything."""
    if not os.path.exists(os.environ["MENDED"]):
        raise RequestError("not in the mood")
    return annotator(request)


async def hangs(request: Request) -> str:
    """Never answers."""
    await asyncio.Event().wait()
    return ""


def inquirer(request: Request) -> str:
    """A question with a poor draft, and a better answer to it."""
    asked = "".join(part for part in request.messages[-1].parts if isinstance(part, str))
    if "Ask a question" in asked and not request.prefix:
        return "Question: What is shown? Answer: A boat."
    return "Two red boats. They lie at the harbour."


def slow_inquirer(request: Request) -> str:
    """As `inquirer`, slow enough to be killed in the middle."""
    time.sleep(0.1)
    return inquirer(request)


def mortal_inquirer(request: Request) -> str:
    """As `slow_inquirer`; dies over the first answer, when questions and drafts are there."""
    if "Ask a question" not in str(request.messages[-1].parts[-1]) or request.prefix:
        die_once()
    return slow_inquirer(request)


def mumbler(request: Request) -> str:
    """Never a question."""
    return "hm"


def onlooker(request: Request) -> Reply | str:
    """Sees a scene whatever is asked: says so, and finds every other answer less likely."""
    if not request.scored:
        return "A scene."
    logprobs = (-1.0, -1.0) if request.prefix == "a scene" else (-3.0,)
    return Reply(("",), logprobs=(logprobs,), usage=Usage(1, 4, generated_tokens=1))


FIRST = 24
"""Requests that `onlooker_until_stopped` answers at once: several questions' with their choices."""
_answered = 0


async def onlooker_until_stopped(request: Request) -> Reply | str:
    """As `onlooker`, but in the run in $RUN's first attempt no more than the first answers come before the attempt is
    asked to stop, and the next ones only when every worker that looks knows it."""
    global _answered
    _answered += 1
    run = Path(os.environ["RUN"])
    if _answered > FIRST and attempts.newest(run) == 1:
        while not attempts.stopping(run, 1):
            await asyncio.sleep(0.05)
        await asyncio.sleep(2 * attempts.LOOK_S)
    return onlooker(request)


def grader(request: Request) -> str:
    """A judge: rates an answer by its likeness to the example; of a pair prefers the one more like the question."""
    asked = "".join(part for part in request.messages[-1].parts if isinstance(part, str))
    told = {name: asked.partition(f"<{name}>")[2].partition(f"</{name}>")[0] for name in GRADED}
    if told["answer-of-A"]:
        first, second = (dice(told["question"], told[f"answer-of-{name}"]) for name in "AB")
        return f"[[{'A' if first > second else 'B' if second > first else 'C'}]]"
    return f"As alike as that: [[{1 + 9 * dice(told['example'], told['answer']):.2f}]]"


GRADED = ("question", "example", "answer", "answer-of-A", "answer-of-B")


def counted_grader(request: Request) -> str:
    """As `grader`, every call a line in the file named by CALLS; gives no rating to what contains "unratable", and
    refuses what contains "refused" until the file named by MENDED is there."""
    with open(os.environ["CALLS"], "a") as calls:
        calls.write("asked\n")
    asked = str(request.messages[-1].parts)
    if "refused" in asked and not os.path.exists(os.environ["MENDED"]):
        raise RequestError("not in the mood")
    return "Hm." if "unratable" in asked else grader(request)


def opinionated(request: Request) -> str:
    """As `annotator`, but every reply depends on what was asked, with reasons in placements; some responses and
    captions are refused."""
    asked = "".join(part if isinstance(part, str) else part.sha256 for part in request.messages[-1].parts)
    number = int(hashlib.sha256(asked.encode()).hexdigest()[:8], 16)
    if request.guide:
        positions = request.guide.value["properties"]["predictions"]["prefixItems"]
        images = positions[0]["properties"]["image"]["enum"]
        entries = [{name: f"{name} {number}" for name in entry["properties"]} for entry in positions]
        for slot, (entry, position) in enumerate(zip(entries, positions, strict=True)):
            entry["position"] = position["properties"]["position"]["const"]
            entry["image"] = images[(number + slot) % len(images)]
        return "```json\n" + json.dumps({"predictions": entries}) + "\n```"
    if number % (40 if request.messages[-1].images else 6) == 0:
        raise RequestError("not in the mood")
    if request.messages[-1].images:
        return f'Caption: "{number} red boats,\n![seen](IMAGE_1) in the evening."'
    sections = [f"### Part {part}\n\n  What part {part} of {number} says.\n" for part in range(number % 3 + 1)]
    return "Here it is:\n# Day " + f"{number}\nOverview.\n\n" + "\n".join(sections)


def interviewer(request: Request) -> Reply:
    """Obeys the packs in English and Chinese: questions and short answers, drawn from the seed, and a long answer."""
    rng = random.Random(f"{request.sampling.seed}")
    asked = "".join(part for part in request.messages[-1].parts if isinstance(part, str))
    chinese = any("一" <= char <= "鿿" for char in asked)
    label, answer = ("问题：", "回答：") if chinese else ("Question:", "Answer:")
    if label in asked and answer not in request.prefix:
        asking = "" if request.prefix else label
        texts = [f"{asking} {rng.random()}? {answer} {'船。' if chinese else 'A boat.'}" for _ in range(request.n)]
    elif request.n > 1:
        texts = [rng.choice(("小船。", "轮船") if chinese else ("A boat.", "ship", "Pier")) for _ in range(request.n)]
    else:
        story = "一条红船。停在码头。" if chinese else " A red boat. It lies here."
        texts = [story.removeprefix(request.prefix.rpartition(answer)[2])]
    logprobs = tuple((-rng.random(), -rng.random()) for _ in texts) if request.logprobs else ()
    return Reply(tuple(texts), ("stop",) * len(texts), Usage(1, 9, 4, 0, len(texts)), logprobs)
