"""The endpoint as a client sees it: real Ray Serve, real vLLM, the shipped checkpoint, the `openai` client; and the
examples in the guide to serving, as printed (on another port)."""

import asyncio
import base64
import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from playwright.sync_api import expect

from imageref_ray.core import markdown
from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Sample
from imageref_ray.picturenews import corpus as picturenews
from imageref_ray.picturenews import vocabulary
from imageref_ray.picturenews.event_questions import absent_person, refused
from imageref_ray.picturenews.events import make_event
from tests import mixed_requests
from tests.browser import chromium, clean_page

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


def sent(event: Sample) -> list[dict[str, Any]]:
    """The event's documents, as a request has them."""
    return [
        {"id": d.id, "title": d.title, "text": d.text, "images": [data_url(Path(image.uri)) for image in d.images]}
        for d in event.documents
    ]


def test_what_a_proxy_asks_for_another_machine_needs_a_key_and_answers_have_one_id(served: str) -> None:
    given = {"x-request-id": "trace-7"}
    assert httpx.get(f"{served}/v1/models", headers=given).headers.get_list("x-request-id") == ["trace-7"]
    refused = httpx.get(f"{served}/v1/models", headers={**given, "x-forwarded-for": "203.0.113.9"})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["request_id"]) == (403, "no_keys", "trace-7")


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
    documents = sent(event)
    body = {"question": event.instruction, "documents": documents, "max_tokens": 400}
    answered = httpx.post(f"{served}/v1/reference", json=body, timeout=300)
    assert answered.status_code == 200, answered.text
    answer = answered.json()
    assert answer["markdown"].strip()
    assert answer["usage"]["prompt_tokens_details"]["image_tokens"] > 0
    assert answer["left_out"] == []
    images = {document["id"]: document["images"] for document in documents}
    for ref in answer["references"]:
        assert f"IMAGE_{ref['k']}" in answer["markdown"]
        assert ref["document"] in images and ref["url"] == f"sha256:{ref['sha256']}"
    assert answer["markdown"].count("IMAGE_") == len(answer["references"])


def test_the_question_counts(served: str, event: Sample) -> None:
    told_of = make_event(picturenews.SEEDS["test"], 0)
    people = [facet.person for facet in told_of.facets]
    absent = absent_person(people, random.Random(0))

    def answer(question: str) -> str:
        body = {"question": question, "documents": sent(event), "max_tokens": 400, "method": "staged"}
        written: str = httpx.post(f"{served}/v1/reference", json=body, timeout=300).json()["markdown"]
        return markdown.strip_images(written)

    for person in people:
        written = answer(vocabulary.PERSON_QUESTIONS[0].format(person=person))
        assert [name for name in people if name in written] == [person], written
    assert refused(answer(vocabulary.PERSON_QUESTIONS[0].format(person=absent)))


def test_good_wrong_and_broken_off_requests_all_at_once(served: str) -> None:
    seen = asyncio.run(mixed_requests.send(served, 300, seed=7))
    assert seen.answered.total() == 300 and not seen.wrong
    assert asyncio.run(mixed_requests.idle(served)) is None


@pytest.mark.parametrize("method", ["direct", "staged"])
def test_a_streamed_answer_is_what_its_last_event_says_and_its_text_comes_before_it_ends(
    method: str, served: str, event: Sample
) -> None:
    documents = sent(event)
    body = {"question": event.instruction, "documents": documents, "max_tokens": 400, "method": method}
    body |= {"format": "html", "stream": True}
    with httpx.stream("POST", f"{served}/v1/reference", json=body, timeout=300) as answered:
        events = [line.removeprefix("data: ") for line in answered.iter_lines() if line]
    *pieces, last = [json.loads(text) for text in events[:-1]]
    assert events[-1] == "[DONE]" and last["finish_reason"] == "stop", last
    deltas = [piece["delta"] for piece in pieces]
    texts = [delta["markdown"] for delta in deltas if "markdown" in delta]
    assert method == "direct" or len(texts) > 5  # it was not trained to answer in one go
    written = "".join(texts)
    shown = last["markdown"] if method == "direct" else markdown.spaced(markdown.strip_images(last["markdown"]))
    assert written == shown
    assert [delta["reference"] for delta in deltas if "reference" in delta] == last["references"]
    assert last["html"].count('<img src="data:image/') == len(last["references"])


