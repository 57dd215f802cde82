"""What a judge is asked, as data (`judge-*.yaml`): a rubric says what is judged, by which criteria, and in which words.

rubric + texts of one answer ─ask─▶ system and user turn ─▶ model ─▶ "… [[7]]" (see `stages.judge`)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from pydantic import Field

from imageref_ray.core.config import Config, ConfigError
from imageref_ray.engines.base import Message
from imageref_ray.stages.prompts.builders import Part, fill
from imageref_ray.stages.prompts.pack import FIELD, Task, read

Unit = Literal["answer", "pair", "image"]

FIELDS: dict[Unit, set[str]] = {
    "answer": {"question", "reference", "answer"},
    "pair": {"question", "reference", "first", "second"},
    "image": {"question", "reference", "before", "image", "caption", "after"},
}
"""The fields of a template, by what is judged; `before` and `after` are the answer's text around the image."""

NEEDED: dict[Unit, set[str]] = {"answer": {"answer"}, "pair": {"first", "second"}, "image": {"image"}}


class Rubric(Config):
    """One way of judging; all texts are without images, except where a template has the field `image`."""

    name: str
    unit: Unit = Field(description="what one request is about: an answer, a pair of answers, or an image of an answer")
    criteria: tuple[str, ...] = Field(
        ("rating",), min_length=1, description="what is rated; of several, each has its name before its `[[n]]`"
    )
    least: float = Field(1, description="lowest rating")
    most: float = Field(10, description="highest rating")
    ratio: bool = Field(False, description="the score is the second criterion in per cent of the first")
    captioned: bool = Field(False, description="judge only images that have a caption")
    system: str = Field("", description="system prompt, none where empty")
    user: str = Field(description="template of the user's turn")
    again: str = Field(description="added to the user's turn after a reply without a rating")

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of a judgement's values."""
        return ("win",) if self.unit == "pair" else self.criteria


@lru_cache
def load_rubric(name_or_path: str) -> Rubric:
    """The shipped rubric of that name (`single`, `pairwise`, …), or the one in that YAML file.

    Raises ConfigError for an unknown name, a missing file, wrong fields in the template, or settings that contradict.
    """
    return _checked(read(Rubric, name_or_path, "judge-"), name_or_path)


def ask(rubric: Rubric, fields: dict[str, tuple[Part, ...]], *, again: bool = False) -> tuple[Message, ...]:
    """The turns of one request; a line that only holds an empty field is dropped."""
    template = f"{rubric.user}\n\n{rubric.again}" if again else rubric.user
    system = (Message("system", (rubric.system.strip(),)),) if rubric.system.strip() else ()
    return (*system, Message("user", fill(Task(user=template), **fields)))


def _checked(rubric: Rubric, where: str) -> Rubric:
    used, known = set(FIELD.findall(rubric.user)), FIELDS[rubric.unit]
    if unknown := sorted(used - known):
        fields = ", ".join(sorted(known))
        raise ConfigError(f"{where}: user uses unknown field {{{unknown[0]}}}; unit {rubric.unit} has: {fields}")
    if lacking := sorted(NEEDED[rubric.unit] - used):
        raise ConfigError(f"{where}: user lacks {{{lacking[0]}}}, which is what is judged; add it")
    if again := FIELD.findall(rubric.again):
        raise ConfigError(f"{where}: again uses the field {{{again[0]}}}; it is put after user: give plain text")
    if not rubric.least < rubric.most:
        raise ConfigError(f"{where}: least is {rubric.least:g} and most {rubric.most:g}; least must be lower")
    if len(set(rubric.criteria)) < len(rubric.criteria):
        raise ConfigError(f"{where}: criteria are {', '.join(rubric.criteria)}; give each once")
    if rubric.ratio and (rubric.unit != "answer" or len(rubric.criteria) != 2 or rubric.least <= 0):
        raise ConfigError(f"{where}: ratio needs unit: answer, two criteria (the reference first), and least above 0")
    return rubric
