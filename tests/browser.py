"""Pages in a real browser: whatever Chromium this machine has, and a page that keeps what went wrong on it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.head import free_port

expect.set_options(timeout=60_000)  # of a machine that does much else

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

NOTES = """
window.violations = [];
document.addEventListener("securitypolicyviolation", ({violatedDirective: directive, blockedURI: uri, sample}) =>
  window.violations.push(`${directive} ${uri} ${sample}`));
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser; the test is skipped where there is none."""
    with sync_playwright() as playwright:
        found = [os.environ.get("CHROMIUM"), *map(shutil.which, NAMES), playwright.chromium.executable_path]
        path = next((path for path in found if path and Path(path).exists()), None)
        if path is None:
            pytest.skip("no Chromium: apt-get install chromium, or CHROMIUM=/path/to/one")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # containers run as root
        yield browser
        browser.close()


@contextmanager
def clean_page(browser: Browser, expected: str = "", **options: Any) -> Iterator[Page]:
    """A page that must break no rule of its policy, and write no error to its console but those with `expected`."""
    context = browser.new_context(reduced_motion="reduce", **options)
    page = context.new_page()
    page.set_default_timeout(60_000)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.add_init_script(NOTES)
    yield page
    assert [problem for problem in problems if not (expected and expected in problem)] == []
    assert page.evaluate("window.violations") == []
    context.close()


@contextmanager
def running(app: Any) -> Iterator[str]:
    """The application behind a real HTTP server in a thread; its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
