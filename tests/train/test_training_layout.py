"""What the model reads and learns in training is what it reads and must write at inference."""

import dataclasses
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, InternVLForConditionalGeneration

from imageref_ray.core.config import LoraConfig, TrainConfig
from imageref_ray.dataset.mixture import Alternatives, Conversation
from imageref_ray.picturenews.tiny_internvl import create
from imageref_ray.training.augment import crop_and_flip
from imageref_ray.training.batch_plan import Use
from imageref_ray.training.checkpoint import merge_lora
from imageref_ray.training.encode import IGNORED, Collator, Encoder, Example, TiledImage, encode_all
from imageref_ray.training.model import DropPath, build_model
from imageref_ray.training.sample_uses import SampleUses
from imageref_ray.training.schedule import decaying

TEXTS = ["Two red boats lie at the harbour of Velmora.", "IMAGE_1 shows a blue kite over the market.\n\n### Sky\n"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint beside three pictures: square, wide and broken."""
    made = tmp_path_factory.mktemp("layout")
    create(made / "model", TEXTS, vocabulary=400)
    pixels = np.random.default_rng(0).integers(0, 256, (224, 336, 3), np.uint8)
    Image.fromarray(pixels[:112, :112]).save(made / "square.png")
    Image.fromarray(pixels).resize((672, 448)).save(made / "wide.png")
    (made / "broken.png").write_bytes((made / "wide.png").read_bytes()[:2000])
    return made


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    return AutoProcessor.from_pretrained(folder / "model")


def row(folder: Path, *turns: tuple[str, str], images: tuple[str, ...] = (), max_tiles: int = 1) -> Conversation:
    return Conversation("news", turns, tuple(folder / name for name in images), max_tiles)


CONVERSATION = (
    ("system", "You place pictures."),
    ("user", "Velmora:\n<image>\nand the market: <image> Which boats?"),
    ("assistant", "Two red boats.\n\n### Harbour"),
    ("user", "And the kite?"),
    ("assistant", "Blue, IMAGE_1"),
)


def spoken(turns: tuple[tuple[str, str], ...]) -> list[dict[str, Any]]:
    """The same turns as an inference client writes them."""
    messages: list[dict[str, Any]] = []
    for role, text in turns:
        first, *rest = text.split("<image>")
        parts: list[dict[str, str]] = [{"type": "text", "text": first}] if first else []
        for piece in rest:
            parts += [{"type": "image"}, *([{"type": "text", "text": piece}] if piece else [])]
        messages.append({"role": role, "content": parts})
    return messages


@pytest.mark.parametrize("max_tiles", [1, 4, 6])
def test_training_reads_the_tokens_and_pixels_that_the_processor_gives_at_inference(
    folder: Path, processor: Any, max_tiles: int
) -> None:
    example = Encoder(processor, 4096, share_tiles=False).encode(
        row(folder, *CONVERSATION, images=("square.png", "wide.png"), max_tiles=max_tiles)
    )
    text = processor.apply_chat_template(spoken(CONVERSATION), tokenize=False)
    images = [Image.open(folder / name).convert("RGB") for name in ("square.png", "wide.png")]
    there = processor(text=[text], images=images, max_patches=max_tiles, return_tensors="pt")
    assert example.ids.tolist() == there["input_ids"][0].tolist()
    batch = Collator(processor, ["news"], 0)([example])
    assert batch["pixel_values"].shape == there["pixel_values"].shape
    difference = (batch["pixel_values"] - there["pixel_values"]).abs()
    assert difference[0].max() < 1e-5  # no resizing: the same numbers
    assert difference.max() < 0.06  # two libraries' bicubic: within four grey levels of 256


def test_training_sees_an_image_as_inference_does_upright_and_on_white(folder: Path, processor: Any) -> None:
    turn = Image.Exif()
    turn[0x0112] = 6
    wide = Image.open(folder / "wide.png")
    wide.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=turn)
    Image.new("RGBA", (112, 112), (0, 0, 0, 0)).save(folder / "clear.png")
    names = ("wide.png", "turned.png", "clear.png")
    upright, turned, clear = (
        Encoder(processor, 4096).encode(row(folder, *CONVERSATION[1:3], images=(name, name), max_tiles=6))
        for name in names
    )
    assert turned.images[0].grid == upright.images[0].grid != (1, 1)
    pixels = [Collator(processor, ["news"], 0)([example])["pixel_values"] for example in (upright, turned, clear)]
    assert torch.equal(pixels[0], pixels[1])
    white = (1 - torch.tensor(processor.image_processor.image_mean)) / torch.tensor(processor.image_processor.image_std)
    assert torch.allclose(pixels[2][0].mean(dim=(1, 2)), white, atol=1e-4)


def test_the_prompt_part_is_what_generation_starts_from(folder: Path, processor: Any) -> None:
    example = Encoder(processor, 4096).encode(row(folder, *CONVERSATION[1:3], images=("square.png", "square.png")))
    text = processor.apply_chat_template(spoken(CONVERSATION[1:2]), tokenize=False, add_generation_prompt=True)
    images = [Image.open(folder / "square.png")] * 2
    prompt = processor(text=[text], images=images, max_patches=1)["input_ids"][0]
    assert example.ids[: len(prompt)].tolist() == list(prompt)
    assert not example.learned[: len(prompt)].any()
    assert example.learned[len(prompt)]


def test_only_the_assistants_tokens_and_its_end_of_turn_are_learned_token_by_token(
    folder: Path, processor: Any
) -> None:
    turns = (("user", "<image>\nHow many?"), ("assistant", "Two boats."), ("user", "Where?"), ("assistant", "Velmora"))
    example = Encoder(processor, 4096, system="Be brief.").encode(row(folder, *turns, images=("square.png",)))
    expected: list[tuple[str, bool]] = []
    for text, learned in [
        ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<img>", False),
        ("<IMG_CONTEXT>" * 16, False),
        ("</img>\nHow many?<|im_end|>\n<|im_start|>assistant\n", False),
        ("Two boats.<|im_end|>", True),
        ("\n<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n", False),
        ("Velmora<|im_end|>", True),
        ("\n", False),
    ]:
        expected += [(token, learned) for token in processor.tokenizer.tokenize(text)]
    tokens = processor.tokenizer.convert_ids_to_tokens(example.ids.tolist())
    assert list(zip(tokens, example.learned.tolist(), strict=True)) == expected


def test_no_text_of_a_sample_is_a_control_token(folder: Path, processor: Any) -> None:
    tokenizer = processor.tokenizer
    tokens = [token for token in tokenizer.get_added_vocab() if len(token.strip()) > 1]
    assert {"<IMG_CONTEXT>", "<img>", "<|im_start|>", "<|im_end|>"} <= {*tokens}
    said = f"Before {' '.join(tokens)} and {''.join(tokens)} after."
    for turns in (
        (("user", f"{said}<image>{said}"), ("assistant", "Two.")),
        (("system", said), ("user", "<image>?"), ("assistant", said), ("user", said), ("assistant", "Two.")),
    ):
        example = Encoder(processor, 8192).encode(row(folder, *turns, images=("square.png",)))
        plain = [(role, "<image>" if "<image>" in text else "x") for role, text in turns]
        expected = Encoder(processor, 8192).encode(row(folder, *plain, images=("square.png",)))
        special = set(tokenizer.convert_tokens_to_ids(tokens))
        control = [[int(id) for id in one.ids if int(id) in special] for one in (example, expected)]
        assert control[0] == control[1]
        learned = tokenizer.decode(example.ids[example.learned])
        assert learned.endswith("Two.<|im_end|>") and learned.count("after.") == (len(turns) > 2)


def test_samples_that_do_not_fit_or_cannot_be_read_are_counted(folder: Path, processor: Any) -> None:
    (folder / "text.png").write_text("no picture")
    rows = [
        row(folder, ("user", "Q"), ("assistant", "A")),
        row(folder, ("user", "Q" * 900), ("assistant", "A")),
        row(folder, ("user", "<image>"), ("assistant", "A"), images=("gone.png",)),
        row(folder, ("user", "<image>"), ("assistant", "A"), images=("text.png",)),
    ]
    skipped: Counter[tuple[str, str]] = Counter()
    assert len(encode_all(rows, Encoder(processor, 256), skipped)) == 1
    reasons = ["longer than sequence_length", "image is missing", "image cannot be read"]
    assert skipped == {("news", reason): 1 for reason in reasons}


def test_an_image_that_breaks_later_leaves_its_sample_without_anything_to_learn(folder: Path, processor: Any) -> None:
    encoder = Encoder(processor, 4096)
    good = encoder.encode(row(folder, ("user", "<image>"), ("assistant", "A"), images=("square.png",)))
    pictures = (TiledImage(folder / "square.png", (1, 1)), TiledImage(folder / "broken.png", (2, 1)))
    bad = Example("news", good.ids, good.learned, pictures)
    batch = Collator(processor, ["news"], 0)([good, bad, good])
    assert batch["broken"].tolist() == [0]
    assert [bool((labels != IGNORED).any()) for labels in batch["labels"]] == [True, False, True]
    assert len(batch["pixel_values"]) == 1 + (1 + 3) + 1


def config(folder: Path, **change: Any) -> TrainConfig:
    values = {"model": str(folder / "model"), "output": folder, "mixture": folder / "m.json", "precision": "fp32"}
    return TrainConfig.model_validate({**values, "freeze": (), "gradient_checkpointing": False, **change})


def test_the_loss_is_the_models_own_causal_loss_without_its_waste(folder: Path, processor: Any) -> None:
    encoder = Encoder(processor, 4096)
    examples = [
        encoder.encode(row(folder, *CONVERSATION, images=("square.png", "wide.png"))),
        encoder.encode(row(folder, ("user", "Q"), ("assistant", "Two red boats."))),
    ]
    batch = Collator(processor, ["news"], 0)(examples)
    inputs = {name: batch[name] for name in ("input_ids", "labels", "pixel_values")}
    padding = torch.arange(inputs["input_ids"].shape[1]) >= torch.tensor([[len(one.ids)] for one in examples])
    plain = InternVLForConditionalGeneration.from_pretrained(folder / "model", dtype=torch.float32)
    there = plain(**inputs, attention_mask=(~padding).long()).loss
    here = build_model(config(folder))(**inputs)["loss"] / sum(int(one.learned.sum()) for one in examples)
    assert here.item() == pytest.approx(there.item(), rel=1e-5)


def test_a_batch_without_images_runs_the_vision_tower_too_and_teaches_it_nothing(folder: Path, processor: Any) -> None:
    example = Encoder(processor, 4096).encode(row(folder, ("user", "Q"), ("assistant", "Two red boats.")))
    batch = Collator(processor, ["news"], 0)([example])
    model = build_model(config(folder))
    model(**{name: batch[name] for name in ("input_ids", "labels", "pixel_values")})["loss"].backward()
    gradients = [weight.grad for weight in model.model.vision_tower.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)
    assert model.lm_head.weight.grad.any()


@pytest.mark.parametrize("part", ["vision", "projector", "language"])
def test_frozen_parts_and_only_those_stay_as_they_are(folder: Path, part: str) -> None:
    model = build_model(config(folder, freeze=(part,)))
    stems = {"vision": "vision_tower", "projector": "multi_modal_projector", "language": "language_model"}
    for name, weight in model.named_parameters():
        assert weight.requires_grad == (stems[part] not in name)


@pytest.mark.parametrize("part", ["vision", "projector", "language"])
def test_a_fresh_part_forgets_the_checkpoint_and_the_others_keep_it(folder: Path, part: str) -> None:
    names = {"vision": "vision_tower", "projector": "multi_modal_projector", "language": "language_model"}
    kept = build_model(config(folder)).model.state_dict()
    changed = build_model(config(folder, fresh=(part,), seed=7)).model.state_dict()
    differ = {name.split(".")[0] for name in kept if not torch.equal(kept[name], changed[name])}
    assert differ == {names[part]}


@pytest.mark.parametrize(("freeze", "lora"), [((), None), (("vision",), LoraConfig(rank=2, dropout=0.5))])
def test_gradient_checkpointing_changes_no_gradient_and_asks_for_none_of_a_frozen_vision_tower(
    folder: Path, processor: Any, freeze: tuple[str, ...], lora: LoraConfig | None
) -> None:
    example = Encoder(processor, 4096).encode(
        row(folder, ("user", "<image>"), ("assistant", "A"), images=("square.png",))
    )
    batch = Collator(processor, ["news"], 0)([example])
    gradients, asked = [], []
    for kept in (False, True):
        torch.manual_seed(0)
        model = build_model(config(folder, freeze=freeze, lora=lora, gradient_checkpointing=kept)).train()
        tower = (model.get_base_model() if lora else model).model.vision_tower
        tower.register_forward_hook(lambda module, given, found: asked.append(found.last_hidden_state.requires_grad))
        torch.manual_seed(1)
        model(**{name: batch[name] for name in ("input_ids", "labels", "pixel_values")})["loss"].backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert asked == [not freeze] * 2
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_adapters_have_the_type_of_the_model_since_zero3_takes_only_one(folder: Path) -> None:
    model = build_model(config(folder, lora=LoraConfig(rank=4), precision="bf16"))
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}


def test_folded_adapters_answer_as_peft_itself(folder: Path) -> None:
    lora = LoraConfig(rank=4, alpha=8, dropout=0)
    model = build_model(config(folder, lora=lora, freeze=("vision",)))
    for name, weight in model.named_parameters():
        assert weight.requires_grad == (".lora_" in name or "multi_modal_projector" in name)
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    mine = merge_lora(model.state_dict(), lora)
    theirs = model.merge_and_unload().state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-5) for name in mine)


def test_drop_path_leaves_out_whole_branches_and_keeps_the_mean(folder: Path) -> None:
    torch.manual_seed(0)
    dropped = DropPath(0.25).train()(torch.ones(4000, 3, 2))
    values = sorted({tuple(tile.unique().tolist()) for tile in dropped})
    assert values == [(0.0,), pytest.approx((4 / 3,))]
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(DropPath(0.25).eval()(dropped), dropped)
    layers = build_model(config(folder, drop_path=0.3)).model.vision_tower.encoder.layer
    assert [layer.dropout.rate for layer in layers] == pytest.approx([0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("augment", ["jpeg", "crop_flip"])
@pytest.mark.parametrize(("name", "max_tiles"), [("square.png", 1), ("wide.png", 6)])
def test_an_augmented_image_is_another_at_every_use_with_as_many_tiles_and_the_same_again_after_a_resume(
    folder: Path, processor: Any, augment: str, name: str, max_tiles: int
) -> None:
    turns = (("user", "<image>"), ("assistant", "A"))
    encoder = Encoder(processor, 4096)
    plain, example = (
        encoder.encode(Conversation("news", turns, (folder / name,), max_tiles, kinds)) for kinds in ((), (augment,))
    )
    uses = SampleUses([example], encoder, 0)
    once, again, after = (
        Collator(processor, ["news"], 0)([uses[Use(0, number, 1)]])["pixel_values"] for number in (0, 1, 1)
    )
    assert not torch.equal(once, again)
    assert torch.equal(again, after)
    assert once.shape == again.shape == Collator(processor, ["news"], 0)([plain])["pixel_values"].shape


def test_a_crop_keeps_half_or_more_of_the_image_in_about_its_shape_and_half_are_mirrored() -> None:
    ramp = np.tile(np.arange(200, dtype=np.uint8), (100, 1))
    image = Image.fromarray(ramp)
    mirrored = 0
    for seed in range(300):
        cut = crop_and_flip(image, random.Random(seed))
        assert cut.width * cut.height / image.width / image.height > 0.49
        assert 0.74 < cut.width / cut.height / 2 < 1.35
        row = np.asarray(cut)[0].astype(int)
        step = set(np.diff(row).tolist())
        assert step in ({1}, {-1})
        mirrored += step == {-1}
    assert 120 < mirrored < 180
    assert crop_and_flip(Image.new("RGB", (1, 1)), random.Random(0)).size == (1, 1)


def test_a_later_use_of_a_sample_has_another_wording_and_answer_with_its_own_length_and_mask(
    folder: Path, processor: Any
) -> None:
    choices = Alternatives(
        ("<image>\nWhat?", "<image>\nWhich boats lie there?"), "<answer>", ("Two.", "Red boats."), (1, 1)
    )
    plain = row(folder, ("system", "S"), ("user", "<image>\nWhat?"), ("assistant", "Two."), images=("square.png",))
    encoder = Encoder(processor, 4096)
    example = encoder.encode(dataclasses.replace(plain, alternatives=choices))
    uses = SampleUses([example, encoder.encode(plain)], encoder, 42)
    assert uses[Use(0, 0, 1)].ids.tolist() == uses[Use(1, 0, 1)].ids.tolist() == example.ids.tolist()
    assert uses[Use(1, 7, 1)].ids.tolist() == example.ids.tolist()
    seen = set()
    for number in range(1, 40):
        drawn = uses[Use(0, number, uses.tokens(0, number))]
        assert len(drawn.ids) == len(drawn.learned) == uses.tokens(0, number)
        assert uses.tokens_as_written(0, number) == len(example.ids)
        assert drawn.ids.tolist() == SampleUses([example], encoder, 42)[Use(0, number, 1)].ids.tolist()
        seen.add((len(drawn.ids), processor.tokenizer.decode(drawn.ids[drawn.learned])))
    assert {answer for _, answer in seen} == {"Two.<|im_end|>", "Red boats.<|im_end|>"}
    assert len(seen) == 4


def test_a_draw_that_is_too_long_is_the_line_as_it_is(folder: Path, processor: Any) -> None:
    choices = Alternatives(("<image>\nWhat?",), "<answer>", ("Two.", "boats " * 300), (1, 1))
    plain = row(folder, ("user", "<image>\nWhat?"), ("assistant", "Two."), images=("square.png",))
    encoder = Encoder(processor, 100)
    uses = SampleUses([encoder.encode(dataclasses.replace(plain, alternatives=choices))], encoder, 0)
    assert {uses.tokens(0, number) for number in range(30)} == {len(encoder.encode(plain).ids)}


def test_weights_that_are_vectors_do_not_decay(folder: Path) -> None:
    model = build_model(config(folder))
    names = set(decaying(model))
    for name, weight in model.named_parameters():
        assert (name in names) == (weight.ndim > 1), name
