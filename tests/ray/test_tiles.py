"""Tiles: what a training records, what an engine makes of it, and that inference reads the tokens of training."""

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from transformers import AutoProcessor
from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

from imageref_ray.batch.job import Job, run_job
from imageref_ray.core import tiles
from imageref_ray.core.config import (
    ConfigError,
    EvaluateConfig,
    PassConfig,
    ScriptedConfig,
    TransformersConfig,
    VllmConfig,
    load,
)
from imageref_ray.core.tiles import Tiles
from imageref_ray.engines import check
from imageref_ray.engines.base import EngineError
from imageref_ray.engines.chat_template import INTERNVL
from imageref_ray.engines.tiles import of_checkpoint
from imageref_ray.engines.transformers import TransformersEngine
from imageref_ray.evaluation.evaluate_placement import weight
from imageref_ray.serving.app import checked_settings
from imageref_ray.training.encode import Collator
from tests import served_tokens, tiny_models
from tests.served_tokens import CASES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiles")
    served_tokens.make(made)
    return made


@pytest.fixture(scope="module")
def engine(folder: Path) -> TransformersEngine:
    return TransformersEngine(
        TransformersConfig(model=str(folder / "model"), dtype="float32", device="cpu", max_tiles=6)
    )


@pytest.mark.parametrize(("most", "images", "shared"), [*((*case, True) for case in CASES), (6, 3, False)])
def test_transformers_reads_the_tokens_of_training_and_as_many_tiles(
    folder: Path, engine: TransformersEngine, most: int, images: int, shared: bool
) -> None:
    engine.tiles = Tiles(most, shared)
    example = served_tokens.trained(folder, images, most, shared)
    processor = AutoProcessor.from_pretrained(folder / "model")
    there = engine.inputs([served_tokens.asked(folder, images)])
    assert there["input_ids"][0].tolist() == served_tokens.read_until_the_end(example, processor.tokenizer.eos_token_id)
    here = Collator(processor, ["row"], 0)([example])["pixel_values"]
    assert here.shape == there["pixel_values"].shape


def test_the_images_of_a_sample_share_its_tiles_and_each_has_one() -> None:
    assert [Tiles(6, True).per_image(images) for images in (0, 1, 2, 3, 4, 20)] == [6, 6, 3, 2, 1, 1]
    assert [Tiles(6, False).per_image(images) for images in (1, 3, 20)] == [6, 6, 6]


def test_a_checkpoint_carries_what_most_images_of_its_training_had() -> None:
    by_set = {"dvqa": 6, "llava": 6, "imageref": 1, "text": 12}
    assert tiles.trained(by_set, {"dvqa": 300, "llava": 300, "imageref": 5000}, True, unseen=6) == Tiles(
        1, True, {"dvqa": 6, "llava": 6, "imageref": 1}
    )
    assert tiles.trained(by_set, {"dvqa": 300, "imageref": 200}, True, unseen=6).max_tiles == 6
    assert tiles.trained(by_set, {"dvqa": 200, "imageref": 200}, True, unseen=6).max_tiles == 1
    assert tiles.trained(by_set, {}, False, unseen=6) == Tiles(6, False)


def test_a_record_says_in_one_sentence_that_sets_differ_and_what_requests_get(tmp_path: Path) -> None:
    assert tiles.notice(str(tmp_path)) == tiles.notice("embedded") == tiles.notice("hub/name") == ""
    tiles.write(tmp_path, Tiles(1, True, {"imageref": 1, "captions": 1}))
    assert tiles.notice(str(tmp_path)) == ""
    mixed = Tiles(1, True, {"imageref": 1, **dict.fromkeys("abcde", 6)})
    tiles.write(tmp_path, mixed)
    assert tiles.read(tmp_path / tiles.FILE) == mixed
    assert tiles.notice(str(tmp_path)) == (
        f"{tmp_path} was trained with different maximum numbers of tiles per image (1 in imageref; 6 in a, b, c and "
        "2 more): requests get 1, what most of its images had; set engine.max_tiles for a task that was trained with "
        "another"
    )
    assert "requests get 6, engine.max_tiles;" in tiles.notice(str(tmp_path), 6)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"max_tiles": 0, "share_tiles": true, "max_tiles_by_set": {}}', '{"max_tiles": "six"}']
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / tiles.FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"imageref\.json .*; copy it from the checkpoint again"):
        tiles.notice(str(tmp_path))


