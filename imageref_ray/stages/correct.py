"""Instruction → the same with its answer given anew and corrected unit by unit against the image (VIGC's loop).

    question ─one pass─▶ answer ─split─▶ unit, unit, … ─▶ corrected
                            ▲                 │ continue  kept as they come: the one-pass answer, cut to its steps
                            └─text so far─────┤ after     the next unit is written with the text so far before the image
                                              └ verify    each unit is put to the model as a yes/no question

The draft that came with the question is not shown. A request ends with the units it is for (`Request.until`), so
that no step pays for an answer that is thrown away.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from imageref_ray.core.config import CorrectConfig
from imageref_ray.core.records import Instruction, Unit, Usage
from imageref_ray.core.sentences import Kind, has_end, split
from imageref_ray.engines.base import Generate, Guide, Message, Reply, Request, Sampling
from imageref_ray.stages.prompts import instruct
from imageref_ray.stages.prompts.instruct import InstructPack

ALTERNATIVES = 20
"""First tokens whose log-probabilities are looked at: yes and no are spelt in several ways."""

_LOOP = re.compile(r"([^\W\d].{2,59}?)(?:\s*\1){3,}", re.DOTALL)


async def correct(
    item: Instruction, generate: Generate, pack: InstructPack, sampling: Sampling, how: CorrectConfig
) -> Instruction:
    """`item` with `answer`, `units`, `corrected` and why the loop `ended`; one with a problem comes back as it is.

    The loop ends after `how.steps` units (`"steps"`), when the model ends (`"end"`) or reaches the token limit
    (`"length"`; the sentence it cut is left out), or at a unit that repeats an earlier one or itself (`"repeats"`;
    it is dropped). In mode verify a unit below the threshold is written anew once, and dropped where that fails too;
    after a change the rest is written anew. With `last_all` the last step keeps all that follows, in mode verify
    unit by unit.
    """
    if item.problem:
        return item
    talk = _Talk(item, generate, pack, sampling, how)
    reply = await talk.go_on([], math.inf)
    answer, pending = reply.text.strip(), talk.steps(reply, [])
    units: list[Unit] = []
    while pending and talk.left(units):
        unit = pending.pop(0)
        if repeats(unit, units):
            units.append(Unit(unit, "dropped"))
            ended = "repeats"
            break
        units.append(await talk.judged(unit, units))
        if talk.left(units) and (how.reread == "after" or units[-1].action == "changed"):
            reply = await talk.go_on(units, talk.wanted(units))
            pending = talk.steps(reply, units)
    else:
        more = pending or reply.finish_reasons[0] == "until"
        ended = "steps" if more else "length" if reply.finish_reasons[0] == "length" else "end"
    spent = item.usage + talk.usage
    return replace(item, answer=answer, units=tuple(units), corrected=_text(units).strip(), ended=ended, usage=spent)


def repeats(unit: str, earlier: Sequence[Unit]) -> bool:
    """Whether a unit says what an earlier one said (words count, not case or marks), or one thing over and over."""
    return _words(unit) in {_words(other.text) for other in earlier} or bool(_LOOP.search(unit))


def enough(text: str, kind: Kind, count: float) -> bool:
    """Whether `count` units of a growing text are whole: then there is the beginning of one more."""
    return len(split(text, kind)) > count


def probability(reply: Reply, yes: str, no: str) -> float:
    """How sure the reply is of yes: its share in what is given to the first tokens of yes and no.

    An engine without log-probabilities gives 1 or 0, by the reply's text.
    """
    yes, no = yes.lower(), no.lower()
    mass = {yes: 0.0, no: 0.0}
    for token, logprob in (reply.openings[0] if reply.openings else {}).items():
        said = token.strip().lower()
        for word in mass:
            if said and (word.startswith(said) or said.startswith(word)):
                mass[word] += math.exp(logprob)
    total = sum(mass.values())
    return mass[yes] / total if total else float(reply.text.strip().lower().startswith(yes))


@dataclass(slots=True)
class _Talk:
    """The requests about one instruction, and what they have cost so far."""

    item: Instruction
    generate: Generate
    pack: InstructPack
    sampling: Sampling
    how: CorrectConfig
    usage: Usage = field(default_factory=Usage)

    def left(self, units: Sequence[Unit]) -> float:
        """How many more steps there may be."""
        endless = self.how.last_all and self.how.reread == "verify"
        return math.inf if endless else max(0, self.how.steps - len(units))

    def wanted(self, units: Sequence[Unit]) -> float:
        """How many units the next request is for: in mode after one, all that follow in a last step that keeps all."""
        if self.how.reread == "after":
            return math.inf if self.how.last_all and self.left(units) == 1 else 1
        return self.left(units)

    async def go_on(self, units: Sequence[Unit], wanted: float) -> Reply:
        """The answer continued after its units so far, until the `wanted` next ones are whole."""
        text, item, kind = _text(units), self.item, self.how.unit
        asked, opening = item.question, ""
        if self.how.style == "vig":
            asked = item.instruction or instruct.wording(self.pack, item.task)
            opening = instruct.pair(item.question)
        before = text if self.how.reread == "after" else ""
        request = Request(
            instruct.turn(self.pack, item.image, asked, before),
            self.sampling,
            prefix=opening + text,
            until=None if math.isinf(wanted) else lambda told: enough(told, kind, wanted),
        )
        return await self._asked(request)

    def steps(self, reply: Reply, units: Sequence[Unit]) -> list[str]:
        """The reply's whole units; where the last step keeps all, what follows is one with its unit."""
        text, reason = reply.text, reply.finish_reasons[0]
        if reason == "length" and not has_end(text):
            text = "".join(split(text)[:-1])
        found = split(text, self.how.unit) if text.strip() else []
        found = found[:-1] if reason == "until" else found
        left = self.left(units)
        if self.how.last_all and len(found) > left:
            found = [*found[: int(left) - 1], "".join(found[int(left) - 1 :])]
        return found

    async def judged(self, text: str, units: Sequence[Unit]) -> Unit:
        """The unit kept, changed or dropped: always kept but in mode verify."""
        if self.how.reread != "verify":
            return Unit(text)
        before = await self._probability(text, units)
        if before >= self.how.threshold:
            return Unit(text, before=before)
        turns = instruct.instead(self.pack, self.item.image, self.item.question, _text(units), text)
        kind = self.how.unit
        reply = await self._asked(Request(turns, self.sampling, until=lambda told: enough(told, kind, 1)))
        found = split(reply.text.strip(), kind)[:1]
        if not found or repeats(found[0], [*units, Unit(text)]):
            return Unit(text, "dropped", "".join(found), before)
        lead = text[: len(text) - len(text.lstrip())]
        after = await self._probability(found[0], units)
        return Unit(text, "changed" if after >= self.how.threshold else "dropped", lead + found[0], before, after)

    async def _probability(self, unit: str, units: Sequence[Unit]) -> float:
        turns: tuple[Message, ...] = instruct.verify(self.pack, self.item.image, self.item.question, _text(units), unit)
        yes, no = self.pack.yes, self.pack.no
        short = Sampling(max_tokens=8)
        reply = await self._asked(Request(turns, short, Guide("choice", (yes, no)), logprobs=ALTERNATIVES))
        return probability(reply, yes, no)

    async def _asked(self, request: Request) -> Reply:
        reply = await self.generate(request)
        self.usage += reply.usage
        return reply


def _text(units: Sequence[Unit]) -> str:
    return "".join(unit.corrected for unit in units)


def _words(text: str) -> str:
    return " ".join("".join(char if char.isalnum() else " " for char in text.casefold()).split())
