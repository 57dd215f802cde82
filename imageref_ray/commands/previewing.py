"""The part of the command table that shows a source before anything is paid for. Data only."""

from __future__ import annotations

from imageref_ray.commands.arguments import Command, int_option

PREVIEW = Command(
    "preview",
    "documents → one HTML page of what a build would read",
    """\
Read the source of a build as the build would, check its images, and write to <output>/preview one HTML page: the text
of samples with the pictures in their places, and what is left out with the reasons: parts of pages, pictures that are
furniture or missing, files of other types. No engine is started. Beside it are samples.jsonl, all samples as a source
of kind `samples`, which a build reads as the very same samples, and left-out.jsonl.

example: imageref preview --config build.yaml
""",
    "imageref_ray.commands.preview:preview",
    "BuildConfig",
    arguments=(
        int_option("--samples", "N", "samples shown at most", 200),
        int_option("--seed", "S", "seed for the choice of samples", 0),
    ),
)
