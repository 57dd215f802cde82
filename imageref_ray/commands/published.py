"""The part of the command table that reads published annotations. Data only."""

from __future__ import annotations

from imageref_ray.commands.arguments import Argument, Command, int_option, option, path_option

SETS = ("llava", "okvqa", "aokvqa", "vqav2")
TASKS = ("conversation", "detail", "reasoning")
USES = ("vig", "vic", "vqg")

INSTRUCT_ROWS = Command(
    "instruct rows",
    "published annotations → training rows",
    """\
Turn the published annotations of LLaVA, OKVQA, A-OKVQA or VQAv2, or the lists of VIGC's release, into training rows:
vig (image → question and answer), vic (image and question → answer) and vqg (image and answer → question). Writes
<task>.<use>.jsonl, <task>.rejects.jsonl (entries that cannot be used, each with its reason) and mixture.json, which
lists all sets in the folder with the release's ratios: give each data set in turn, with the same --out. In training,
every use of a row draws another wording and another answer. Image files are not opened.

example: imageref instruct rows --from llava --task detail --data detail_23k.json --images train2017 --out runs/rows
""",
    "imageref_ray.commands.instruct_rows:run",
    arguments=(
        Argument(
            ("--from",),
            f"data set: {', '.join(SETS)}",
            {"choices": SETS, "required": True, "dest": "source", "metavar": "SET"},
        ),
        Argument(
            ("--task",),
            "llava: which of its files --data is (reasoning is complex_reasoning)",
            {"choices": TASKS, "metavar": "TASK"},
        ),
        path_option("--data", "FILE", "the data set's JSON file; of a published pair, the questions", required=True),
        path_option("--annotations", "FILE", "okvqa, vqav2: the published file of the answers to --data"),
        path_option("--images", "DIR", "folder that image names are relative to", required=True),
        option(
            "--image-name",
            "PATTERN",
            "file name of a numbered image (default: as the training split names them, {:012d}.jpg for aokvqa, "
            "COCO_train2014_{:012d}.jpg for okvqa and vqav2)",
        ),
        path_option("--out", "DIR", "folder to write to", required=True),
        option("--prompts", "PACK", "instruction pack: a shipped name or a YAML file (default en)", default="en"),
        Argument(
            ("--uses",), "rows to write (default vig vic)", {"choices": USES, "nargs": "+", "default": ("vig", "vic")}
        ),
        option("--draws", "N", "rows per question and use (default 1)", type=int, default=1),
        option("--topk", "K", "draw only from the K most frequent answers of a question", type=int),
        option("--score-thr", "W", "draw only answers that at least W annotators gave", type=float, default=0.0),
        int_option("--seed", "S", "seed of wordings and answers", 42),
    ),
)
