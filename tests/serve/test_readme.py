"""The README's examples of the endpoint work as printed (on another port)."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The endpoint")[2].partition("\n## ")[0]


def blocks(language: str, served: str) -> list[str]:
    texts = re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    return [text.replace("http://127.0.0.1:8000", served) for text in texts]


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
