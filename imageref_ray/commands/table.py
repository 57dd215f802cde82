"""Every command of `imageref`: its name, arguments, function and help texts. Data only.

The command line (cli.py) and its page in the docs are generated from this table.
"""

from __future__ import annotations

from pathlib import Path

from imageref_ray.commands.arguments import BUDGET, SET, Argument, Command, int_option, option, path_option
from imageref_ray.commands.measuring import MEASURING
from imageref_ray.commands.previewing import PREVIEW
from imageref_ray.commands.published import INSTRUCT_ROWS

PURPOSE = """\
From documents with images to a vision-language model that answers with the right images in the right
places: build a training set, fine-tune InternVL, measure it, serve it.

  imageref demo           all of it on a small generated corpus, in minutes on a laptop CPU
  imageref init build     a starter config for your own documents
"""

DEMO = Path(__file__).parent / "demo" / "demo.yaml"
JOBS = ("build", "instruct", "train", "evaluate", "evaluate-vqa", "evaluate-judge", "evaluate-speed", "serve")
"""Jobs with a starter config (`init`) and a schema."""

SCHEMAS = (*JOBS, "demo", "samples")
"""What has a schema: the jobs, the demo, and a row of a source of samples."""

COMMAND_OF = {
    "evaluate": "evaluate placement",
    "evaluate-vqa": "evaluate vqa",
    "evaluate-judge": "evaluate judge",
    "evaluate-speed": "evaluate speed",
}
"""Job → the command it configures, where the two differ."""


