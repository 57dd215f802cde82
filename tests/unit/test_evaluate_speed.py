"""The speed protocol: what is sent, how much at once, what is counted; nothing that fails is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.commands.cli import main
from imageref_ray.picturenews import corpus
from tests.loopback import Loopback, Step, fails, loopback, says

RESPONSE = "# A title\nAn overview.\n### A header\nA paragraph."
PLACED = json.dumps({"predictions": [{"position": f"<Position {slot}>", "image": "Not Insert"} for slot in (1, 2)]})


def reply(body: dict[str, Any], **step: Any) -> Step:
    """What a stage of the compact pack, or an end-to-end request, is answered."""
    asked = json.dumps(body["messages"])
    texts = {"Write the response.": RESPONSE, "Place the pictures.": PLACED, "he picture.": "A boat."}
    return says(next((text for words, text in texts.items() if words in asked), RESPONSE), cost=(10, 4), **step)


def measure(
    tmp_path: Path, server: Loopback, *settings: str, events: int = 3, code: int = 0, mode: str = "end_to_end, staged"
) -> dict[str, Any]:
    corpus.write(tmp_path / "news", events, 3)
    values = {
        "source": {"root": str(tmp_path / "news")},
        "output": str(tmp_path / "out"),
        "prompts": "compact",
        "engine": {"kind": "openai", "model": "m", "base_url": server.url, "api_key_env": "NONE"},
    }
    file = tmp_path / "speed.yaml"
    file.write_text(json.dumps(values))
    sets = [part for setting in (f"mode=[{mode}]", *settings) for part in ("--set", setting)]
    assert main(["evaluate", "speed", "--config", str(file), *sets]) == code
    written: dict[str, Any] = json.loads((tmp_path / "out" / "speed.json").read_text())
    return written


def images(events: int) -> int:
    return sum(len(event.shots) for event in corpus.make_events(3, events))


def test_both_ways_are_asked_as_the_protocol_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with loopback(otherwise=reply) as server:
        found = measure(tmp_path, server)
    staged = 3 * 2 + 2 * images(3)
    assert [found[mode]["requests"] for mode in ("end_to_end", "staged")] == [3, staged]
    assert [found[mode]["answered"] for mode in ("end_to_end", "staged")] == [3, 3]
    assert (found["staged"]["prompt_tokens"], found["staged"]["generated_tokens"]) == (10 * staged, 4 * staged)
    assert found["end_to_end"]["p50_s"] <= found["end_to_end"]["p95_s"] <= found["end_to_end"]["wall_s"]
    assert found["in_flight"] == 100 and found["left_out"] == 0 and found["ratio"] > 0
    asked = server.asked[1:]  # the first warms up
    assert {(body["temperature"], body.get("max_tokens") or body.get("max_completion_tokens")) for body in asked} == {
        (0, 2048)
    }
    assert [sum("image_url" in json.dumps(body) for body in part) for part in (asked[:3], asked[3:])] == [
        3,
        2 * images(3),
    ]
    assert "times as long staged as end to end" in capsys.readouterr().out


def test_the_placement_comes_after_the_response_and_all_captions_of_its_sample(tmp_path: Path) -> None:
    with loopback(otherwise=reply) as server:
        measure(tmp_path, server, events=1, mode="staged")
    kinds = ["Place" in json.dumps(body["messages"]) for body in server.asked]
    assert kinds == [False] * (len(kinds) - 1) + [True]


def test_as_many_requests_are_in_flight_as_asked_for_and_no_more(tmp_path: Path) -> None:
    with loopback(says("yes"), otherwise=lambda body: reply(body, together=5)) as server:
        found = measure(tmp_path, server, "in_flight=5", events=8, mode="staged")
    assert server.busiest == found["staged"]["busiest"] == 5


def test_what_fails_is_counted_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def other(body: dict[str, Any]) -> Step:
        return fails(400, "too many pictures") if "image_url" in json.dumps(body) else reply(body)

    with loopback(says("yes"), says(RESPONSE), otherwise=other) as server:
        found = measure(tmp_path, server, mode="end_to_end")
    one = found["end_to_end"]
    assert (one["samples"], one["answered"], one["requests"]) == (3, 1, 1)
    assert one["failures"] == {"RequestError": 2} and "too many pictures" in one["messages"]["RequestError"]
    assert "2 samples failed with RequestError, for example" in " ".join(capsys.readouterr().out.split())


def test_a_reply_that_a_stage_cannot_use_fails_its_sample_and_a_way_without_answers_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with loopback(otherwise=lambda body: says("", usage=False)) as server:
        found = measure(tmp_path, server, code=1)
    assert found["staged"]["failures"] == {"ParseError": 3}
    assert (found["staged"]["prompt_tokens"], found["staged"]["seconds_per_sample"], found["ratio"]) == (None,) * 3
    assert "staged answered none of 3 samples" in capsys.readouterr().err


def test_a_dead_endpoint_is_said_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with loopback(otherwise=lambda body: fails(401, "bad key")) as server, pytest.raises(FileNotFoundError):
        measure(tmp_path, server, code=1)
    assert len(server.asked) == 1 and "bad key" in capsys.readouterr().err


def test_a_source_without_a_usable_sample_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with loopback(otherwise=reply) as server, pytest.raises(FileNotFoundError):
        measure(tmp_path, server, "source.max_image_pixels=1", code=2)
    assert "none of 3 samples can be used" in capsys.readouterr().err
    rows = [json.loads(line) for line in (tmp_path / "out" / "left_out.jsonl").open(encoding="utf-8")]
    assert [row["error"] for row in rows if not row["item"]] == ["NoImages"] * 3
    assert len([row for row in rows if row["item"]]) == images(3)
