"""Every line of the page for users of ImageRef-VL and VIGC, as printed, in its order: on small data in the layouts of
the releases, with the endpoint that serves the embedded checkpoint as the model."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.commands.cli import main
from imageref_ray.picturenews import corpus

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "coming-from.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
TINY = {
    "model": "embedded",
    "workers": 1,
    "cpus_per_worker": 0.5,
    "gpus_per_worker": 0,
    "zero_stage": 0,
    "steps": 1,
    "global_batch": 1,
    "per_device_batch": 1,
    "precision": "fp32",
}
"""A training of one step."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's lines run: its configs, ImageRef-VL's data, and VIGC's, as they are published."""
    root = tmp_path_factory.mktemp("coming")
    shutil.copytree(ROOT / "jobs", root / "jobs")
    corpus.write(root, 2, 7)
    pictures = sorted((root / "image").rglob("*.jpg"))
    for number, picture in enumerate(pictures[:7], 1):
        for name in (
            f"data/coco/train2017/{number:012d}.jpg",
            f"data/coco/train2014/COCO_train2014_{number:012d}.jpg",
            f"data/objects365/images/v1/patch0/objects365_v1_{number:08d}.jpg",
            f"pictures/{picture.name}",
        ):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, root / name)
    for name, value in annotations().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(value), encoding="utf-8")
    return root


def annotations() -> dict[str, Any]:
    """The published files, of images 1 to 3, so that 4 to 7 are left for instructions."""
    turns = [{"from": "human", "value": "<image>\nWhat is shown?"}, {"from": "gpt", "value": "two boats"}]
    llava = [{"id": f"{n:012d}", "image": f"{n:012d}.jpg", "conversations": turns} for n in (1, 1, 2)]
    asked = [{"image_id": n, "question_id": n, "question": "What is shown?"} for n in (1, 2, 3)]
    answers = [{"answer": "two boats", "answer_id": k} for k in range(10)]
    told = [{"image_id": n, "question_id": n, "answers": answers} for n in (1, 2, 3)]
    choices = {"choices": ["boats", "kites"], "correct_choice_idx": 0, "direct_answers": ["boats"] * 10}
    files: dict[str, Any] = dict.fromkeys(
        (
            "conversation_58k.json",
            "detail_23k.json",
            "complex_reasoning_77k.json",
            "data/llava/llava_instruct_150k.json",
        ),
        llava,
    )
    files["OpenEnded_mscoco_train2014_questions.json"] = {"questions": asked}
    files["mscoco_train2014_annotations.json"] = {"annotations": told}
    for split in ("train", "val"):
        files[f"data/okvqa/mscoco_{split}2014_annotations.json"] = {"annotations": told}
        files[f"data/aokvqa/aokvqa_v1p0_{split}.json"] = [{**one, **choices} for one in asked]
    files["aokvqa_v1p0_train.json"] = files["data/aokvqa/aokvqa_v1p0_train.json"]
    return files


def settings(words: list[str], root: Path, engine: dict[str, Any]) -> dict[str, Any]:
    """What makes a line's job small, and where its data are here."""
    name = next((Path(word).stem for word in words if word.endswith(".yaml")), "")
    news = {"source.root": str(root), "prompts": "compact", "engine": engine}
    steps, rows = root / "runs" / "imageref", str(root / "data" / "rows" / "mixture.json")
    made = {"annotation": str(root / "annotation.plain.jsonl"), "root": str(root)}
    match words[0], name:
        case "build", "imageref-respond":
            return {**news, "output": str(steps / "respond")}
        case "build", "imageref-caption":
            return {**news, "output": str(steps / "caption"), "caption_examples": None}
        case "build", _:
            written = {"responses": "respond", "captions": "caption"}
            inputs = {kind: str(steps / step / "dataset" / f"{kind}.jsonl") for kind, step in written.items()}
            return {**news, "output": str(steps / "place"), "place_examples": None, "inputs": inputs}
        case "train", _:
            mixture = rows if name.startswith("vigc") else {"imageref": made}
            return {**TINY, "mixture": mixture, "output": str(root / "runs" / name)}
        case "instruct", _ if name:
            where = "data/objects365/images" if name == "instruct-objects365" else "data/coco/train2017"
            where = "pictures" if "images.root=pictures" in words else where
            # greedy, and an answer may be short: the embedded checkpoint's likeliest reply is a question and its answer
            greedy = {"generate.temperature": 0, "generate.min_tokens": 1, "generate.max_tokens": 40}
            more = {**greedy, "prompts": "compact", "min_success": 0}
            return {**more, "engine": engine, "images.root": str(root / where)}
        case "evaluate", "cluster-evaluate":
            # the embedded checkpoint has not learned to write whole answers: there is nothing to measure in them
            labels = None if "mode=[free]" in words else str(root / "label.csv")
            data = {"data": made["annotation"], "root": str(root), "labels": labels}
            return {**data, "prompts": "compact", "max_tokens": 200, "engine": engine}
        case "evaluate", "cluster-judge":
            answers = {"student": str(root / "runs/free/free.jsonl"), "teacher": str(root / "runs/guided/guided.jsonl")}
            # nor has it to judge
            judge = {"kind": "scripted", "model": "none", "script": "tests.scripted:grader", "cpus": 0.3}
            read = {"data": made["annotation"], "root": str(root)}
            return {**read, "answers": answers, "engine": judge, "output": str(root / "runs/judge"), "max_budget": None}
        case "evaluate", "cluster-vqa":
            asked = {"questions": str(root / "aokvqa_v1p0_train.json"), "images": str(root / "data/coco/train2017")}
            return {"sets": {"a_okvqa": asked}, "mode": ["direct"], "output": str(root / "runs/vqa"), "engine": engine}
        case "evaluate", "evaluate-speed":
            return {**news, "output": str(root / "runs/speed"), "max_tokens": 512}
    return {}


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_page_runs(line: str, folder: Path, served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    program, *words = shlex.split(line)
    assert program == "imageref"
    engine = {"kind": "openai", "base_url": f"{served}/v1", "model": "imageref", "concurrency": 8, "cpus": 0.3}
    for key, value in settings(words, folder, engine).items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    for option in ("--output", "--images"):  # workers of the tests' Ray have another working folder
        if option in words:
            words += [option, str(folder / words[words.index(option) + 1])]
    assert main(words) == 0
