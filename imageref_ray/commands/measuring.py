"""The part of the command table that measures: evaluations, scores, labels, public benchmarks. Data only."""

from __future__ import annotations

from imageref_ray.commands.arguments import BUDGET, Argument, Command, int_option, option, path, path_option

IMPORTED = ("mmdocrag", "mramg", "rag-igbench")
EXPORTED = ("mmdocrag", "rag-igbench")


def _benchmark(names: tuple[str, ...]) -> Argument:
    return Argument(("name",), f"which benchmark: {', '.join(names)}", {"choices": names, "metavar": "BENCHMARK"})


MEASURING = (
    Command(
        "evaluate placement",
        "test set → are the right images in the right places?",
        """\
Answer a test set and score where the images are placed: guided decoding (slot by slot), free decoding (read from
the text), or the baselines of `mode`, each as recall_1, recall_3, precision, F1 and score. Writes the answers and
metrics.json. After a crash, run the same command again to resume.

example: imageref evaluate placement --config jobs/configs/picturenews-evaluate.yaml --output runs/placement
""",
        "imageref_ray.evaluation.evaluate_placement:evaluate_placement",
        "EvaluateConfig",
        arguments=(BUDGET,),
    ),
    Command(
        "evaluate vqa",
        "annotated questions → VQA accuracy and multiple choice",
        """\
Answer annotated questions about images (OKVQA, VQAv2, A-OKVQA, your own lists) with short answers and measure the VQA
accuracy; with choice in mode also rank the choices of each question by log-likelihood (engine vllm or transformers) and
measure how often the right one wins. Writes answers.jsonl, choices.jsonl and metrics.json. After a crash, run the same
command again to resume.

example: imageref evaluate vqa --config jobs/configs/picturenews-vqa.yaml --set limit=100 --output runs/vqa
""",
        "imageref_ray.evaluation.evaluate_vqa:evaluate_vqa",
        "VqaConfig",
        arguments=(BUDGET,),
    ),
    Command(
        "evaluate judge",
        "answers + a judge → ratings, or win rates",
        """\
Have a model judge the answers of one or more systems by a rubric: a rating of each answer (single, relative), which of
two is better (pairwise), a rating of each image (images) or of each caption (citation). Reports means with intervals
and how much was left unrated, agreement with people (--human) and with other judges. Writes judgements.jsonl,
events.jsonl and metrics.json. After a crash, run the same command again to resume; run it again on a finished run to
compute the metrics anew, without asking the judge.

example: imageref evaluate judge --config jobs/configs/cluster-judge.yaml --human ratings.csv
""",
        "imageref_ray.evaluation.evaluate_judge:evaluate_judge",
        "JudgeConfig",
        arguments=(
            BUDGET,
            Argument(("--human",), "people's ratings, to measure agreement with", {"metavar": "CSV"}, sets="human"),
        ),
    ),
    Command(
        "score",
        "labels + answers → placement metrics, without an engine",
        """\
Score answers you already have against position labels, without an engine, and print one JSON object: events,
recall_1, recall_3, precision, f1, score, unparsed, intervals and more. Answers are predictions in the paper's insertion
format, or texts of any system, {"id", "result"} per line, with the annotation file that they answer: these get the
numbers that `imageref evaluate placement` has of them. Of several files, one per system, the object has the metrics of
each and the differences of every two, with intervals and p. Exit code 1 if no answer of a file can be used.

example: imageref score --labels label.csv --answers runs/placement/free.jsonl --data annotation.plain.jsonl
""",
        "imageref_ray.commands.score:run",
        arguments=(
            path_option("--labels", "CSV", "position labels (label.csv)", required=True),
            path_option("--predictions", "JSONL", "insertion files, one per system", nargs="+"),
            path_option("--answers", "JSONL", "files of texts with images, one per system; needs --data", nargs="+"),
            path_option("--data", "JSONL", "annotation file of the questions, with their reference answers"),
            Argument(
                ("--label-slots",),
                "answers: slots of the labels, before (one after every header line; the default) or after (one after "
                "every other line)",
                {"choices": ("before", "after"), "default": "before"},
            ),
            option("--limit", "N", "answers: score only the first N labelled questions", type=int),
            Argument(("--paper",), "score by the paper's conventions", {"action": "store_true"}),
            int_option("--seed", "S", "seed of the bootstrap for confidence intervals", 0),
        ),
    ),
    Command(
        "compare",
        "evaluations of one test set → which is better, and where",
        """\
Compare finished evaluations of the same test set: a leaderboard per mode and, for every pair, the difference of each
metric with its 95 % interval, p corrected over all of them, the difference that would be detectable, and in how many
events each is better. Writes one HTML page on which all answers can be browsed side by side.

example: imageref compare runs/demo/evaluate/base runs/demo/evaluate/tuned --metric f1
""",
        "imageref_ray.commands.comparison:compare",
        arguments=(
            Argument(
                ("runs",), "run directories of `imageref evaluate`", {"type": path, "nargs": "+", "metavar": "RUN"}
            ),
            Argument(
                ("--metric",),
                "compare only this metric; repeatable. Fewer tests find smaller differences: choose before you look",
                {"metavar": "NAME", "action": "append", "default": []},
            ),
            path_option("--out", "FILE", "page to write (default compare.html; with --json none)"),
            Argument(("--json",), "print one JSON object", {"action": "store_true", "dest": "as_json"}),
            int_option("--seed", "S", "seed of bootstrap and swaps", 0),
        ),
    ),
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
