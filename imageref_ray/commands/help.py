"""What `imageref …` says of itself and of every command. Data only."""

PURPOSE = """\
From documents with pictures to a vision-language model that answers with the right pictures in the right
places: build a training set, fine-tune InternVL, measure it, serve it.

  imageref demo           the whole way on the embedded corpus, in minutes on a laptop CPU
  imageref build …        your documents → training set
"""

BUILD = """\
Write a response to every sample, caption its images in the context of their documents, decide which image
belongs where, and write the training set: annotation JSONL (plain and with captions), Parquet, a dataset card.
Run it again after a crash: it goes on where it stood. What could not be read is in the run's quarantine. A finished
run called again with other settings under `export` writes the new files from its records, without any engine.

example: imageref build --config jobs/configs/picturenews.yaml --set source.limit=8 --output runs/first
"""

PLAN = """\
Run a few records of a build for real and tell what all of them will cost: requests, tokens, GPU-hours and, with a
price table in the config (prices), money, each with a 95 % interval. The build compares itself with the plan.

example: imageref plan --config jobs/configs/picturenews.yaml --records 24
"""

RETRY = """\
Run the records in the quarantine of a run (build, instruct, evaluate) once more: all of them, those of one stage, or
those with one error. What succeeds joins the results; what fails again stays in the quarantine with its new reason.

example: imageref retry runs/first --error RequestError
"""

INSTRUCT = """\
Ask questions about images (conversation, detailed description, reasoning, knowledge), answer them, and correct the
answers unit by unit against the image. Writes every instruction with its draft, its units and what became of them,
and training rows for `imageref train`. Run it again after a crash: it goes on where it stood.

example: imageref instruct --config jobs/configs/picturenews-instruct.yaml --set correct.reread=verify
"""

TRAIN = """\
Fine-tune an InternVL checkpoint on a mixture of data sets (Ray Train + DeepSpeed). The result is a Hugging Face
checkpoint in <output>/model, which vLLM loads as it is.

example: imageref train --config jobs/configs/picturenews-train.yaml --set steps=200 --output runs/student
"""

PLACEMENT = """\
Answer a test set and measure where the images went: guided decoding (slot by slot) and free decoding (read from
the text), each as recall_1, recall_3, precision, F1 and score. Writes the answers and metrics.json. Run it again after
a crash: it goes on where it stood.

example: imageref evaluate placement --config jobs/configs/picturenews-evaluate.yaml --output runs/measured
"""

VQA = """\
Ask annotated questions about images (OKVQA, VQAv2, A-OKVQA, lists of your own) for short answers and measure the VQA
accuracy; with choice in mode also score every given choice by its log-likelihood (engine vllm) and count the right
ones. Writes answers.jsonl, choices.jsonl and metrics.json. Run it again after a crash: it goes on where it stood.

example: imageref evaluate vqa --config jobs/configs/picturenews-vqa.yaml --set limit=100 --output runs/asked
"""

SCORE = """\
Score answers you already have against position labels, without any engine, and print one JSON object: events,
recall_1, recall_3, precision, f1, score, unparsed and intervals.

example: imageref score --labels label.csv --predictions insertion.jsonl
"""

CHECK = """\
Read an annotation file, ours or foreign (InternVL, LLaVA, ms-swift, ShareGPT, Parquet), and say where it breaks the
reference contract: every IMAGE_k exists, stands after a paragraph and is used once; image tags match images; image
files can be opened; turns alternate; no answer is empty; no id comes twice. Exit code 1 when something was found.

example: imageref check runs/first/dataset/annotation.plain.jsonl --first 5
"""

PICTURENEWS = """\
Draw and write a small world of news in which everything is known: events, articles, pictures, reference answers,
position labels, questions. The same events and seed always give the same files.

example: imageref picturenews --events 48 --seed 3 --out runs/corpus
"""

DEMO = """\
Generate a corpus, build a training set with the embedded checkpoint as annotator, fine-tune a student, evaluate
base and student, and write a report with pictures. Killed? Run it again: it goes on where it stood.

example: imageref demo --set train_events=64 --output runs/small
"""

INSPECT = """\
Make one HTML page of a run directory, finished, still running or failed: how far it is, what it cost, what failed
and why, and samples to browse, with their pictures. The page needs no other file: open it, or pass it on.

example: imageref inspect runs/demo/build --samples 24
"""

SERVE = """\
Start the endpoint on this machine or the cluster at hand: /v1/chat/completions (OpenAI-compatible, with images
and streaming) and /v1/reference (documents + images + question → Markdown with checked image references).

example: imageref serve --config serve/config.yaml
"""
