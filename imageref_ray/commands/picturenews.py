"""`imageref picturenews`: write the generated corpus, or the training data of the embedded checkpoint, to a folder."""

from __future__ import annotations

from pathlib import Path

from imageref_ray.core.durable import writing
from imageref_ray.picturenews import corpus


def run(events: int, out: Path, seed: int | None, skills: bool) -> None:
    """Write the files and print how many there are of each kind."""
    with writing(out):
        counts = _write_skills(events, out, seed) if skills else corpus.write(out, events, seed or 0)
    print(f"{out}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))


def _write_skills(events: int, out: Path, seed: int | None) -> dict[str, int]:
    from imageref_ray.picturenews import skill_data, tiny_internvl  # torch and transformers: seconds to load

    counts = skill_data.write(out / "data", events, corpus.SEEDS["base"] if seed is None else seed)
    tiny_internvl.create(out / "init", skill_data.texts(out / "data"))
    return counts
