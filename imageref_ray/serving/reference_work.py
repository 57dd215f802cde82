"""One request to `/v1/reference` while it is answered: what it asks of the engine, and what that cost."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from imageref_ray.core import images, markdown
from imageref_ray.core.config import ServeConfig
from imageref_ray.core.records import Sample, Usage
from imageref_ray.engines.base import Reply, Request, Sampling
from imageref_ray.engines.reasoning import answers
from imageref_ray.engines.reasoning_stream import answers_in_pieces
from imageref_ray.serving.openai_chat import finish_reason
from imageref_ray.serving.reference_body import ReferenceBody, language_of
from imageref_ray.serving.reference_documents import Received
from imageref_ray.serving.watched_engine import WatchedEngine
from imageref_ray.stages.prompts import Pack, load_pack


@dataclass
class Work:
    """Counts what the answer costs (`usage`) and whether the token limit cut any part of it."""

    received: Received
    body: ReferenceBody
    engine: WatchedEngine
    settings: ServeConfig
    cut: bool = False
    id: str = field(default_factory=lambda: f"ref-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    _called: Usage = field(default_factory=Usage)
    _streamed: Usage = field(default_factory=Usage)

    @property
    def usage(self) -> Usage:
        return self._called + self._streamed

    @property
    def head(self) -> dict[str, Any]:
        return {"id": self.id, "object": "reference", "created": self.created, "model": self.settings.name}

    @property
    def sample(self) -> Sample:
        return self.received.sample

    @property
    def method(self) -> str:
        return self.body.method or self.settings.method

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.body.temperature, self.body.max_tokens or self.settings.max_tokens, seed=self.body.seed)

    @property
    def pack(self) -> Pack:
        """The prompts, which ask for the answer's language."""
        pack = load_pack(self.settings.prompts)
        return pack.in_language(language_of(self.body)) if self.body.language else pack

    @property
    def system(self) -> str:
        """The system prompt of a direct answer."""
        if not self.body.language:
            return self.settings.system
        return f"{self.settings.system.rstrip()}\n{self.pack.asked_language(language_of(self.body))}".lstrip()

    async def generate(self, request: Request) -> Reply:
        """The engine's answer, for a stage, which takes one that was cut as it is. Raises what the engine raises."""
        reply = await answers(self.engine.generate)(request)
        self._called += reply.usage
        self._note(reply)
        return replace(reply, finish_reasons=("stop",) * len(reply.texts))

    async def texts(self, request: Request) -> AsyncGenerator[str, None]:
        """The answer's text: as it comes where the request wants a stream, else in one piece."""
        if not self.body.stream:
            yield (await self.generate(request)).text
            return
        async with (
            aclosing(self.engine.stream(request)) as replies,
            aclosing(answers_in_pieces(replies, request)) as pieces,
        ):
            async for reply in pieces:
                self._streamed = reply.usage
                self._note(reply)
                yield reply.text

    def _note(self, reply: Reply) -> None:
        self.cut = self.cut or "length" in map(finish_reason, reply.finish_reasons)

    def reference(self, reference: markdown.Reference) -> dict[str, Any]:
        """A reference as the answer has it."""
        image = self.sample.images[reference.k - 1]
        return {
            "k": reference.k,
            "id": image.id,
            "url": self.received.urls[image.id],
            "alt": image.alt,
            "document": image.id.rsplit("/", 1)[0],
            "sha256": image.sha256,
            "slot": reference.slot,
            "caption": reference.caption,
        }

    def pictures(self, references: Sequence[dict[str, Any]]) -> dict[int, tuple[str, str]]:
        """k → address and alternative text of the pictures of an answer, as a page can show them."""
        shown = {}
        for reference in references:
            image = self.sample.images[reference["k"] - 1]
            data = images.data_url(image.uri)
            shown[reference["k"]] = (data or reference["url"], image.alt)
        return shown
