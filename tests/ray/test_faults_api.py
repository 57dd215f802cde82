"""Whole builds against an endpoint that fails in every way one can: what may pass is asked again, what does not is the
record's own quarantine row, every told token is accounted for, and a dead endpoint ends the run in one line."""

import io
import itertools
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from imageref_ray import sources
from imageref_ray.batch import store
from imageref_ray.commands.build import build
from imageref_ray.core.config import BuildConfig, SourceConfig, check
from imageref_ray.core.records import Record, Usage
from imageref_ray.engines.base import Request
from imageref_ray.picturenews import corpus
from imageref_ray.stages import prompts
from tests.loopback import HTML, Step, fails, loopback, request_of, says
from tests.scripted import annotator

ROOT = Path(__file__).parents[2]
EVENTS, SEED = 14, 5
CONCURRENCY = 4


def hollow(good: Step) -> Step:
    """A completion without an answer; what it cost is told."""
    return replace(good, body=json.dumps({**json.loads(good.body), "choices": []}).encode())


MOODS: dict[str, Callable[[Step], Step]] = {
    "good": lambda good: good,
    "busy": lambda good: fails(429, "too many requests", retry_after="1"),
    "full": lambda good: fails(503, "no room"),
    "broken": lambda good: fails(500, "a bug"),
    "cut": lambda good: replace(good, sent=len(good.body) // 2),
    "silent": lambda good: replace(good, delay_s=600),
    "torn": lambda good: replace(good, body=good.body[:-40]),
    "hollow": hollow,
    "page": lambda good: HTML,
    "refused": lambda good: fails(400, "not about boats"),
    "rude": lambda good: replace(good, body=good.body.replace(b"# ", b"")),
}
"""What a good reply can become on its way."""

TOLD, LOST = {"good", "hollow", "rude"}, {"cut", "silent", "torn"}
"""Replies that cost something: with their tokens told, and such that nobody came to know."""

PASSING = ("busy", "broken", "cut", "silent", "torn", "hollow", "page")
LASTING = {
    "broken": ("RequestError", r"the endpoint answered 500: a bug \(in \d+ tries\)"),
    "cut": ("RequestError", r"the connection failed: .*closed connection"),
    "silent": ("RequestError", r"no answer within 3 s \(engine\.timeout_s\) \(in \d+ tries\)"),
    "page": ("RequestError", r"the reply is not JSON: Please sign in \(in \d+ tries\)"),
    "refused": ("RequestError", r"the endpoint answered 400: not about boats$"),
    "rude": ("ParseError", r"the response has no title line"),
}
"""A mood that does not pass → what the quarantine says of the record that meets it."""


@dataclass
class Endpoint:
    """A model behind HTTP. New requests draw their mood, asked again they are answered; `lasting` are texts whose
    mood stays. After `ill_after` good replies everybody fails. `costs`: what was worked for, by mood."""

    rng: random.Random = field(default_factory=lambda: random.Random(53))
    passing: float = 0.0
    lasting: dict[str, str] = field(default_factory=dict)
    ill_after: float = float("inf")
    costs: dict[str, Usage] = field(default_factory=lambda: defaultdict(Usage))
    met: Counter[str] = field(default_factory=Counter)
    moods: dict[str, list[str]] = field(default_factory=dict)
    illness: Iterator[str] = field(default_factory=lambda: itertools.cycle(("broken", "full", "page")))

    def answer(self, body: dict[str, Any]) -> Step:
        """The step for a chat completion's body."""
        request = request_of(body)
        text = annotator(request)
        cost = Usage(1, words(request), generated_tokens=len(text.split()))
        mood = self.mood(request, json.dumps(body["messages"]))
        self.met[mood] += 1
        if mood in TOLD | LOST:
            self.costs[mood] += cost
        return MOODS[mood](says(text, cost=(cost.prompt_tokens, cost.generated_tokens)))

    def mood(self, request: Request, key: str) -> str:
        if self.costs["good"].requests >= self.ill_after:
            return next(self.illness)
        said = str(request.messages[-1].parts[0])
        if said in self.lasting:
            return self.lasting[said]
        if key not in self.moods:
            self.moods[key] = self.drawn() if said != "Say yes." else []
        return self.moods[key].pop() if self.moods[key] else "good"

    def drawn(self) -> list[str]:
        """One of the passing moods or none, and now and then a wait after it."""
        if self.rng.random() >= self.passing:
            return []
        return [*(["busy"] if self.rng.random() < 0.1 else []), self.rng.choice(PASSING)]

    def cost(self, *moods: str) -> Usage:
        return sum((self.costs[mood] for mood in moods), Usage())


def words(request: Request) -> int:
    return sum(len(str(part).split()) for message in request.messages for part in message.parts)


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("news")
    corpus.write(root, EVENTS, SEED)
    return root


def records(news: Path) -> list[Record]:
    return [record for record in sources.read(SourceConfig(root=news)) if isinstance(record, Record)]


def values(news: Path, output: Path, url: str, **engine: Any) -> dict[str, Any]:
    settings = {"kind": "openai", "model": "m", "base_url": url, "concurrency": CONCURRENCY, **engine}
    return {"source": {"root": str(news)}, "output": str(output), "prompts": "compact", "engine": settings}


def kept(run: Path) -> Counter[str]:
    """How often each record lies in the parts, double ones counted."""
    return Counter(id for part in (run / store.RECORDS).glob("part-*") for id in ids_of(part))


def ids_of(part: Path) -> list[str]:
    import pyarrow.parquet as pq

    found: list[str] = pq.read_table(part, columns=["id"])["id"].to_pylist()
    return found


def test_a_moody_endpoint_costs_only_the_records_it_never_serves(local_ray: None, news: Path, tmp_path: Path) -> None:
    everything = records(news)
    pack = prompts.load_pack("compact")
    victims = dict(zip((record.id for record in everything[1::2]), LASTING, strict=False))
    lasting = {
        str(prompts.respond(pack, record.sample)[-1].parts[0]): victims[record.id]
        for record in everything
        if record.id in victims
    }
    endpoint, run = Endpoint(passing=0.3, lasting=lasting), tmp_path / "run"
    with loopback(otherwise=endpoint.answer) as server:
        settings = values(news, run, server.url, timeout_s=3, patience_s=8)
        # What no engine can answer would end the run early if the heaviest record met it.
        summary = build(check(BuildConfig, {**settings, "preflight": False}, "test"), Console(file=io.StringIO()))
    assert len(victims) == len(LASTING) == summary["quarantined"]
    assert set(PASSING) <= set(endpoint.met)

    assert kept(run) == Counter(record.id for record in everything if record.id not in victims)
    found = store.failures(run)
    assert sorted(failure.record_id for failure in found) == sorted(victims)
    for failure in found:
        error, reason = LASTING[victims[failure.record_id]]
        assert (failure.stage, failure.error) == ("respond", error)
        assert re.search(reason, failure.message), failure.message

    told = endpoint.cost(*TOLD)
    spent = Usage(*(summary[name] for name in ("requests", "prompt_tokens", "image_tokens", "cached_tokens")))
    assert replace(spent, generated_tokens=summary["generated_tokens"]) == told
    assert endpoint.cost(*endpoint.costs) == told + endpoint.cost(*LOST)
    assert endpoint.cost(*LOST).generated_tokens > 0


def command(config: Path, ray_address: str) -> subprocess.CompletedProcess[str]:
    """`imageref build` as a process of its own."""
    environment = {**os.environ, "RAY_ADDRESS": ray_address, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-m", "imageref_ray", "build", "--config", str(config)]
    return subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_dead_endpoint_is_one_line_and_the_same_command_goes_on(ray_address: str, news: Path, tmp_path: Path) -> None:
    everything, run = records(news), tmp_path / "run"
    undisturbed = sum(2 + 2 * len(record.sample.images) for record in everything)
    endpoint = Endpoint(ill_after=undisturbed // 2)
    with loopback(otherwise=endpoint.answer) as server:
        settings = values(news, run, server.url, patience_s=3) | {"commit_records": 1}
        (tmp_path / "build.yaml").write_text(json.dumps(settings))
        first = command(tmp_path / "build.yaml", ray_address)
        assert first.returncode == 1, first.stderr
        assert "Traceback" not in first.stdout + first.stderr
        (line,) = (line for line in first.stderr.splitlines() if line.startswith("imageref: "))
        assert re.match(
            rf"imageref: {server.url}/? \(m\) answers no requests: \d+ failures and no answer in \d+ s "
            r"\(.*\d x 500.*\); a test request failed as well: .*; check the endpoint \(log: .*run\.log\)"
            r"\. Run the same command again to resume\.$",
            line,
        ), line
        before = kept(run)
        assert 0 < before.total() < EVENTS
        assert store.failures(run) == []
        assert not (run / "manifest.json").exists()

        endpoint.ill_after = float("inf")
        second = command(tmp_path / "build.yaml", ray_address)
        assert second.returncode == 0, second.stderr
    assert kept(run) == Counter(record.id for record in everything)
    assert before <= kept(run)
    assert store.failures(run) == []
    lines = (run / "dataset" / "annotation.plain.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [record.id for record in everything]
    # The records that were in flight: their response and placement, and what each was just being answered.
    assert 0 <= endpoint.cost("good").requests - undisturbed <= 3 * CONCURRENCY
