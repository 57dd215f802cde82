"""The endpoint as a client sees it: real Ray Serve, real vLLM, the shipped checkpoint, the `openai` client; and the
examples in the guide to serving, as printed (on another port)."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Sample
from imageref_ray.picturenews import corpus as picturenews
from imageref_ray.picturenews.events import make_event

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "serve.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A test event with its images on disk."""
    folder = tmp_path_factory.mktemp("corpus")
    test_event = make_event(picturenews.SEEDS["test"], 0)
    picturenews.write_images(folder, [test_event])
    return picturenews.sample(test_event, folder)


@pytest.fixture
def client(served: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served}/v1", api_key="none", max_retries=0)


def data_url(path: Path) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"


def describe(path: Path) -> list[Any]:
    """The `describe` task of the compact prompts, which the checkpoint knows."""
    parts = [
        {"type": "image_url", "image_url": {"url": data_url(path)}},
        {"type": "text", "text": "\nDescribe the picture."},
    ]
    return [{"role": "user", "content": parts}]


def test_an_image_is_described_and_its_tokens_are_counted(client: openai.OpenAI, event: Sample) -> None:
    messages = describe(Path(event.images[0].uri))
    answered = client.chat.completions.create(model="imageref", messages=messages, temperature=0, max_tokens=40)
    (choice,) = answered.choices
    assert choice.message.content
    assert choice.finish_reason == "stop"
    assert answered.usage is not None and answered.usage.prompt_tokens_details is not None
    assert answered.usage.prompt_tokens_details.model_dump()["image_tokens"] > 0
    assert 0 < answered.usage.completion_tokens <= 40


def test_a_stream_says_the_same_in_many_pieces(client: openai.OpenAI, event: Sample) -> None:
    wanted: dict[str, Any] = {
        "model": "imageref",
        "messages": describe(Path(event.images[0].uri)),
        "temperature": 0,
        "max_tokens": 40,
    }
    whole = client.chat.completions.create(**wanted)
    chunks = list(client.chat.completions.create(**wanted, stream=True, stream_options={"include_usage": True}))
    pieces = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert len(pieces) > 1
    assert "".join(pieces) == whole.choices[0].message.content
    assert whole.usage is not None and chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_guide_binds_the_reply(client: openai.OpenAI) -> None:
    answered = client.chat.completions.create(
        model="imageref",
        messages=[{"role": "user", "content": "Red or blue?"}],
        max_tokens=8,
        extra_body={"structured_outputs": {"choice": ["red", "blue"]}},
    )
    assert answered.choices[0].message.content in ("red", "blue")


def test_vllms_parameters_bind_the_reply_and_log_probabilities_come_with_it(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "imageref", "messages": [{"role": "user", "content": "Red or blue?"}]}
    eos = {"ignore_eos": True, "min_tokens": 6}
    exact = client.chat.completions.create(
        **asked, max_tokens=6, temperature=0, logprobs=True, top_logprobs=2, extra_body=eos
    )
    (choice,) = exact.choices
    assert choice.finish_reason == "length" and exact.usage and exact.usage.completion_tokens == 6
    assert choice.logprobs and choice.logprobs.content
    assert [len(token.top_logprobs) for token in choice.logprobs.content] == [2] * 6
    first = choice.logprobs.content[0]
    assert first.token == first.top_logprobs[0].token and first.logprob == first.top_logprobs[0].logprob <= 0
    only = {**eos, "allowed_token_ids": [40]}
    bound = client.chat.completions.create(**asked, max_tokens=6, logprobs=True, extra_body=only)
    assert bound.choices[0].logprobs and bound.choices[0].logprobs.content
    assert len({token.token for token in bound.choices[0].logprobs.content}) == 1
    banned = client.chat.completions.create(**asked, max_tokens=6, logit_bias={"40": -100}, extra_body=only)
    assert banned.choices[0].finish_reason == "length"
    texts = {0: "", 1: ""}
    for chunk in client.chat.completions.create(**asked, max_tokens=6, n=2, seed=1, stream=True, extra_body=eos):
        for piece in chunk.choices:
            texts[piece.index] += piece.delta.content or ""
    assert all(texts.values())


def test_what_vllm_cannot_do_is_a_400_and_its_metrics_are_there(client: openai.OpenAI, served: str) -> None:
    asked: dict[str, Any] = {"model": "imageref", "messages": [{"role": "user", "content": "word " * 300}]}
    with pytest.raises(openai.BadRequestError, match="2048"):  # the prompt's text and the reply together
        client.chat.completions.create(**asked, max_tokens=2000)
    for guide in ({"regex": "(a"}, {"regex": "[a"}, {"json": {"type": "string", "format": "postcode"}}):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**asked, max_tokens=5, extra_body={"structured_outputs": guide})
    with pytest.raises(openai.BadRequestError):  # no such token
        client.chat.completions.create(**asked, max_tokens=5, extra_body={"allowed_token_ids": [10**8]})
    assert client.models.retrieve("imageref").model_dump()["max_model_len"] == 2048
    client.chat.completions.create(**asked, max_tokens=5)
    metrics = httpx.get(f"{served}/metrics").text
    assert re.search(r'vllm:generation_tokens_total\{[^}]*replica="\w+"[^}]*\} [1-9]', metrics)
    assert re.search(r'imageref_requests_total\{[^}]*status="400"\} [1-9]', metrics)


def test_errors_are_what_openais_clients_expect(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="use `imageref`"):
        client.chat.completions.create(model="other", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError):  # longer than the model's context
        client.chat.completions.create(model="imageref", messages=[{"role": "user", "content": "word " * 20_000}])
    assert [model.id for model in client.models.list()] == ["imageref"]


def test_a_question_about_documents_is_answered_with_checked_references(served: str, event: Sample) -> None:
    documents = [
        {"id": d.id, "title": d.title, "text": d.text, "images": [data_url(Path(image.uri)) for image in d.images]}
        for d in event.documents
    ]
    body = {"question": event.instruction, "documents": documents, "max_tokens": 400}
    answered = httpx.post(f"{served}/v1/reference", json=body, timeout=300)
    assert answered.status_code == 200, answered.text
    answer = answered.json()
    assert answer["markdown"].strip()
    assert answer["usage"]["prompt_tokens_details"]["image_tokens"] > 0
    assert answer["left_out"] == []
    sent = {document["id"]: document["images"] for document in documents}
    for ref in answer["references"]:
        assert f"IMAGE_{ref['k']}" in answer["markdown"]
        assert ref["document"] in sent and ref["uri"] == f"sha256:{ref['sha256']}"
    assert answer["markdown"].count("IMAGE_") == len(answer["references"])


def blocks(language: str, served: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return [text.replace("http://127.0.0.1:8000", served) for text in found]


def printed(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_curl_examples(served: str) -> None:
    chat, reference = (json.loads(printed("bash", "-c", text)) for text in blocks("bash", served))
    assert chat["choices"][0]["message"]["content"]
    assert reference["markdown"].startswith("#")
    for ref in reference["references"]:
        assert (ROOT / "docs" / "example" / ref["uri"]).is_file()


def test_the_openai_client_example(served: str) -> None:
    (text,) = blocks("python", served)
    assert printed(sys.executable, "-c", text).strip()


def test_only_internvl_is_served(tmp_path: Path) -> None:
    from serve.app import build

    (tmp_path / "config.json").write_text('{"architectures": ["Qwen2ForCausalLM"]}', encoding="utf-8")
    with pytest.raises(ConfigError, match="is Qwen2ForCausalLM, not InternVL"):
        build({"model": str(tmp_path)})
