"""An answer while it is written → the answer as the contract wants it, piece by piece: what was given out stays.

    deltas ─▶ lines ─▶ blocks that nothing later can change ─repair─▶ pieces: "…" + "…" + "…" = the whole answer

A block is settled when the next one has begun. The first line of a block is given out as it comes, up to the first
character that may begin something to be checked: an image, a link, a tag. Blocks are a blank line apart, so that none
makes something else of another. How the text is cut into deltas changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from imageref_ray.core import markdown
from imageref_ray.core.markdown import Breach, Reference, blocks
from imageref_ray.core.markdown_dangers import dangers
from imageref_ray.core.records import Sample

_WORD = r"(?:(?!I)[^\W\d_]|I[^M\n]|IM[^A\n]|IMA[^G\n]|IMAG[^E\n]|IMAGE[^_\n])"
_OPENING = re.compile(rf"(?:(?:#{{1,6}}|[-+*]|[0-9]{{1,9}}[.)]) {{1,3}})?{_WORD}")
"""The beginning of a line that tells what block it begins, where it begins one."""

_RISK = re.compile(r"[<\[\0]|!(?=\[|\Z)|IMAGE_|  |[^\S ]| \Z|I(?:M(?:A(?:GE?)?)?)?\Z")
"""Where a line may stop to be what it is now: something to be checked, or spaces that may be joined or cut off."""

_DEFINITION = "]:"

_LONG = 50_000
"""Characters of an answer beyond which its links by definition become text: each is checked with all before it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What comes next in an answer; its references, at their slots in the whole; how what was written breaks the
    contract."""

    text: str
    references: tuple[Reference, ...] = ()
    breaches: tuple[Breach, ...] = ()


class AnswerStream:
    """The answer to one sample. `feed` takes what is new of the text, `end` says that it is whole; both give pieces."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._held = ""  # a carriage return, which may be half of a line's end
        self._tail = ""  # what was written and is not settled
        self._line = 0  # where the line begins in the tail that is read now
        self._decided = False  # whether it was looked whether a block begins with that line
        self._patience = 0  # the row of the tail at which to look again
        self._row = 0  # lines before the tail
        self._given = ""  # the beginning of the next settled piece that was given out, with what separates it
        self._joint = self._next_joint = "\n\n"  # what separates it, and the one after it if that is a list's next item
        self._used: set[str] = set()
        self._slots = 0
        self._defines = False
        self.text = ""
        """The answer as far as it is settled."""

    def feed(self, text: str) -> Iterator[Piece]:
        """Take the next part of the text."""
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""
        self._tail += text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        while True:
            if not self._decided:
                seen = self._seen()
                if seen < 0:
                    break
                self._decided = True
                if self._begins(seen):
                    yield from self._settle(self._tail[: self._line])
                    self._tail, self._line, self._patience = self._tail[self._line :], 0, 0
            end = self._tail.find("\n", self._line)
            if end < 0:
                break
            self._line, self._decided = end + 1, False
        yield from self._certain()

    def end(self) -> Iterator[Piece]:
        """The rest."""
        tail, self._tail = self._tail, ""
        yield from self._settle(tail)

    def _seen(self) -> int:
        """How much of the tail shows whether its last line begins a block; -1: more must come."""
        opening = _OPENING.match(self._tail, self._line)
        return opening.end() if opening else self._tail.find("\n", self._line)

    def _begins(self, seen: int) -> bool:
        """Whether a block that depends on nothing before it begins with the line, and so settles what is before."""
        row = self._tail.count("\n", 0, self._line)
        line = self._tail[self._line : seen]
        if row < max(1, self._patience) or not line.strip():
            return False
        self._patience = row + 1 + row // 8  # the time to look grows with the tail
        found = [block for block in blocks(self._tail[:seen]) if block.kind != "image"]
        if not found or found[-1].begin != row or found[-1].bound:
            return False
        alone = blocks(line)[0]
        if (alone.kind, alone.text) != (found[-1].kind, found[-1].text):
            return False
        before = found[-2] if len(found) > 1 else None
        tight = before is not None and before.group == found[-1].group > 0 and not found[-1].apart
        self._next_joint = "\n" if tight else "\n\n"
        return True

    def _settle(self, raw: str) -> Iterator[Piece]:
        """The rest of a settled part."""
        breaches = self._breaches(raw)
        text = self._repaired(raw)
        if text and blocks(text)[0].kind != "item":  # its mark went with an image
            self._joint = "\n\n"
        if text[:1] in (" ", "\t") and not self._stands_alone(text):
            text = self._repaired("\n".join(line.lstrip() for line in raw.split("\n")))
        self._row += raw.count("\n")
        if text:
            whole = (self._joint if self.text else "") + text
            assert whole.startswith(self._given), (whole, self._given)
            found = tuple(replace(ref, slot=ref.slot + self._slots) for ref in markdown.references(text))
            self._used |= {self._sample.images[ref.k - 1].id for ref in found}
            self._slots += len(markdown.slots(markdown.strip_images(text), "after"))
            self.text += whole
            last = blocks(text)[-1].kind
            self._joint = self._next_joint if last == "item" else "\n\n"
            yield Piece(whole[len(self._given) :], found, breaches)
        else:
            self._joint = "\n\n"
            if breaches:
                yield Piece("", (), breaches)
        self._given = ""

    def _breaches(self, raw: str) -> tuple[Breach, ...]:
        if not (found := markdown.check(raw, self._sample, self._used)):
            return ()
        return tuple(markdown.check("\n" * self._row + raw, self._sample, self._used)) if self._row else tuple(found)

    def _repaired(self, raw: str) -> str:
        """A part as the contract wants it; where it defines links, or links were defined, as text if it would break."""
        text = markdown.spaced(markdown.repair(raw, self._sample, self._used)[0])
        self._defines = self._defines or _DEFINITION in text
        if not self._defines or (len(self.text) < _LONG and not dangers(f"{self.text}{self._joint}{text}")):
            return text
        plain = raw.replace("<", "&lt;").replace("[", "&#91;")
        return markdown.spaced(markdown.repair(plain, self._sample, self._used)[0])

    def _stands_alone(self, text: str) -> bool:
        """Whether indented text is what it is also behind the last block: an item or code would take it in."""
        own = blocks(text)
        last = [block for block in blocks(self.text) if block.kind != "image"][-1:]
        both = blocks("".join(block.text + self._joint for block in last) + text)
        return [(one.kind, one.text) for one in both[len(last) :]] == [(one.kind, one.text) for one in own]

    def _certain(self) -> Iterator[Piece]:
        """What is new of the tail's first line and stays as it is, whatever comes."""
        if not _OPENING.match(self._tail):
            return
        end = self._tail.find("\n")
        line = self._tail if end < 0 else self._tail[:end]
        joint = self._joint if self.text else ""
        given = len(self._given)
        begin = max(0, given - len(joint))
        risk = _RISK.search(line, begin)
        certain = joint + (line[: risk.start()].rstrip(" ") if risk else line)
        if len(certain) > max(given, len(joint)):
            self._given = certain
            yield Piece(certain[given:])
