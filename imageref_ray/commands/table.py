"""Every command of `imageref`: what it is called, what it takes, what runs it, and what is said of it. Data only.

The command line is made of this table (cli.py), and so is its page in the docs.
"""

from __future__ import annotations

from pathlib import Path

from imageref_ray.commands.arguments import BUDGET, SET, Argument, Command, folder, number, option

PURPOSE = """\
From documents with images to a vision-language model that answers with the right images in the right
places: build a training set, fine-tune InternVL, measure it, serve it.

  imageref demo           the whole way on a small made-up world, in minutes on a laptop CPU
  imageref init build     a starter config for your own documents
"""

DEMO = Path(__file__).parent / "demo" / "demo.yaml"
JOBS = ("build", "instruct", "train", "evaluate", "evaluate-vqa", "serve")
"""What has a starter config (`init`) and, with the demo, a schema."""


COMMANDS = (
    Command(
        "build",
        "documents with images → training set",
        """\
Write a response to every sample, caption its images in the context of their documents, decide which image
belongs where, and write the training set: annotation JSONL (plain and with captions), Parquet, a dataset card.
After a crash, run the same command again to resume. Records that failed are in the run's quarantine. A finished run
called again with other settings under `export` writes the new files from its records, without any engine.

example: imageref build --config jobs/configs/picturenews.yaml --set source.limit=8 --output runs/first
""",
        "imageref_ray.commands.build:build",
        "BuildConfig",
        arguments=(BUDGET,),
    ),
    Command(
        "plan",
        "what a build will cost, from a few of its records",
        """\
Run a few records of a build and estimate what all of them will cost: requests, tokens, GPU-hours and, with a
price table in the config (prices), money, each with a 95 % interval. The build compares itself with the plan.

example: imageref plan --config jobs/configs/picturenews.yaml --records 24
""",
        "imageref_ray.commands.plan:plan",
        "BuildConfig",
        arguments=(
            option("--records", "N", "records to run (default 24)", type=int, default=24, dest="count"),
            number("--seed", "S", "another seed draws other records", 0),
        ),
    ),
    Command(
        "instruct",
        "images → visual instructions, corrected against the image",
        """\
Ask questions about images (conversation, detailed description, reasoning, knowledge), answer them, and correct the
answers unit by unit against the image. Writes every instruction with its draft, its units and what became of them,
and training rows for `imageref train`. After a crash, run the same command again to resume.

example: imageref instruct --config jobs/configs/picturenews-instruct.yaml --set correct.reread=verify
""",
        "imageref_ray.commands.instruct:instruct",
        "InstructConfig",
        arguments=(BUDGET,),
    ),
    Command(
        "train",
        "training set → fine-tuned InternVL checkpoint",
        """\
Fine-tune an InternVL checkpoint on a mixture of data sets (Ray Train + DeepSpeed). The result is a Hugging Face
checkpoint in <output>/model, which vLLM loads as it is. After a crash, run the same command again to resume.

example: imageref train --config jobs/configs/picturenews-train.yaml --set steps=200 --output runs/student
""",
        "imageref_ray.commands.train:run",
        "TrainConfig",
    ),
    Command(
        "evaluate placement",
        "are the right images in the right places?",
        """\
Answer a test set and measure where the images went: guided decoding (slot by slot) and free decoding (read from
the text), each as recall_1, recall_3, precision, F1 and score. Writes the answers and metrics.json. After a crash, run
the same command again to resume.

example: imageref evaluate placement --config jobs/configs/picturenews-evaluate.yaml --output runs/measured
""",
        "imageref_ray.evaluation.evaluate_placement:evaluate_placement",
        "EvaluateConfig",
        arguments=(BUDGET,),
    ),
    Command(
        "evaluate vqa",
        "are short answers and choices right?",
        """\
Ask annotated questions about images (OKVQA, VQAv2, A-OKVQA, lists of your own) for short answers and measure the VQA
accuracy; with choice in mode also score every given choice by its log-likelihood (engine vllm) and count the right
ones. Writes answers.jsonl, choices.jsonl and metrics.json. After a crash, run the same command again to resume.

example: imageref evaluate vqa --config jobs/configs/picturenews-vqa.yaml --set limit=100 --output runs/asked
""",
        "imageref_ray.evaluation.evaluate_vqa:evaluate_vqa",
        "VqaConfig",
        arguments=(BUDGET,),
    ),
    Command(
        "score",
        "labels + predictions → the same metrics, no engine",
        """\
Score answers you already have against position labels, without any engine, and print one JSON object: events,
recall_1, recall_3, precision, f1, score, unparsed and intervals.

example: imageref score --labels label.csv --predictions insertion.jsonl
""",
        "imageref_ray.commands.score:run",
        arguments=(
            folder("--labels", "CSV", "position labels (label.csv)", required=True),
            folder("--predictions", "JSONL", "one answer a line", required=True),
            Argument(("--paper",), "the paper's own conventions", {"action": "store_true"}),
        ),
    ),
    Command(
        "retry",
        "the quarantined records of a run, once more",
        """\
Run the records in the quarantine of a run (build, instruct, evaluate) once more: all of them, those of one stage, or
those with one error. What succeeds joins the results; what fails again stays in the quarantine with its new reason.

example: imageref retry runs/first --error RequestError
""",
        "imageref_ray.commands.retry:retry",
        arguments=(
            folder("run", "RUN", "run directory of build, instruct or evaluate"),
            Argument(("--stage",), "only records that failed in this stage: verify, respond, caption, place, …"),
            Argument(("--error",), "only records that failed with this error: ParseError, RequestError, …"),
        ),
    ),
    Command(
        "inspect",
        "a run directory → one HTML page",
        """\
Write one HTML page about a run, finished, still running or failed: progress, cost, what failed and why, and samples to
browse, with their images. The page needs no other file: open it, or pass it on.

example: imageref inspect runs/demo/build --samples 24
""",
        "imageref_ray.commands.inspection:inspect",
        arguments=(
            folder("directory", "RUN", "run directory of a build or an evaluation"),
            folder("--out", "FILE", "page to write (default RUN/inspect.html)"),
            number("--samples", "N", "samples shown at most", 48),
            number("--seed", "S", "another seed draws other samples", 0),
        ),
    ),
    Command(
        "check",
        "training set → breaches of the reference contract",
        """\
Read an annotation file, ours or foreign (InternVL, LLaVA, ms-swift, ShareGPT, Parquet), and report where it breaks the
reference contract: every IMAGE_k exists, stands after a paragraph and is used once; image tags match images; image
files can be opened; turns alternate; no answer is empty; no id comes twice. Exit code 1 when something was found.

example: imageref check runs/first/dataset/annotation.plain.jsonl --first 5
""",
        "imageref_ray.commands.check:run",
        arguments=(
            folder("dataset", "DATASET", "JSONL, JSON list or Parquet"),
            folder("--root", "DIR", "folder that image paths are relative to"),
            number("--first", "N", "breaches to show", 20),
        ),
    ),
    Command(
        "serve",
        "start the HTTP endpoint",
        """\
Start the endpoint on this machine or on the cluster in RAY_ADDRESS: /v1/chat/completions (OpenAI-compatible, with
images and streaming) and /v1/reference (documents + images + question → Markdown with checked image references).
Without --config and --model it serves the checkpoint in the package.

example: imageref serve --model runs/demo/train/model --port 8001 --set method=direct
""",
        "imageref_ray.commands.serve:run",
        arguments=(
            folder("--config", "FILE", "Ray Serve config, e.g. serve/config.yaml"),
            option("--model", "MODEL", "checkpoint to serve: a folder or hub name"),
            option("--host", "HOST", "address to listen on (default 127.0.0.1)"),
            option("--port", "PORT", "port to listen on (default 8000)", type=int),
            Argument(SET.names, "change one setting of the endpoint; repeatable", {**SET.options, "dest": "overrides"}),
        ),
    ),
    Command(
        "demo",
        "the whole way on a small made-up world, with a report",
        """\
Generate a corpus, build a training set with the embedded checkpoint as annotator, fine-tune a student, evaluate
base and student, and write a report with images. After a crash, run the same command again to resume.

example: imageref demo --set train_events=64 --output runs/small
""",
        "imageref_ray.commands.demo:demo",
        "DemoConfig",
        default=DEMO,
    ),
    Command(
        "picturenews",
        "write the made-up world of the demo",
        """\
Draw and write a small world of news in which everything is known: events, articles, images, reference answers,
position labels, questions. The same events and seed always give the same files.

example: imageref picturenews --events 48 --seed 3 --out runs/corpus
""",
        "imageref_ray.commands.picturenews:run",
        arguments=(
            option("--events", "N", "how many events", type=int, required=True),
            option("--seed", "S", "another seed is another world (default 0)", type=int),
            folder("--out", "DIR", "folder to write to", required=True),
            Argument(("--skills",), "what the embedded checkpoint is trained on, instead", {"action": "store_true"}),
        ),
    ),
    Command(
        "init",
        "write a commented starter config",
        """\
Write a commented config for a job, which runs once its paths are yours. It starts with the checkpoint in the package,
so that the first run needs no GPU and no download.

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
                ("--engine",), "vllm or openai (default vllm)", {"choices": ("vllm", "openai"), "default": "vllm"}
            ),
            folder("--out", "FILE", "file to write (default JOB.yaml; `-` prints it)"),
        ),
    ),
    Command(
        "schema",
        "print the JSON Schema of a job's config",
        """\
Print the JSON Schema of a job's settings: editors complete and check YAML files by it, with a first line
`# yaml-language-server: $schema=build.schema.json`.

example: imageref schema build
""",
        "imageref_ray.commands.schema:run",
        arguments=(
            Argument(("job",), f"one of {', '.join(JOBS)}, demo", {"choices": (*JOBS, "demo"), "metavar": "JOB"}),
        ),
    ),
)

GROUPS = {"evaluate": ("test set + checkpoint → metrics", "Measure a checkpoint.")}
"""First words of two-word commands: what the group is for, in short and in a sentence."""
