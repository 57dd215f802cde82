"""The part of the command table that is about test sets and measuring: labels, public benchmarks, speed. Data only."""

from __future__ import annotations

from imageref_ray.commands.arguments import Argument, Command, option, path_option

IMPORTED = ("mmdocrag", "mramg", "rag-igbench")
EXPORTED = ("mmdocrag", "rag-igbench")


def _benchmark(names: tuple[str, ...]) -> Argument:
    return Argument(("name",), f"which benchmark: {', '.join(names)}", {"choices": names, "metavar": "BENCHMARK"})


MEASURING = (
    Command(
        "evaluate speed",
        "documents + endpoint → answers a second, end to end and in stages",
        """\
Measure how fast an OpenAI-compatible endpoint answers the samples of a source: end to end (one request a sample) and in
stages (the response and all captions at once, then the placement), with 100 requests in flight, temperature 0, at most
2,048 tokens. Prints and writes (speed.json) wall time, requests/s, p50 and p95, tokens and failures.

example: imageref evaluate speed --config evaluate-speed.yaml --set source.limit=100 --output runs/speed
""",
        "imageref_ray.evaluation.evaluate_speed:evaluate_speed",
        "SpeedConfig",
    ),
    Command(
        "benchmark import",
        "a public benchmark's files → test set",
        """\
Write the test set of a public benchmark that you have downloaded: annotation.jsonl, label.csv (the images of its
reference answers, each at the paragraph it follows) and left_out.jsonl (the rows that cannot be used, with the reason).
Evaluate it with label_slots: after.

example: imageref benchmark import rag-igbench --data RAG_IG_EN.json --images images --out runs/rag-igbench
""",
        "imageref_ray.commands.benchmark:import_",
        arguments=(
            _benchmark(IMPORTED),
            path_option("--data", "FILE", "the benchmark's questions: JSONL or a JSON list", required=True),
            path_option("--images", "DIR", "folder of its images, as it describes it", required=True),
            path_option("--out", "DIR", "folder to write to", required=True),
            option("--split", "NAME", "only rows whose `split` is this, e.g. dev"),
        ),
    ),
    Command(
        "benchmark export",
        "answers → the file that a public benchmark's own script scores",
        """\
Write answers ({"id", "result"}, as an evaluation writes them) in a public benchmark's own format, one row for every
question of its file, for its own script. Questions without an answer get an empty one and are counted.

example: imageref benchmark export rag-igbench --data RAG_IG_EN.json --answers free.jsonl --out model_answers.jsonl
""",
        "imageref_ray.commands.benchmark:export",
        arguments=(
            _benchmark(EXPORTED),
            path_option("--data", "FILE", "the benchmark's questions: JSONL or a JSON list", required=True),
            path_option("--answers", "JSONL", "the answers, one per line", required=True),
            path_option("--out", "FILE", "file to write", required=True),
        ),
    ),
    Command(
        "labels layout",
        "images in their documents → position labels",
        """\
Make position labels from where the documents show their images: an image belongs to the section of the reference answer
that says what the paragraph before it says (the one after it, where a header or nothing is before). Prints how many
images have no such paragraph or section; what such labels are worth is in the guide.

example: imageref labels layout --data annotation.plain.jsonl --out label.csv
""",
        "imageref_ray.commands.labels:layout",
        arguments=(
            path_option(
                "--data", "JSONL", "annotation JSONL: prompts with their images, reference answers", required=True
            ),
            path_option("--out", "CSV", "label CSV to write", required=True),
        ),
    ),
)