COMMANDS = (
    Command(
        "build",
        "documents with images → training set",
        """\
Write a response to every sample, caption its images in the context of their documents, decide which image
belongs where, and write the training set: annotation JSONL (plain and with captions), Parquet, a dataset card. These
stages can also run one by one, with the ImageRef-VL release's files between them (settings `stages` and `inputs`).
After a crash, run the same command again to resume. Records that failed are in the run's quarantine. Run a finished
build again with other settings under `export` to write other files from its records, without any engine.

example: imageref build --config jobs/configs/picturenews.yaml --set source.limit=8 --output runs/first
""",
        "imageref_ray.commands.build:build",
        "BuildConfig",
        arguments=(BUDGET,),
    ),
    PREVIEW,
    Command(
        "plan",
        "estimate what a build will cost, from a few of its records",
        """\
Run a few records of a build and estimate what all of them will cost: requests, tokens, GPU-hours and, with a
price table in the config (prices), money, each with a 95 % interval. The build then reports how far the plan was off.

example: imageref plan --config jobs/configs/picturenews.yaml --records 24
""",
        "imageref_ray.commands.plan:plan",
        "BuildConfig",
        arguments=(
            option("--records", "N", "records to run (default 24)", type=int, default=24, dest="count"),
            int_option("--seed", "S", "seed for the choice of records", 0),
        ),
    ),
    Command(
        "instruct",
        "images → visual instructions, corrected against the image",
        """\
Ask questions about images (conversation, detailed description, reasoning, knowledge), answer them, and correct the
answers unit by unit against the image. Writes every instruction with its draft, its units and how each was corrected,
and training rows for `imageref train`. After a crash, run the same command again to resume. `imageref instruct rows`
makes such rows of published annotations.

example: imageref instruct --config jobs/configs/picturenews-instruct.yaml --set correct.reread=verify
""",
        "imageref_ray.commands.instruct:instruct",
        "InstructConfig",
        arguments=(BUDGET,),
    ),
    INSTRUCT_ROWS,
    Command(
        "train",
        "training set → fine-tuned InternVL checkpoint",
        """\
Fine-tune an InternVL checkpoint on a mixture of data sets (Ray Train + DeepSpeed). The result is a Hugging Face
checkpoint in <output>/model, which vLLM can load directly. After a crash, run the same command again to resume.

example: imageref train --config jobs/configs/picturenews-train.yaml --set steps=200 --output runs/student
""",
        "imageref_ray.commands.train:run",
        "TrainConfig",
    ),
    *MEASURING,
    Command(
        "retry",
        "run the quarantined records of a run again",
        """\
Run the records in the quarantine of a run (build, instruct, evaluate) again: all of them, those of one stage, or those
with one error. Records that succeed join the results; those that fail again stay in the quarantine with the new reason.

example: imageref retry runs/first --error RequestError
""",
        "imageref_ray.commands.retry:retry",
        arguments=(
            path_option("run", "RUN", "run directory of build, instruct or evaluate"),
            Argument(("--stage",), "only records that failed in this stage: verify, respond, caption, place, …"),
            Argument(("--error",), "only records that failed with this error: ParseError, RequestError, …"),
        ),
    ),
    Command(
        "inspect",
        "a run directory → one HTML page",
        """\
Write one HTML page about a run (finished, running or failed): progress, cost, failures and their reasons, and samples
to browse, with their images. Of a build: answers with their images; of instruct: drafts beside their corrections, unit
by unit; of a plan: estimates; of a training: curves, data sets and samples; of an evaluation: metrics and every event.
The page is one file, without links to others: you can send it to someone.

example: imageref inspect runs/demo/build --samples 24
""",
        "imageref_ray.commands.inspection:inspect",
        arguments=(
            path_option("directory", "RUN", "run directory of any job"),
            path_option("--out", "FILE", "page to write (default RUN/inspect.html)"),
            int_option("--samples", "N", "samples shown at most; of a finished evaluation, all events", 48),
            int_option("--seed", "S", "seed for the choice of samples", 0),
        ),
    ),
    Command(
        "check",
        "training set → breaches of the reference contract",
        """\
Read an annotation file, of a build or of other tools (InternVL, LLaVA, ms-swift, ShareGPT, Parquet), and report where
it breaks the reference contract: every IMAGE_k exists, is placed after a paragraph and is used once; image tags match
images; image files can be opened; turns alternate; no answer is empty; ids are unique. Exit code 1 if it breaks it.

example: imageref check runs/first/dataset/annotation.plain.jsonl --first 5
""",
        "imageref_ray.commands.check:run",
        arguments=(
            path_option("dataset", "DATASET", "JSONL, JSON list or Parquet"),
            path_option("--root", "DIR", "folder that image paths are relative to"),
            int_option("--first", "N", "breaches to show", 20),
        ),
    ),
    Command(
        "publish",
        "data set of a build → Hugging Face hub",
        """\
Upload the data set of a finished build, with its card and images, to a data set repository of the Hugging Face hub. The
files are those of `export`, with image paths relative to the repository, so that they work in the folder to which
anybody downloads it. The repository is private unless --public is given. The token is HF_TOKEN's, or that of
`hf auth login`. After a failure, run the same command again to resume: what is there is not sent again.

example: imageref publish runs/first --to user/name --dry-run
""",
        "imageref_ray.commands.publish:publish",
        arguments=(
            path_option("run", "RUN", "run directory of a finished build"),
            option("--to", "USER/NAME", "repository; made if it does not exist", required=True),
            Argument(("--public",), "everybody may see it", {"action": "store_true"}),
            Argument(("--replace",), "remove files that the set does not have", {"action": "store_true"}),
            Argument(("--dry-run",), "list the files and their sizes", {"action": "store_true"}),
        ),
    ),
    Command(
        "serve",
        "start the HTTP endpoint",
        """\
Start the endpoint on this machine or on the cluster in RAY_ADDRESS: /v1/chat/completions (OpenAI-compatible, with
images and streaming), /v1/reference (documents + images + question → Markdown with checked image references) and
/v1/instructions (image + task → question, answer corrected against the image).
Without --config and --model it serves the checkpoint in the package. Ctrl-C stops it.

example: imageref serve --model runs/demo/train/model --port 8001 --set method=direct
""",
        "imageref_ray.commands.serve:run",
        arguments=(
            path_option("--config", "FILE", "Ray Serve config, e.g. serve/config.yaml"),
            option("--model", "MODEL", "checkpoint to serve: a folder or hub name"),
            option("--host", "HOST", "address to listen on (default 127.0.0.1)"),
            option("--port", "PORT", "port to listen on (default 8000)", type=int),
            Argument(("--insecure",), "answer other machines without keys", {"action": "store_true"}),
            Argument(SET.names, "change one setting of the endpoint; repeatable", {**SET.options, "dest": "overrides"}),
        ),
    ),
    Command(
        "serve key",
        "make a key for the endpoint",
        """\
Make a key, print it once, and write its SHA-256 sum with its name and limits to a file for the endpoint's setting
`keys_file`. Clients send the key as `Authorization: Bearer KEY` (the OpenAI client: `api_key`). Without --out the
lines for the file are printed too.

example: imageref serve key --name news-team --out keys.yaml --per-minute 60
""",
        "imageref_ray.commands.serve:key",
        arguments=(
            option("--name", "NAME", "whose key it is; it stands in logs", required=True),
            path_option("--out", "FILE", "file of keys to add it to"),
            option("--concurrency", "N", "requests of this key that a replica answers at the same time", type=int),
            option("--per-minute", "N", "requests a minute with this key that a replica answers", type=int),
        ),
    ),
    Command(
        "demo",
        "the whole pipeline on a small generated corpus, with a report",
        """\
Generate a corpus, build a training set with the embedded checkpoint as annotator, fine-tune a student, evaluate
base and student, and write a report with images. After a crash, run the same command again to resume. With --serve
nothing of this is run: the endpoint starts with the student and the runs that are there (or with the embedded
checkpoint), and the page at /demo asks it.

example: imageref demo --set train_events=64 --output runs/small
""",
        "imageref_ray.commands.demo_page:run",
        "DemoConfig",
        default=DEMO,
        arguments=(
            Argument(("--serve",), "serve the page at /demo until Ctrl-C", {"action": "store_true"}),
            option("--port", "PORT", "with --serve: port to listen on (default 8000)", type=int),
        ),
    ),
    Command(
        "picturenews",
        "generate the corpus of the demo",
        """\
Draw images and write news articles about invented events, with known truth: events, articles, images, reference
answers, position labels, questions. The same events and seed always give the same files.

example: imageref picturenews --events 48 --seed 3 --out runs/corpus
""",
        "imageref_ray.commands.picturenews:run",
        arguments=(
            option("--events", "N", "number of events", type=int, required=True),
            option("--seed", "S", "seed of the corpus (default 0)", type=int),
            path_option("--out", "DIR", "folder to write to", required=True),
            Argument(
                ("--skills",), "write the training data of the embedded checkpoint instead", {"action": "store_true"}
            ),
        ),
    ),
    Command(
        "init",
        "write a commented starter config",
        """\
Write a commented config for a job; set its paths, then run it. It uses the checkpoint in the package, so that the
first run needs no GPU and no download.

example: imageref init build --source folder --engine openai --out build.yaml
""",
        "imageref_ray.commands.init:run",
        arguments=(
            Argument(("job",), f"what to configure: {', '.join(JOBS)}", {"choices": JOBS, "metavar": "JOB"}),
            Argument(
                ("--source",),
                "build: folder (HTML or Markdown pages), samples (JSONL, Parquet) or paper (default folder)",
                {"choices": ("folder", "samples", "paper"), "default": "folder"},
            ),
            Argument(
                ("--engine",),
                "vllm, transformers or openai (default vllm)",
                {"choices": ("vllm", "transformers", "openai"), "default": "vllm"},
            ),
            path_option("--out", "FILE", "file to write (default JOB.yaml; `-` prints it)"),
        ),
    ),
    Command(
        "schema",
        "print the JSON Schema of a job's config, or of a row of samples",
        """\
Print the JSON Schema of a job's settings. Editors use it to complete and check a YAML file whose first line is
`# yaml-language-server: $schema=build.schema.json`. With `samples`: the schema of a row of a `samples` source.

example: imageref schema build
""",
        "imageref_ray.commands.schema:run",
        arguments=(Argument(("job",), f"one of {', '.join(SCHEMAS)}", {"choices": SCHEMAS, "metavar": "JOB"}),),
    ),
)

GROUPS = {
    "evaluate": ("test set + checkpoint → metrics", "Measure a checkpoint."),
    "benchmark": ("public benchmarks in and out", "Run public benchmarks."),
    "labels": ("test set → position labels", "Make position labels without annotators."),
}
"""First word of two-word commands → the group's short and long help."""
