"""What the screen says at the end of a run."""

import io
import math
from typing import Any

from rich.console import Console

from imageref_ray.batch.progress import closing_table, unreported
from imageref_ray.core.config import OpenAIConfig, ScriptedConfig


def shown(**more: Any) -> list[str]:
    """The closing table's lines without its frame."""
    costs = dict.fromkeys(("requests", "prompt_tokens", "image_tokens", "cached_tokens", "generated_tokens"), 1200)
    summary = {"records": 4, "quarantined": 0, "problems": {}, "tokens_per_second": 8.0, "seconds": 2.5, **costs}
    screen = io.StringIO()
    Console(file=screen, width=100).print(closing_table("build: out", {**summary, **more}))
    return [" ".join(line.strip("│ ").replace("│", " ").split()) for line in screen.getvalue().splitlines()]


def test_a_build_with_a_plan_ends_with_how_far_the_plan_was_off() -> None:
    plan = {
        "requests": {"relative": 0.0, "inside": True},
        "prompt_tokens": {"relative": 0.0312, "inside": True},
        "generated_tokens": {"relative": -0.25, "inside": False},
        "money": {"relative": 0.5, "inside": True},
    }
    lines = shown(plan=plan)
    assert lines[-4:-1] == [
        "plan, requests +0.0 %",
        "plan, prompt tokens +3.1 %",
        "plan, generated tokens -25.0 % (outside its interval)",
    ]
    nothing = {name: {"relative": math.inf, "inside": False} for name in plan}
    assert "plan, requests predicted, but there were none (outside its interval)" in shown(plan=nothing)


def test_what_an_endpoint_does_not_report_is_a_dash() -> None:
    openai, own = OpenAIConfig(model="m"), ScriptedConfig(script="tests.scripted:annotator")
    counted = {"prompt_tokens": 100, "image_tokens": 0, "cached_tokens": 0}
    lines = shown(**counted, **unreported(counted, [own, openai]))
    assert "… of images –" in lines and "… from the cache –" in lines and "prompt tokens 100" in lines
    assert unreported({**counted, "image_tokens": 7}, [openai]) == {"unreported": ["cached_tokens"]}
    assert unreported({**counted, "image_tokens": 7, "cached_tokens": 5}, [openai]) == {}
    assert unreported(counted, [own]) == {}  # our engines count: nothing is nothing
    assert "… of images 0 (0%)" in shown(**counted)


def test_a_run_without_a_plan_says_nothing_of_one() -> None:
    assert not [line for line in shown() if "plan" in line]
