"""What the stages of a build need besides the record: prompt pack, sampling and in-context examples, as values."""

from __future__ import annotations

import dataclasses

from imageref_ray.commands.annotation import example_files
from imageref_ray.core.config import BuildConfig, CheckpointConfig, ConfigError, SamplingConfig
from imageref_ray.engines.base import Sampling
from imageref_ray.stages import prompts
from imageref_ray.stages.prompts import NO_EXAMPLES, CaptionExample, Examples, Pack, PlaceExample


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """What the stages need besides the record; it is sent to the actors."""

    pack: Pack
    respond: Sampling
    caption: Sampling
    place: Sampling
    context_tokens: int
    tokenizer: str | None = None
    """The checkpoint whose tokens `context_tokens` counts; None: they are estimated."""
    caption_examples: Examples[CaptionExample] = NO_EXAMPLES
    place_examples: Examples[PlaceExample] = NO_EXAMPLES
    analysis_words: int | None = None
    leave_out_refused: bool = True
    count_shared: bool = False
    """Whether a record's row says what its shared requests cost (`shared`): for a plan."""


def make_recipe(config: BuildConfig) -> Recipe:
    """The prompt pack, sampling and examples of a build's stages. Raises ConfigError for files that cannot be used."""
    pack = prompts.load_pack(config.prompts)
    words = _analysis_words(config.place.analysis_words, pack)
    captioner = config.caption.engine or config.engine
    return Recipe(
        pack,
        respond=sampling(config.respond),
        caption=sampling(config.caption),
        place=sampling(config.place),
        context_tokens=config.context_tokens,
        tokenizer=captioner.model if isinstance(captioner, CheckpointConfig) else None,
        caption_examples=example_files.caption_examples(
            config.caption_examples if "caption" in config.stages else None,
            config.source,
            pack,
            config.output / "images",
        ),
        place_examples=example_files.place_examples(
            config.place_examples if "place" in config.stages else None, config.source, pack, words
        ),
        analysis_words=words,
        leave_out_refused=config.refused_images == "leave_out",
    )


def sampling(config: SamplingConfig) -> Sampling:
    """A stage's sampling settings in the engine's form."""
    return Sampling(temperature=config.temperature, max_tokens=config.max_tokens)


def _analysis_words(words: int | None, pack: Pack) -> int | None:
    """`words` as `prompts.place` takes them: 0 for a pack without reasons.

    Raises ConfigError where the pack has no wording for them.
    """
    if not pack.analysis:
        if words:
            raise ConfigError(
                f"place.analysis_words is {words}, but the prompt pack {pack.name} asks for no analysis; "
                "remove the setting or choose another prompt pack"
            )
        return 0
    wording = "short" if words else "none"
    if words is not None and not getattr(pack.place_reply, wording):
        raise ConfigError(
            f"place.analysis_words is {words}, but the prompt pack {pack.name} has no place_reply.{wording} to ask "
            "for it; add that wording or remove place.analysis_words"
        )
    return words
