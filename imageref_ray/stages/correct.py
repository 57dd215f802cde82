"""Instruction → the same, answered again and corrected unit by unit against the image (VIGC's loop).

    question ─one pass─▶ answer ─split─▶ unit, unit, … ─▶ corrected
                            ▲                 │ continue  kept as they come: the one-pass answer, cut to its steps
                            └─text so far─────┤ after     the next unit is written with the text so far before the image
                                              └ verify    the model is asked about each unit, as a yes/no question

The draft that came with the question is not shown. A request ends with the units that it is for (`Request.until`), so
that no step pays for text that is not used.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

from imageref_ray.core.config import CorrectConfig
from imageref_ray.core.records import Instruction, Unit, Usage
from imageref_ray.core.sentences import Kind, has_end, split
from imageref_ray.engines.base import Generate, Guide, Message, Reply, Request, Sampling
from imageref_ray.stages.prompts import instruct
from imageref_ray.stages.prompts.instruct import InstructPack

ALTERNATIVES = 20
"""First tokens whose log-probabilities are read: yes and no are spelt in several ways."""


class Ended(enum.StrEnum):
    """Why a correction ended; the values are what records hold (`Instruction.ended`)."""

    END = "end"
    """The model ended its answer."""
    STEPS = "steps"
    """There are as many units as were asked for."""
    LENGTH = "length"
    """The token limit was reached; the sentence it cut is left out."""
    REPEATS = "repeats"
    """A unit repeats an earlier one or itself; it is dropped."""


_LOOP = re.compile(r"([^\W\d].{2,59}?)(?:\s*\1){3,}", re.DOTALL)


async def correct(
    item: Instruction,
    generate: Generate,
    pack: InstructPack,
    sampling: Sampling,
    how: CorrectConfig,
    decided: Callable[[Unit], object] = lambda unit: None,
) -> Instruction:
    """`item` with `answer`, `units`, `corrected` and why the loop `ended` (`Ended`); one with a problem comes back as
    it is. `decided` is called with each unit when its fate is known.

    The loop ends after `how.steps` units at the latest. In mode verify a unit below the threshold is written again
    once, and dropped if that fails too; after a change the rest is written again. With `last_all` the last step keeps
    all that follows, in mode verify unit by unit.
    """
    if item.problem:
        return item
    requests = _Requests(item, generate, pack, sampling, how)
    reply = await requests.continue_answer([], None)
    units: list[Unit] = []
    ended = Ended.END
    async for step in _MODES[how.reread](requests, reply):
        if isinstance(step, Ended):
            ended = step
        else:
            units.append(step)
            decided(step)
    return replace(
        item,
        answer=reply.text.strip(),
        units=tuple(units),
        corrected=_text(units).strip(),
        ended=ended.value,
        usage=item.usage + requests.usage,
    )


def repeats(unit: str, earlier: Sequence[Unit]) -> bool:
    """Whether a unit repeats an earlier one (only words count, not case or punctuation) or itself."""
    return _words(unit) in {_words(other.text) for other in earlier} or bool(_LOOP.search(unit))


def enough(text: str, kind: Kind, count: int) -> bool:
    """Whether `count` units of a growing text are whole: the next one has begun."""
    return len(split(text, kind)) > count


def probability(reply: Reply, yes: str, no: str) -> float | None:
    """The probability of yes: its share of the probability of all first tokens of yes and no.

    None where the engine returns no log-probabilities of them.
    """
    yes, no = yes.lower(), no.lower()
    mass = {yes: 0.0, no: 0.0}
    for token, logprob in (reply.openings[0] if reply.openings else {}).items():
        text = token.strip().lower()
        for word in mass:
            if text and (word.startswith(text) or text.startswith(word)):
                mass[word] += math.exp(logprob)
    total = sum(mass.values())
    return mass[yes] / total if total else None


@dataclass(slots=True)
class _Requests:
    """The requests about one instruction, and what they have cost so far."""

    item: Instruction
    generate: Generate
    pack: InstructPack
    sampling: Sampling
    how: CorrectConfig
    usage: Usage = field(default_factory=Usage)

    async def continue_answer(self, units: Sequence[Unit], wanted: int | None) -> Reply:
        """The answer continued after its units so far, until the next `wanted` ones are whole (None: to its end)."""
        text, item, kind = _text(units), self.item, self.how.unit
        wording, opening = item.question, ""
        if self.how.style == "vig":
            wording = item.instruction or instruct.wording(self.pack, item.task)
            opening = instruct.pair(self.pack, item.question)
        before = text if self.how.reread == "after" else ""
        request = Request(
            instruct.turn(self.pack, item.image, wording, before),
            self.sampling,
            prefix=opening + text,
            until=None if wanted is None else lambda written: enough(written, kind, wanted),
        )
        return await self._asked(request)

    def whole_units(self, reply: Reply, left: int | None) -> list[str]:
        """The reply's whole units, where `left` steps remain (None: any number).

        With `last_all` the last step's unit is all of the rest.
        """
        text, reason = reply.text, reply.finish_reasons[0]
        if reason == "length" and not has_end(text):
            text = "".join(split(text)[:-1])
        whole = split(text, self.how.unit) if text.strip() else []
        whole = whole[:-1] if reason == "until" else whole
        if self.how.last_all and left is not None and len(whole) > left:
            whole = [*whole[: left - 1], "".join(whole[left - 1 :])]
        return whole

    async def verified(self, text: str, units: Sequence[Unit]) -> Unit:
        """The unit kept if the image shows it, else replaced by one that it shows, else dropped."""
        shown, before = await self._shown(text, units)
        if shown:
            return Unit(text, before=before)
        turns = instruct.instead(self.pack, self.item.image, self.item.question, _text(units), text)
        kind = self.how.unit
        reply = await self._asked(Request(turns, self.sampling, until=lambda written: enough(written, kind, 1)))
        replacement = "".join(split(reply.text.strip(), kind)[:1])
        if not replacement or repeats(replacement, [*units, Unit(text)]):
            return Unit(text, "dropped", replacement, before)
        lead = text[: len(text) - len(text.lstrip())]
        shown, after = await self._shown(replacement, units)
        return Unit(text, "changed" if shown else "dropped", lead + replacement, before, after)

    async def _shown(self, unit: str, units: Sequence[Unit]) -> tuple[bool, float | None]:
        """Whether the image shows the unit, and how probable that is (None: only the reply's text says it)."""
        turns: tuple[Message, ...] = instruct.verify(self.pack, self.item.image, self.item.question, _text(units), unit)
        yes, no = self.pack.yes, self.pack.no
        short = Sampling(max_tokens=8)
        reply = await self._asked(Request(turns, short, Guide("choice", (yes, no)), logprobs=ALTERNATIVES))
        share = probability(reply, yes, no)
        said = reply.text.strip().lower().startswith(yes.lower())
        return (said if share is None else share >= self.how.threshold), share

    async def _asked(self, request: Request) -> Reply:
        reply = await self.generate(request)
        self.usage += reply.usage
        return reply


Steps = AsyncIterator[Unit | Ended]
"""A mode's units, one at a time, and at last why it ended."""


async def _continue(requests: _Requests, reply: Reply) -> Steps:
    """The units of the one-pass answer as they are, up to the steps."""
    texts = requests.whole_units(reply, requests.how.steps)
    units: list[Unit] = []
    for text in texts[: requests.how.steps]:
        if repeats(text, units):
            yield Unit(text, "dropped")
            yield Ended.REPEATS
            return
        units.append(Unit(text))
        yield units[-1]
    yield _why(reply, texts[requests.how.steps :])


async def _after(requests: _Requests, reply: Reply) -> Steps:
    """The first unit of the one-pass answer, then one per request, written after the text so far and the image."""
    units: list[Unit] = []
    pending = requests.whole_units(reply, requests.how.steps)
    while pending:
        text = pending.pop(0)
        if repeats(text, units):
            yield Unit(text, "dropped")
            yield Ended.REPEATS
            return
        units.append(Unit(text))
        yield units[-1]
        left = requests.how.steps - len(units)
        if not left:
            break
        reply = await requests.continue_answer(units, None if requests.how.last_all and left == 1 else 1)
        pending = requests.whole_units(reply, left)
    yield _why(reply, pending)


async def _verify(requests: _Requests, reply: Reply) -> Steps:
    """Every unit verified by a yes/no question; after one that was changed, the rest is written again."""
    units: list[Unit] = []
    left = None if requests.how.last_all else requests.how.steps
    pending = requests.whole_units(reply, left)
    while pending and left != 0:
        text = pending.pop(0)
        if repeats(text, units):
            yield Unit(text, "dropped")
            yield Ended.REPEATS
            return
        units.append(await requests.verified(text, units))
        yield units[-1]
        left = None if left is None else left - 1
        if units[-1].action == "changed" and left != 0:
            reply = await requests.continue_answer(units, left)
            pending = requests.whole_units(reply, left)
    yield _why(reply, pending)


_MODES: dict[str, Callable[[_Requests, Reply], Steps]] = {"continue": _continue, "after": _after, "verify": _verify}


def _why(last: Reply, pending: Sequence[str]) -> Ended:
    """Why a loop ended, by its last reply and the units of that reply that were not used."""
    if pending or last.finish_reasons[0] == "until":
        return Ended.STEPS
    return Ended.LENGTH if last.finish_reasons[0] == "length" else Ended.END


def _text(units: Sequence[Unit]) -> str:
    return "".join(unit.corrected for unit in units)


def _words(text: str) -> str:
    return " ".join("".join(char if char.isalnum() else " " for char in text.casefold()).split())
