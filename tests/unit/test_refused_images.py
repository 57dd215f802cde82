"""One picture that the engine refuses is named, and costs its sample no more than itself."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import PIL.Image
import pytest

from imageref_ray.batch.refused_images import naming
from imageref_ray.batch.store import failures, results
from imageref_ray.batch.worker import Pass, Worker, packed
from imageref_ray.commands.annotation.passes import annotate, weight
from imageref_ray.commands.annotation.stage_inputs import Recipe
from imageref_ray.core.config import ConfigError, OpenAIConfig, ScriptedConfig
from imageref_ray.core.config.engine import RateLimitConfig
from imageref_ray.core.records import Document, Image, Record, Sample, Usage, from_row, to_row
from imageref_ray.engines.base import ImageRefused, Message, RefusedError, Reply, Request, RequestError, Sampling
from imageref_ray.engines.openai.engine import OpenAIEngine
from imageref_ray.engines.openai.images import data_url
from imageref_ray.engines.scripted import ScriptedEngine
from imageref_ray.stages import prompts
from tests import scripted
from tests.loopback import Step, fails, loopback, says

A, B, C = (Image(f"d/{name}.png", f"/{name}.png", name) for name in "abc")


def asked(*parts: str | Image) -> Request:
    return Request((Message("system", ("Be brief.",)), Message("user", parts)), Sampling(max_tokens=99))


class Strict:
    """Refuses what it is told to, and keeps what it was asked."""

    def __init__(self, refuses: Callable[[Request], bool]) -> None:
        self.refuses, self.requests = refuses, list[Request]()

    async def generate(self, request: Request) -> Reply:
        self.requests.append(request)
        if self.refuses(request):
            raise RefusedError("the endpoint answered 400: no", Usage(1, 2))
        return Reply(("fine",))


def ask(engine: Strict, request: Request) -> Reply:
    return asyncio.run(naming(engine.generate)(request))


def test_a_picture_is_named_once_its_request_is_answered_without_it() -> None:
    engine = Strict(lambda request: A in request.images)
    with pytest.raises(ImageRefused, match=r"refuses the image d/a\.png: the endpoint answered 400: no") as why:
        ask(engine, asked("What is ", A, "?"))
    assert why.value.images == (A,) and why.value.usage == Usage(1, 2)
    assert [request.sampling.max_tokens for request in engine.requests] == [99, 1]
    assert engine.requests[1].messages[1].parts == ("What is ", "(picture)", "?")


def test_of_several_pictures_those_are_named_that_are_refused_alone() -> None:
    engine = Strict(lambda request: bool({A, C} & {*request.images}))
    with pytest.raises(ImageRefused, match=r"the images d/a\.png, d/c\.png: ") as why:
        ask(engine, asked(A, B, C, A))
    assert why.value.images == (A, C) and len(engine.requests) == 5


@pytest.mark.parametrize("refuses", [lambda request: True, lambda request: len(request.images) > 1])
def test_a_request_that_is_refused_for_another_reason_names_no_picture(refuses: Callable[[Request], bool]) -> None:
    engine = Strict(refuses)
    with pytest.raises(RefusedError) as why:
        ask(engine, asked(A, B))
    assert not isinstance(why.value, ImageRefused)


def test_what_is_answered_or_is_no_refusal_costs_no_further_request() -> None:
    engine = Strict(lambda request: False)
    assert ask(engine, asked(A)).text == "fine" and len(engine.requests) == 1

    async def misfit(request: Request) -> Reply:
        engine.requests.append(request)
        raise RequestError("the reply does not fit its guide")

    with pytest.raises(RequestError, match="guide"):
        asyncio.run(naming(misfit)(asked(A)))
    assert len(engine.requests) == 2


RECIPE = Recipe(prompts.load_pack("compact"), Sampling(), Sampling(), Sampling(), 99)
DOCUMENT = Document("d", "Boats", "Boats.\n[Image 0]\nEnd.\n[Image 1]", (A, B))


def censor(request: Request) -> str:
    """The obedient annotator, which will not look at b, nor at anything of a document about secrets."""
    if any(image.sha256 == "b" or image.id.startswith("secret") for image in request.images):
        raise RefusedError("the endpoint answered 400: this image is not allowed")
    return scripted.annotator(request)


def run(directory: Path, recipe: Recipe = RECIPE, **more: object) -> None:
    """Two records: one has a picture that is refused, of the other all are."""
    engine = ScriptedConfig(script="tests.unit.test_refused_images:censor", concurrency=4)
    task = replace(Pass("build", directory, partial(annotate, recipe=recipe), engine), **more)
    secret = Document("e", "Secret", "Secret.\n[Image 0]", (replace(A, id="secret/0.png", sha256="s"),))
    samples = [Sample("s1", "What?", (DOCUMENT,)), Sample("s2", "What?", (secret,))]
    rows = [packed({"id": one.id, "record": to_row(Record(one))}, tries=2) for one in samples]
    asyncio.run(Worker(task, ScriptedEngine(engine)).run(rows))


def test_a_refused_picture_leaves_its_sample_with_a_row_that_names_it(tmp_path: Path) -> None:
    run(tmp_path)
    (result,) = results(tmp_path)
    record = from_row(Record, result.row)
    assert record.sample.images == (A,) and [caption.image_id for caption in record.captions] == [A.id]
    assert {placed.image_id for placed in record.placements} == {A.id, None}
    part, whole = failures(tmp_path)
    assert (part.record_id, part.item, part.stage, part.error, part.attempt) == (
        "s1",
        "d/b.png",
        "caption",
        "ImageRefused",
        2,
    )
    assert part.message == "the engine refuses the image d/b.png: the endpoint answered 400: this image is not allowed"
    assert (whole.record_id, whole.item, whole.error) == ("s2", "", "ImageRefused")


def test_or_fails_it_where_that_is_set(tmp_path: Path) -> None:
    run(tmp_path, replace(RECIPE, leave_out_refused=False))
    assert [(f.record_id, f.item, f.error) for f in failures(tmp_path)] == [
        ("s1", "", "ImageRefused"),
        ("s2", "", "ImageRefused"),
    ]


def test_a_heaviest_record_of_which_every_picture_is_refused_ends_the_run_early(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the heaviest record, s2, does not fit the engine"):
        run(tmp_path, weight=weight, heaviest="s2")


def test_an_endpoint_that_refuses_one_picture_with_a_400(tmp_path: Path) -> None:
    for name, color in (("a", "red"), ("b", "blue")):
        PIL.Image.new("RGB", (30, 30), color).save(tmp_path / f"{name}.png")
    image = Image("d/1.png", str(tmp_path / "b.png"))

    def otherwise(body: dict[str, object]) -> Step:
        blue = data_url(image) in json.dumps(body)
        return fails(400, "Request could not be processed.") if blue else says("ok")

    with loopback(otherwise=otherwise) as server:
        config = OpenAIConfig(model="m", base_url=server.url, rate_limit=RateLimitConfig(first_wait_s=0.01))

        async def both() -> None:
            engine = OpenAIEngine(config)
            generate = naming(engine.generate)
            assert (await generate(asked(replace(image, uri=str(tmp_path / "a.png"))))).text == "ok"
            with pytest.raises(ImageRefused, match=r"d/1\.png: the endpoint answered 400: Request could not be"):
                await generate(asked(image))
            with pytest.raises(ImageRefused, match="cannot be sent"):
                await generate(asked(replace(image, uri=str(tmp_path / "gone.png"))))
            await engine.close()

        asyncio.run(both())
