"""Uses of samples, as planned → examples: every use of a sample with alternatives has another wording and answer.

What a use draws depends on the seed, the sample and the number of the use alone, so all ranks, a resumed run and a plan
of batches by tokens, which needs the exact length, see the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch.utils.data import Dataset

from imageref_ray.dataset.mixture import draw_again
from imageref_ray.dataset.turns import SampleError
from imageref_ray.training.batch_plan import Use
from imageref_ray.training.encode import Encoder, Example


class SampleUses(Dataset[Example]):
    """The examples of a training, indexed by `Use`. The first use of a sample is its annotation line as written."""

    def __init__(self, examples: Sequence[Example], encoder: Encoder, seed: int) -> None:
        self.examples = examples
        self.encoder = encoder
        self.seed = seed

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, use: Use) -> Example:
        return replace(self._drawn(use.sample, use.number), draw=f"{use.sample}:{use.number}")

    def tokens(self, sample: int, number: int) -> int:
        """The tokens of a sample in its use `number` (from 0)."""
        return len(self._drawn(sample, number).ids)

    def tokens_as_written(self, sample: int, number: int) -> int:
        """The tokens of a sample's annotation line. To draw millions of uses before the first step takes an hour."""
        return len(self.examples[sample].ids)

    def _drawn(self, sample: int, number: int) -> Example:
        example = self.examples[sample]
        if number == 0 or example.again is None:
            return example
        try:
            return self.encoder.encode(draw_again(example.again, f"{self.seed}:{sample}:{number}"))
        except SampleError:  # the longest of its wordings and answers together may be longer than sequence_length
            return example
