"""The demo page in a real browser, over a scripted engine: every flow, hostile texts, the keyboard, small screens.

Every page here fails its test if it breaks its Content-Security-Policy or writes an error to its console.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from imageref_ray.batch import manifest, store
from imageref_ray.core.records import Caption, Document, Failure, Placement, Record, Sample, to_row
from imageref_ray.engines.base import EngineError, Reply, Request
from imageref_ray.picturenews import corpus
from imageref_ray.serving.keys import make_key
from tests.browser import chromium, clean_page, running
from tests.endpoint import Scripted, endpoint
from tests.scripted import annotator, storyteller
from tests.unit.test_serve_routes import png

HIT = "window.hit=1"
EVIL = f'<img src=x onerror="{HIT}">'
ANSWER = """# Boats in Velmora

Three boats **came in**.

![Two red boats](IMAGE_1)

IMAGE_99

### The harbour

Mara Holt watched them.

IMAGE_2"""
HOSTILE = f"""# Boats {EVIL}

Three boats <script>{HIT}</script> came in, see [this](javascript:{HIT}) and [that](https://example.org/a).

![<svg onload={HIT}>](IMAGE_1)

```
{EVIL}
```

<iframe srcdoc="<script>parent.{HIT}</script>"></iframe>"""

HOSTILE_NODES = "main :is(img[src='x'], script, iframe, svg[onload], [onerror], a[href^='javascript'])"

OUTLINES = "node => [node, node.nextElementSibling ?? node].map((one) => getComputedStyle(one).outlineStyle)"
"""What shows the focus: the element itself, or the label beside a hidden field."""


def obedient(request: Request) -> str:
    """A direct answer where all is asked at once, a build's stages, or a question about a picture with its answer."""
    asked = "".join(part for part in request.messages[-1].parts if isinstance(part, str)).strip()
    if asked.endswith(("Write the response.", "Place the pictures.", "Caption the picture.", "Describe the picture.")):
        return annotator(request)
    if asked.startswith("Ask ") and not request.prefix:
        return "Question: What lies in the harbour? Answer: A boat."
    if len(request.images) > 1:
        return HOSTILE if EVIL in asked else ANSWER
    return storyteller(request)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of seven records, the first with markup in every text."""
    folder = tmp_path_factory.mktemp("runs")
    events = list(corpus.make_events(corpus.SEEDS["test"], 7))
    corpus.write_images(folder / "corpus", events)
    samples = [corpus.sample(event, folder / "corpus") for event in events]
    first = samples[0].documents[0]
    document = Document(first.id, EVIL, EVIL + first.text, first.images, f"javascript:{HIT}")
    evil = Sample(samples[0].id, EVIL, (document,))
    captions = tuple(Caption(image.id, EVIL, EVIL) for image in first.images)
    placed = (Placement(1, first.images[0].id, EVIL, EVIL),)
    records = [Record(evil, f"# {EVIL}\n{EVIL}\n### {EVIL}\n{EVIL}", captions, placed)]
    records += [Record(sample, "# A day\nIn short.") for sample in samples[1:]]
    build = folder / EVIL.replace("/", "") / "build"
    manifest.begin(build, {"job": "build"})
    failures = [Failure(samples[0].id, "caption", EVIL, EVIL, item=EVIL)]
    store.Store(build, 1).write([store.Result(record.id, to_row(record)) for record in records], failures)
    return folder


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    with running(endpoint(Scripted(obedient), runs=runs)) as url:
        yield url


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with clean_page(browser) as opened:
        opened.goto(f"{address}/demo")
        expect(opened.locator(".document figure img").first).to_be_visible()
        yield opened


def choose(page: Page, name: str, value: str) -> None:
    page.locator(f"input[name={name}][value='{value}']").check(force=True)


def answered(page: Page) -> Any:
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".answer .figures").last).to_be_visible()
    return page.locator(".answer")


def test_an_answer_shows_its_pictures_and_each_where_it_stood(page: Page) -> None:
    answer = answered(page)
    expect(answer.locator(".prose h3")).to_have_text("Boats in Velmora")
    expect(answer.locator("figure.placed img")).to_have_count(2)
    expect(answer.locator(".caption").first).to_have_text("Two red boats")
    expect(answer.locator(".removed del")).to_have_text("IMAGE_99")
    expect(answer.locator(".removed")).to_contain_text("does not exist")
    expect(page.get_by_role("status").first).to_contain_text("2 pictures, 1 repair")
    order = answer.locator(".prose > *").evaluate_all("nodes => nodes.map((node) => node.className || node.localName)")
    assert order == ["h3", "p", "placed", "removed", "h4", "p", "placed"]

    expect(page.locator(".document.lit")).to_have_count(0)
    answer.locator("figure.placed").first.hover()
    expect(page.locator(".document.lit figure.lit img")).to_have_count(1)
    shown = answer.locator("figure.placed img").first.get_attribute("src")
    assert page.locator("figure.lit img").get_attribute("src") == shown
    page.mouse.move(0, 0)
    expect(page.locator(".lit")).to_have_count(0)
    answer.locator("button.source").last.focus()
    expect(page.locator(".document figure.lit")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator(".document figure:focus img")).to_have_count(1)


def test_questions_are_offered_with_an_example_and_none_without(page: Page) -> None:
    offered = page.locator("#event-questions .chip")
    expect(offered).to_have_count(4)
    question = page.locator("#question")
    expect(question).to_have_value(offered.first.inner_text())
    offered.nth(2).click()
    expect(question).to_have_value(offered.nth(2).inner_text())
    page.locator("#example").select_option("")
    expect(offered).to_have_count(0)
    expect(question).to_have_value("")


def test_questions_about_a_picture_are_offered_with_it(page: Page) -> None:
    page.locator("#tab-instructions").click()
    offered = page.locator("#picture-questions .chip")
    offered.last.click()
    expect(page.locator("#own-question")).to_have_value(offered.last.inner_text())


def test_both_methods_answer_beside_each_other(page: Page) -> None:
    choose(page, "method", "both")
    answers = answered(page)
    expect(answers).to_have_count(2)
    expect(answers.locator("h2")).to_have_text(["Direct", "Staged"])
    expect(answers.nth(1).locator("figure.placed")).not_to_have_count(0)
    boxes = [answers.nth(i).bounding_box() for i in (0, 1)]
    assert boxes[0] and boxes[1] and boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]


@pytest.mark.parametrize("kind", ["Text with [Image k]", "Markdown", "HTML"])
def test_markup_in_what_is_brought_and_in_what_is_answered_stays_text(kind: str, page: Page) -> None:
    page.get_by_label("Example").select_option("")
    page.get_by_role("button", name="Add a document").click()
    card = page.locator(".document")
    card.get_by_label("Title").fill(EVIL)
    card.get_by_label("Format").select_option(kind)
    card.get_by_label("Text", exact=True).fill(f"Boats {EVIL}\n")
    names = [f"{colour} {EVIL}.png" for colour in ("red", "blue")]
    files = [{"name": name, "mimeType": "image/png", "buffer": png(name.split()[0])} for name in names]
    card.get_by_label("Pictures, or a file of text").set_input_files(files)
    expect(card.locator(".files li")).to_have_count(2)
    page.get_by_label("Question").first.fill(EVIL)
    answer = answered(page)
    expect(answer.locator("figure.placed img")).to_have_count(1)
    expect(answer.locator(".prose h3")).to_contain_text("<img src=x")
    expect(page.locator(".document h3")).to_have_text(EVIL)
    expect(answer.locator(".removed")).not_to_have_count(0)
    assert page.locator(HOSTILE_NODES).count() == 0
    assert page.evaluate("window.hit") is None


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("tab", selected=True)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Instructions")).to_be_focused()
    expect(page.locator("#instructions")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        outlines = focused.evaluate(OUTLINES)
        assert {"solid", "auto"} & set(outlines), focused.evaluate("node => node.outerHTML")
        if focused.get_attribute("id") == "question":
            break
    page.keyboard.press("Control+Enter")
    expect(page.locator(".answer .figures")).to_be_visible()


def test_an_instruction_is_asked_answered_and_corrected(page: Page) -> None:
    page.get_by_role("tab", name="Instructions").click()
    page.get_by_label("Correction").select_option("verify")
    page.get_by_role("button", name="Write and correct").click()
    expect(page.locator(".final")).to_be_visible()
    expect(page.locator(".asked")).to_have_text("What lies in the harbour?")
    expect(page.locator(".correction .prose").first).to_have_text("A boat.")
    units = page.locator(".unit")
    outcomes = units.evaluate_all("nodes => nodes.map((node) => node.className)")
    assert outcomes[0] == "unit kept" and "unit rewritten" in outcomes
    expect(page.locator(".rewritten del")).to_contain_text("A dog sleeps")
    expect(page.locator(".rewritten ins")).to_contain_text("A cat sleeps")
    expect(page.locator(".final .prose")).to_contain_text("A cat sleeps on the pier.")
    expect(page.locator("#instructions-status")).to_contain_text("kept")


def test_fields_without_effect_are_off_and_others_are_sent(page: Page) -> None:
    page.get_by_role("tab", name="Instructions").click()
    sent: list[Any] = []
    page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None)
    page.get_by_label("Task").select_option("okvqa")
    expect(page.get_by_role("spinbutton", name="Steps")).to_be_disabled()
    page.get_by_label("Task").select_option("conversation")
    page.get_by_role("textbox", name="Question").last.fill("Where are the boats?")
    page.locator("#correct summary").click()
    choose(page, "decoding", "nucleus")
    page.get_by_label("Top-p").fill("0.5")
    page.get_by_label("Repetition penalty").fill("1.2")
    page.get_by_label("The last step keeps all that follows").check()
    page.get_by_role("button", name="Write and correct").click()
    expect(page.locator(".final")).to_be_visible()
    (body,) = sent
    assert body.pop("image").startswith("data:image/")
    assert body == {
        "task": "conversation", "question": "Where are the boats?", "correction": "after", "unit": "sentence",
        "steps": 4, "last_all": True, "temperature": 1, "top_p": 0.5, "repetition_penalty": 1.2, "stream": True,
    }  # fmt: skip


def test_a_picture_of_ones_own_can_be_asked_about(page: Page) -> None:
    page.get_by_role("tab", name="Instructions").click()
    expect(page.locator("#pictures input")).to_have_count(8)
    page.get_by_label("Another picture").set_input_files(
        [{"name": EVIL.replace("/", ""), "mimeType": "image/png", "buffer": png()}]
    )
    expect(page.locator("#pictures input")).to_have_count(9)
    page.get_by_label("Correction").select_option("none")
    page.get_by_role("button", name="Write and correct").click()
    expect(page.locator(".final .prose")).to_have_text("A boat.")
    assert page.locator(HOSTILE_NODES).count() == 0


def test_samples_of_a_run_are_browsed_and_their_markup_stays_text(page: Page) -> None:
    page.get_by_role("tab", name="Data").click()
    expect(page.locator("#samples-position")).to_have_text("1–5 of 7")
    expect(page.locator(".sample")).to_have_count(5)
    first = page.locator(".sample").first
    expect(first.locator("figure.placed img").first).to_be_visible()
    expect(first.locator("h2")).to_have_text(EVIL)
    assert page.locator(HOSTILE_NODES).count() == 0
    assert page.evaluate("window.hit") is None
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#samples-position")).to_have_text("6–7 of 7")
    expect(page.get_by_role("button", name="Next")).to_be_disabled()


@pytest.mark.parametrize("kind", ["curl", "Python"])
def test_a_request_as_code_is_that_request(kind: str, page: Page, address: str) -> None:
    page.locator(f"#ask [data-copy={kind}]").click()
    code = page.locator("#code").input_value()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#code-dialog")).to_be_hidden()
    command = ["bash"] if kind == "curl" else [sys.executable, "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["object"] == "reference" and len(answer["references"]) == 2


def test_an_endpoint_with_keys_is_asked_with_one(browser: Browser) -> None:
    key, digest = make_key()
    app = endpoint(Scripted(obedient), keys=({"name": "Ann", "sha256": digest},))
    with running(app) as url, clean_page(browser, "401") as page:
        page.goto(f"{url}/demo")
        expect(page.locator(".document figure img").first).to_be_visible()
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.get_by_role("dialog")).to_contain_text("wants a key")
        page.get_by_label("Key", exact=True).fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_contain_text("not known here")
        page.get_by_label("Key", exact=True).fill(key)
        page.keyboard.press("Enter")
        expect(page.locator(".answer .figures")).to_be_visible()
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        page.locator("#ask [data-copy=curl]").click()
        assert "$IMAGEREF_KEY" in page.locator("#code").input_value() and key not in page.locator("#code").input_value()


class Gone(Scripted):
    """An engine that fails."""

    async def generate(self, request: Request) -> Reply:
        raise EngineError("cuda: out of memory at /srv/model")

    async def stream(self, request: Request) -> AsyncIterator[Reply]:
        raise EngineError("cuda: out of memory at /srv/model")
        yield Reply(("",))


class Silent(Scripted):
    """An engine that writes one word and then nothing."""

    async def stream(self, request: Request) -> AsyncIterator[Reply]:
        yield Reply(("Boats ",), ("",))
        await asyncio.Event().wait()


def test_what_goes_wrong_is_said_in_words(browser: Browser) -> None:
    with clean_page(browser, "Failed to load resource") as page:
        with running(endpoint(Gone())) as url:
            page.goto(f"{url}/demo")
            expect(page.locator(".document figure img").first).to_be_visible()
            page.get_by_role("button", name="Ask", exact=True).click()
            expect(page.locator(".answer .error")).to_contain_text(
                "The model is not available at the moment; try again"
            )
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.locator(".answer .error")).to_contain_text("The endpoint cannot be reached")
        page.get_by_label("Example").select_option("")
        page.get_by_role("textbox", name="Question").first.fill("What happened?")
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.locator("#answers-status")).to_contain_text("There is no document yet")


def test_an_answer_can_be_stopped(browser: Browser) -> None:
    with running(endpoint(Silent())) as url, clean_page(browser) as page:
        page.goto(f"{url}/demo")
        expect(page.locator(".document figure img").first).to_be_visible()
        choose(page, "method", "direct")
        page.get_by_role("button", name="Ask", exact=True).click()
        page.get_by_role("button", name="Stop").click()
        expect(page.locator(".answer .progress")).to_have_text("Stopped.")
        expect(page.get_by_role("button", name="Stop")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["answers", "instructions", "data"])
def test_no_screen_has_a_fault_that_axe_finds_or_is_wider_than_a_phone(
    tab: str, scheme: str, browser: Browser, address: str
) -> None:
    with clean_page(browser, color_scheme=scheme, viewport={"width": 360, "height": 740}) as page:
        page.goto(f"{address}/demo#{tab}")
        if tab == "answers":
            expect(page.locator(".document figure img").first).to_be_visible()
            answered(page)
        elif tab == "instructions":
            expect(page.locator("#pictures input")).to_have_count(8)
            page.get_by_role("button", name="Write and correct").click()
            expect(page.locator(".final")).to_be_visible()
        else:
            expect(page.locator(".sample").first).to_be_visible()
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
        found = Axe().run(page).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, colour[4:-1].split(","))) < 60) == (scheme == "dark")
