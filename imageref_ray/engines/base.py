"""The one seam to a model: `generate(Request) -> Reply`. Stages see nothing else of an engine.

Images travel as references (uri + sha256); whoever runs the model opens them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from imageref_ray.core.records import Image, Usage


@dataclass(frozen=True, slots=True)
class Message:
    """One chat turn; `parts` are texts and images in reading order."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | Image, ...]

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(part for part in self.parts if isinstance(part, Image))


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn; temperature 0 is greedy.

    `options` are further parameters by vLLM's names (top_k, presence_penalty, …). An engine lists those it knows in its
    attribute `options`, with "logprobs" if its replies have `tokens`; nobody gives it others.
    """

    temperature: float = 0.0
    max_tokens: int = 1024
    min_tokens: int = 0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Guide:
    """What the reply must look like: a regular expression, a JSON schema (a dict) or a tuple of choices."""

    kind: Literal["regex", "json", "choice"]
    value: Any


@dataclass(frozen=True, slots=True)
class Request:
    """One call. `prefix` opens the assistant's turn, which the reply then continues (the reply excludes it).

    `logprobs` asks for the log-probability of every generated token (and that many alternatives to the first).
    `until` (for n = 1) ends the reply as soon as it is true of the text so far, which is then a token or so longer than
    needed; an engine that cannot check while it generates writes the whole reply, so callers must handle both.
    `shared`: equal requests of a run may share one reply (greedy, without logprobs): it is asked for once.
    `scored` asks how likely the prefix is, and for no text: `sampling`, `guide`, `n` and `logprobs` are ignored.
    Only an engine that returns the prompt's log-probabilities can do this (`engines.check_scoring`).
    `must_fit`: refuse the request where the model's context has no room for `max_tokens` after the prompt's text; else
    a reply may end earlier, with `"length"`.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    guide: Guide | None = None
    prefix: str = ""
    n: int = 1
    logprobs: int | None = None
    shared: bool = False
    scored: bool = False
    must_fit: bool = False
    until: Callable[[str], bool] | None = None

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(image for message in self.messages for image in message.images)


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token: its text (an incomplete character is U+FFFD), its log-probability, and the likeliest at its
    place with theirs, likeliest first, as many as were asked for."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """`n` texts with why each ended (`"stop"`, `"length"`, `"until"`) and what the call cost.

    Where the request asked for them, `logprobs[i]` holds the log-probabilities (natural logarithms) of text i's
    generated tokens and `openings[i]` those of its likeliest first tokens, by their text, the generated one among them.
    Under a guide, only tokens that it allows count. A scored request has one empty text, and `logprobs[0]` holds the
    log-probabilities of the prefix's tokens, each given everything before it; the end of the turn is not included.
    `images_counted`: the usage's `image_tokens` are a count, not 0 because the endpoint reports none. `thinking`: the
    mark with which the prompt has begun the model's reasoning, which the texts go on with (`reasoning.answers`).
    `tokens[i]` are text i's tokens one by one, from an engine whose `options` say so. In a stream of several texts
    `index` is the number of the first text of this piece.
    """

    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...] = ("stop",)
    usage: Usage = field(default_factory=Usage)
    logprobs: tuple[tuple[float, ...], ...] = ()
    openings: tuple[dict[str, float], ...] = ()
    images_counted: bool = False
    thinking: str = ""
    tokens: tuple[tuple[Token, ...], ...] = ()
    index: int = 0

    @property
    def text(self) -> str:
        return self.texts[0]


class Engine(Protocol):
    """Anything that answers a request. Raises `RequestError` when this one request cannot be answered."""

    async def generate(self, request: Request) -> Reply: ...


Generate = Callable[[Request], Awaitable[Reply]]
"""What a stage is given: an engine's `generate`."""


class RequestError(ValueError):
    """This one request is at fault (too long, too many images, refused): its record is quarantined, the run continues.

    `usage` is what the request cost all the same.
    """

    def __init__(self, message: str, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.usage = usage or Usage()


def name_of(error: Exception) -> str:
    """What a quarantine row calls an error: its own word for its kind, else its class."""
    return str(getattr(error, "error", type(error).__name__))


class RefusedError(RequestError):
    """The engine does not take this request, or the model will not answer it: another one may be fine."""

    error = "RequestError"
    """Its name in the quarantine."""


class ImageRefused(RequestError):
    """A request was refused because of these images of it."""

    def __init__(self, message: str, images: tuple[Image, ...], usage: Usage | None = None) -> None:
        super().__init__(message, usage)
        self.images = images


class UnsupportedError(RequestError):
    """The engine cannot do what this kind of request needs (continue an open turn), whatever it says: ask otherwise."""


class BrokenReply(RequestError):
    """The engine failed at this one request, which is not known to be wrong; its reason is the operator's to read."""


class EngineError(RuntimeError):
    """The engine is at fault (dead, unreachable, refuses everything): the run cannot continue."""


class EngineDied(EngineError):
    """The engine's own process is gone: another engine must take its place and its records."""