def test_an_engine_cuts_as_its_settings_say_else_the_record_else_the_processor(folder: Path, tmp_path: Path) -> None:
    def of(**settings: Any) -> Tiles | None:
        config = VllmConfig(model=str(tmp_path), **settings)
        return of_checkpoint(config, [INTERNVL], {"max_patches": 12})

    assert of() == Tiles(12, True)
    assert of(max_tiles=4, share_tiles=False) == Tiles(4, False)
    tiles.write(tmp_path, Tiles(1, False, {"imageref": 1}))
    assert of() == Tiles(1, False, {"imageref": 1})
    assert of(max_tiles=6) == Tiles(6, False, {"imageref": 1})
    assert of_checkpoint(VllmConfig(model=str(tmp_path)), ["LlavaForConditionalGeneration"], {}) is None


def test_tiles_of_another_model_and_tiles_set_twice_are_refused_before_anything_starts(tmp_path: Path) -> None:
    tiny_models.llama(tmp_path)
    with pytest.raises(ConfigError, match=r"engine\.max_tiles is a setting of InternVL, and .* is LlamaForCausalLM"):
        check(VllmConfig(model=str(tmp_path), max_tiles=2))
    with pytest.raises(ConfigError, match=r"sets max_patches; set engine\.max_tiles instead"):
        check(VllmConfig(model="embedded", args={"mm_processor_kwargs": {"max_patches": 2}}))


def test_tiles_change_replies_so_they_are_part_of_a_run_and_only_where_they_are_set() -> None:
    for kind in (VllmConfig, TransformersConfig):
        plain, six = kind(model="embedded").identity(), kind(model="embedded", max_tiles=6).identity()
        assert six == {**plain, "max_tiles": 6}
        assert "share_tiles" not in plain


@pytest.mark.parametrize(("most", "shared", "fits"), [(1, True, True), (6, True, True), (6, False, False)])
def test_fifty_large_pictures_fit_the_evaluation_config_as_they_were_trained(
    most: int, shared: bool, fits: bool
) -> None:
    """A released model's 448 px tiles of 256 tokens; a 900 × 600 picture is 3 × 2 tiles and a thumbnail, if it may."""
    config = load(EvaluateConfig, ROOT / "jobs" / "configs" / "cluster-evaluate.yaml")
    assert isinstance(config.engine, VllmConfig)
    images = config.engine.args["limit_mm_per_prompt"]["image"]
    each = Tiles(most, shared).per_image(images)
    columns, rows = get_optimal_tiled_canvas((600, 900), (448, 448), 1, each)
    count = columns * rows + (columns * rows > 1)
    assert count == {(1, True): 1, (6, True): 1, (6, False): 7}[most, shared]
    assert (images * (256 * count + 2) + config.max_tokens < config.engine.args["max_model_len"]) == fits


def test_the_question_with_most_tiles_is_the_heaviest() -> None:
    def row(images: int) -> dict[str, Any]:
        return {"prompt": ["four", *({"id": f"d/{k}.png"} for k in range(images))], "reference": "four"}

    assert [weight(row(images)) for images in (0, 1, 3)] == [2, 258, 770]
    assert [weight(row(images), Tiles(6, True)) for images in (1, 2, 3, 4)] == [2 + 256 * n for n in (7, 8, 9, 4)]
    assert weight(row(3), Tiles(6, False)) == 2 + 256 * 21


def test_what_a_job_expects_is_what_its_engine_will_do_where_the_folder_says_it(tmp_path: Path) -> None:
    assert tiles.expected(VllmConfig(model="hub/name")) is tiles.expected(ScriptedConfig(script="m:f")) is None
    assert tiles.expected(VllmConfig(model="hub/name", max_tiles=6)) == Tiles(6, True)
    tiles.write(tmp_path, Tiles(1, False, {"imageref": 1}))
    assert tiles.expected(VllmConfig(model=str(tmp_path))) == Tiles(1, False, {"imageref": 1})


def test_a_job_and_the_endpoint_say_first_that_the_sets_of_their_checkpoint_differ(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder / "model", model)
    tiles.write(model, Tiles(1, True, {"imageref": 1, "dvqa": 6}))
    engine = {"kind": "vllm", "model": str(model)}
    checked_settings({"engine": engine})
    assert "(1 in imageref; 6 in dvqa): requests get 1" in caplog.text
    config = PassConfig.model_validate({"output": tmp_path / "run", "engine": {**engine, "max_tiles": 6}})
    screen = io.StringIO()
    job = Job(config, {}, _not_now, dict, print, print)
    with pytest.raises(EngineError, match="not now"):
        run_job(job, Console(file=screen))
    assert "(1 in imageref; 6 in dvqa): requests get 6, engine.max_tiles" in screen.getvalue()


def _not_now() -> dict[str, Any]:
    raise EngineError("not now")
