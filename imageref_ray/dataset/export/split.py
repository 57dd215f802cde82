"""Events → splits: (event id, document ids) … → event id → split.

    events that share a document, directly or through others ─▶ one group ─▶ one point in [0, 1) ─▶ its split

No document is in two splits, or a test would measure memorization. A group's point is a hash of the seed and of one
of its events, never of a position in a file: when events are added, a group stays in its split unless it grows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from imageref_ray.core.config import SplitConfig

SPLITS = ("train", "validation", "test")


def assign(events: Iterable[tuple[str, Sequence[str]]], config: SplitConfig) -> dict[str, str]:
    """Event id → train, validation or test, by the configured fractions of groups; memory grows with the ids only."""
    return {event: _split(group, config) for event, group in _groups(events, config.seed).items()}


def names(config: SplitConfig | None) -> tuple[str, ...]:
    """The splits to write, in order; one with the name "" if the data set is not split."""
    return ("",) if config is None else tuple(name for name in SPLITS if getattr(config, name))


def _groups(events: Iterable[tuple[str, Sequence[str]]], seed: int) -> dict[str, str]:
    """Event id → the event that represents its group: the first by hash, so that few additions change it."""
    parent: dict[str, str] = {}
    owner: dict[str, str] = {}
    for event, documents in events:
        parent.setdefault(event, event)
        for document in documents:
            first, other = _root(parent, owner.setdefault(document, event)), _root(parent, event)
            if first != other:
                first, other = sorted((first, other), key=lambda name: _point("speaks", seed, name))
                parent[other] = first
    return {event: _root(parent, event) for event in parent}


def _root(parent: dict[str, str], event: str) -> str:
    while parent[event] != event:
        parent[event] = parent[parent[event]]  # path halving: later look-ups are shorter
        event = parent[event]
    return event


def _split(group: str, config: SplitConfig) -> str:
    point, end = _point("split", config.seed, group), 0.0
    for name in names(config):
        end += getattr(config, name)
        if point < end:
            return name
    return names(config)[-1]  # fractions may add up to slightly less than 1


def _point(purpose: str, seed: int, event: str) -> float:
    """A number in [0, 1) that depends only on the arguments.

    Choosing a group's representative and its split are two purposes: with one point for both, the smallest point of
    a large group would nearly always be in the training split.
    """
    digest = hashlib.sha256(f"{purpose} {seed} {event}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