@pytest.mark.parametrize("correction", ["after", "verify"])
def test_an_instruction_is_streamed_as_it_is_answered(served: str, event: Sample, correction: str) -> None:
    body = {"image": data_url(Path(event.images[0].uri)), "task": "detail", "correction": correction, "max_tokens": 60}
    whole = httpx.post(f"{served}/v1/instructions", json=body, timeout=300).json()
    streamed = httpx.post(f"{served}/v1/instructions", json={**body, "stream": True}, timeout=300).text
    *pieces, last = [json.loads(line[6:]) for line in streamed.split("\n\n") if line and "[DONE]" not in line]
    told = [piece["delta"] for piece in pieces]
    assert told[0] == {"question": whole["question"]}
    drafts = [delta["draft"] for delta in told if "draft" in delta]
    assert len(drafts) > 1 and "".join(drafts) == whole["draft"]
    assert {name: last[name] for name in ("question", "draft", "one_pass")} == {
        name: whole[name] for name in ("question", "draft", "one_pass")
    }
    assert [delta["unit"] for delta in told if "unit" in delta] == last["units"] != []
    assert last["answer"] == told[-1]["answer"] == "".join(kept(unit) for unit in last["units"]).strip()
    known = [unit["probability"] for unit in last["units"] if unit["probability"] is not None]
    assert bool(known) == (correction == "verify") and all(0 <= one <= 1 for one in known)
    assert last["usage"]["prompt_tokens_details"]["image_tokens"] > 0


def kept(unit: dict[str, Any]) -> str:
    """What stands of a unit in the corrected answer."""
    return {"kept": unit["text"], "rewritten": unit["became"], "dropped": ""}[unit["outcome"]]


def blocks(language: str, served: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return [text.replace("http://127.0.0.1:8000", served) for text in found]


def printed(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_curl_examples(served: str) -> None:
    chat, reference, instruction = (json.loads(printed("bash", "-c", text)) for text in blocks("bash", served))
    assert chat["choices"][0]["message"]["content"]
    assert reference["markdown"].startswith("#")
    for ref in reference["references"]:
        assert (ROOT / "docs" / "example" / ref["url"]).is_file()
    assert instruction["question"] and instruction["units"]
    assert all(0 <= unit["probability"] <= 1 for unit in instruction["units"] if unit["outcome"] == "kept")


def test_the_openai_client_example(served: str) -> None:
    (text,) = blocks("python", served)
    assert printed(sys.executable, "-c", text).strip()


def test_only_internvl_is_served(tmp_path: Path) -> None:
    from serve.app import build

    (tmp_path / "config.json").write_text('{"architectures": ["Qwen2ForCausalLM"]}', encoding="utf-8")
    with pytest.raises(ConfigError, match="is Qwen2ForCausalLM, not InternVL"):
        build({"model": str(tmp_path)})


def test_both_flows_of_the_demo_page_on_the_real_thing(served: str) -> None:
    with chromium() as browser, clean_page(browser) as page:
        page.goto(f"{served}/demo")
        expect(page.locator(".document figure img").first).to_be_visible()
        page.locator("input[name=method][value=staged]").check(force=True)
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.locator(".answer .figures")).to_be_visible(timeout=120_000)
        expect(page.locator(".answer figure.placed img")).not_to_have_count(0)
        page.locator(".answer button.source").first.focus()
        expect(page.locator(".document figure.lit img")).to_have_count(1)

        page.get_by_role("tab", name="Instructions").click()
        expect(page.locator("#pictures input")).to_have_count(8)
        page.get_by_label("Correction").select_option("verify")
        page.get_by_role("button", name="Write and correct").click()
        expect(page.locator(".final")).to_be_visible(timeout=120_000)
        expect(page.locator(".asked")).not_to_be_empty()
        expect(page.locator(".unit .likelihood")).not_to_have_count(0)
