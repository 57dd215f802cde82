"""What a prompt pack is and where packs come from: a shipped YAML file by name, or a user's own by path.

<name>.yaml             packs of builds (`Pack`)
instruct-<name>.yaml    packs of visual instructions (`instruct.InstructPack`), read by the same `read`
judge-<name>.yaml       rubrics of a judge (`rubric.Rubric`), the same
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field

from imageref_ray.core.config import Config, ConfigError, load

P = TypeVar("P", bound=Config)

Family = Literal["", "instruct-", "judge-"]
"""How the names of the shipped files of one kind of pack begin."""

SETTINGS: dict[Family, str] = {"": "prompts", "instruct-": "prompts", "judge-": "rubric"}
"""The setting that names a pack, for messages."""

FIELD = re.compile(r"\{(\w+)\}")
"""A `{name}` in a template. Other braces stand for themselves."""

FIELDS = {
    "describe": {"image"},
    "caption": {"before", "image", "after", "description", "words"},
    "respond": {"instruction", "documents"},
    "place": {"captions", "response"},
    "answer": {"instruction", "documents"},
}
"""The fields each task's template may use."""


class Task(Config):
    """One task's wording; `user` is the template that the builder of the same name fills."""

    system: str = Field("", description="system prompt, none where empty")
    user: str = Field(description="template of the user's turn")


class PlaceReply(Config):
    """How placement is to reply, put after the system prompt of `place`; what is empty cannot be asked for.

    A pack whose `place.system` says it itself leaves all of this out.
    """

    full: str = Field("", description="with `analysis` and `explanation` as the pack likes them")
    short: str = Field("", description="with at most {words} words in each")
    none: str = Field("", description="without the two")


class Pack(Config):
    """All wordings of one prompt pack."""

    name: str
    examples: bool = Field(True, description="whether in-context examples are shown, as earlier turns")
    analysis: bool = Field(True, description="whether placement asks for `analysis` and `explanation`")
    describe: Task
    caption: Task
    caption_words: str = Field(
        "{words}",
        description="how {words} of caption.user is put where the document has words for the picture, a line each",
    )
    respond: Task
    place: Task
    place_reply: PlaceReply = PlaceReply()
    answer: Task
    language: str = Field(
        "",
        description="sentence with {language} that asks for the language of an answer and its captions, put after "
        "their system prompts; where it is empty, requests cannot choose one",
    )

    def asked_language(self, language: str) -> str:
        """The sentence that asks for a language, by its name."""
        return self.language.replace("{language}", language)

    def in_language(self, language: str) -> Pack:
        """The pack that asks for answers in a language; `self.language` must not be empty."""
        sentence = self.asked_language(language)
        tasks = {name: self.task(name) for name in ("describe", "caption", "respond", "answer")}
        told = {
            name: task.model_copy(update={"system": f"{task.system.rstrip()}\n{sentence}".lstrip()})
            for name, task in tasks.items()
        }
        return self.model_copy(update=told)

    def task(self, name: str) -> Task:
        task = getattr(self, name)
        assert isinstance(task, Task)
        return task


@lru_cache
def load_pack(name_or_path: str) -> Pack:
    """The shipped pack of that name, or the pack in that YAML file.

    Raises ConfigError for an unknown name, a missing file, or a template with an unknown `{field}`.
    """
    return _checked(read(Pack, name_or_path, ""), name_or_path)


def pack_names() -> list[str]:
    """The names of the shipped packs."""
    return shipped("")


def read(kind: type[P], name_or_path: str, family: Family) -> P:
    """The shipped pack of that name and family, or the one in that YAML file, its templates not yet checked."""
    known = shipped(family)
    if name_or_path in known:
        with resources.as_file(resources.files(__package__) / f"{family}{name_or_path}.yaml") as path:
            return load(kind, path)
    if not name_or_path.endswith((".yaml", ".yml")):
        raise ConfigError(
            f"{SETTINGS[family]}: no pack is called {name_or_path}; take one of {', '.join(known)} or give the path of "
            "a YAML file"
        )
    return load(kind, Path(name_or_path))


def shipped(family: Family) -> list[str]:
    """The names of a family's shipped packs."""
    files = [entry.name for entry in resources.files(__package__).iterdir() if entry.name.endswith(".yaml")]
    own = [name for name in files if next(one for one in reversed(SETTINGS) if name.startswith(one)) == family]
    return sorted(name.removeprefix(family).removesuffix(".yaml") for name in own)


def _checked(pack: Pack, where: str) -> Pack:
    reply = pack.place_reply
    if (reply.short or reply.none) and not reply.full:
        raise ConfigError(f"{where}: place_reply has short or none but no full; move the reply's form there")
    if reply.short and "{words}" not in reply.short:
        raise ConfigError(f"{where}: place_reply.short lacks {{words}}, the number of words allowed; add it")
    if pack.language and "{language}" not in pack.language:
        raise ConfigError(f"{where}: language lacks {{language}}, the name of the language; add it")
    for name, known in FIELDS.items():
        used = FIELD.findall(pack.task(name).user)
        fields = ", ".join(sorted(known))
        if unknown := sorted(set(used) - known):
            raise ConfigError(f"{where}: {name}.user uses unknown field {{{unknown[0]}}}; known fields: {fields}")
        if len(used) != len(set(used)):
            raise ConfigError(f"{where}: {name}.user uses a field twice; use each of {fields} once")
        if "image" in known and "image" not in used:
            raise ConfigError(f"{where}: {name}.user lacks {{image}}, the place of the image; add it")
    return pack
