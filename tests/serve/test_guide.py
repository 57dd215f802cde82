"""The examples in the guide to serving work as printed (on another port)."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "serve.md").read_text(encoding="utf-8")


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
