"""What attention is computed with in training: the choice, that both parts of the model follow it, and no mask."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from imageref_ray.core.config import ConfigError, TrainConfig, load
from imageref_ray.picturenews.tiny_internvl import create
from imageref_ray.training.encode import IGNORED
from imageref_ray.training.model import build_model, choose_attention, why_flash_attn_is_missing
from imageref_ray.training.train import _cpu_has_bf16, choose_precision

GPU = {"gpus_per_worker": 1, "precision": "bf16"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint."""
    made = tmp_path_factory.mktemp("attention") / "model"
    create(made, ["Two red boats lie at the harbour of Velmora."], vocabulary=400)
    return made


def config(model: Path | str = "model", **change: Any) -> TrainConfig:
    return TrainConfig.model_validate({"model": str(model), "output": "out", "mixture": {}, **change})


@pytest.mark.parametrize(
    ("change", "missing", "chosen"),
    [
        (GPU, "", "flash_attention_2"),
        (GPU, "flash-attn is not installed", "sdpa"),
        (GPU | {"gpus_per_worker": 0}, "", "sdpa"),
        (GPU | {"precision": "fp32"}, "", "sdpa"),
        (GPU | {"attention": "sdpa"}, "", "sdpa"),
        (GPU | {"attention": "flash_attention_2"}, "", "flash_attention_2"),
    ],
)
def test_flash_attn_is_taken_on_gpus_in_bf16_where_it_can_be_imported(
    change: dict[str, Any], missing: str, chosen: str
) -> None:
    assert choose_attention(config(**change), missing) == chosen


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("gpus_per_worker: 1\nprecision: fp32", "computes in bf16, not fp32; set precision: bf16"),
        ("precision: bf16", "runs on GPUs only; set gpus_per_worker"),
    ],
)
def test_flash_attn_where_it_cannot_run_is_refused_when_the_config_is_read(
    settings: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(f"model: m\noutput: o\nmixture: {{}}\nattention: flash_attention_2\n{settings}\n")
    with pytest.raises(ConfigError, match=message):
        load(TrainConfig, file)


def test_flash_attn_asked_for_and_missing_is_refused_before_a_model_is_read() -> None:
    with pytest.raises(ConfigError, match=r"not here; install flash-attn there .* or set attention: auto"):
        choose_attention(config(attention="flash_attention_2", **GPU), "not here")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="flash_attention_2 cannot be used"):
            build_model(config("/no/such/model", attention="flash_attention_2", **GPU))


def test_a_flash_attn_of_another_torch_is_missing_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "flash_attn"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('undefined symbol: _ZN3c104cuda')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "flash_attn", raising=False)
    assert why_flash_attn_is_missing() == "flash-attn cannot be imported (undefined symbol: _ZN3c104cuda)"


def test_both_parts_of_the_model_compute_with_what_was_chosen_and_could_with_flash_attn(tiny: Path) -> None:
    other = config(tiny).model_copy(update={"attention": "eager"})  # no setting, but not the libraries' default either
    model = build_model(other)
    parts = [model, model.model.vision_tower, model.model.language_model]
    assert [part.config._attn_implementation for part in parts] == ["eager"] * 3
    assert [part._supports_flash_attn for part in parts] == [True] * 3
    assert "eager" not in str(model.config.to_dict())  # the exported checkpoint asks for nothing


def step(model: Any) -> None:
    """A training step on two samples of unlike length, the shorter one padded, each with an image."""
    model.train()
    tokens = torch.full((2, 40), 7)
    tokens[:, 2:18] = model.config.image_token_id
    labels = torch.full((2, 40), IGNORED)
    labels[0, 20:39] = labels[1, 20:25] = 5
    tiles = torch.zeros(2, 3, 112, 112, dtype=torch.bfloat16)
    model(input_ids=tokens, labels=labels, pixel_values=tiles)["loss"].backward()


class Calls(TorchFunctionMode):
    """The (mask, causal) of every call of PyTorch's scaled dot product attention while this is open."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, bool]] = []

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is scaled_dot_product_attention:
            self.seen.append((kwargs["attn_mask"], kwargs["is_causal"]))
        return func(*args, **(kwargs or {}))


def layers(model: Any) -> list[bool]:
    """For each layer in the order it runs, whether its attention is causal: the vision tower's not, the text's is."""
    vision, text = model.config.vision_config.num_hidden_layers, model.config.text_config.num_hidden_layers
    return [False] * vision + [True] * text


def test_pytorchs_attention_gets_no_mask_in_training(tiny: Path) -> None:
    model = build_model(config(tiny, attention="sdpa", freeze=(), gradient_checkpointing=False))
    with Calls() as calls:
        step(model)
    assert calls.seen == [(None, causal) for causal in layers(model)]


def test_flash_attn_gets_no_mask_in_training(tiny: Path) -> None:
    seen: list[tuple[Any, bool]] = []

    def recorded(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **rest: Any) -> Any:
        causal = rest.get("is_causal")
        seen.append((attention_mask, module.is_causal if causal is None else causal))
        return sdpa_attention_forward(module, query, key, value, attention_mask, **rest)

    AttentionInterface.register("recorded", recorded)  # in the place of a kernel that needs a GPU
    AttentionMaskInterface.register("recorded", ALL_MASK_ATTENTION_FUNCTIONS["flash_attention_2"])
    model = build_model(config(tiny, freeze=(), gradient_checkpointing=False))
    model.set_attn_implementation("recorded")
    step(model)
    assert seen == [(None, causal) for causal in layers(model)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_pytorchs_attention_runs_flash_kernels(tiny: Path) -> None:
    """PyTorch's own or, on an H100 or H200, cuDNN's; never the two ways that a mask or float32 would take."""
    model = build_model(config(tiny, attention="sdpa", freeze=(), gradient_checkpointing=False, **GPU)).cuda()
    with torch.profiler.profile() as profiled, torch.device("cuda"):
        step(model)
    names = {event.key.removeprefix("aten::") for event in profiled.key_averages()}
    assert names & {"_scaled_dot_product_flash_attention", "_scaled_dot_product_cudnn_attention"}
    assert not names & {"_scaled_dot_product_efficient_attention", "_scaled_dot_product_attention_math"}


@pytest.mark.parametrize(
    ("settings", "cpu_has_bf16", "chosen"),
    [
        ({"precision": "auto"}, True, "bf16"),
        ({"precision": "auto"}, False, "fp32"),
        ({"precision": "auto", "gpus_per_worker": 1}, False, "bf16"),
        ({"precision": "bf16"}, False, "bf16"),
        ({"precision": "fp32"}, True, "fp32"),
    ],
)
def test_auto_is_bf16_where_the_machine_computes_in_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], cpu_has_bf16: bool, chosen: str
) -> None:
    monkeypatch.setattr("imageref_ray.training.train._cpu_has_bf16", lambda: cpu_has_bf16)
    assert choose_precision(config(tiny, **settings)) == chosen


def test_pytorch_can_be_asked_whether_its_cpu_kernels_compute_in_bf16() -> None:
    _cpu_has_bf16()  # a private operator: this fails once PyTorch drops it
