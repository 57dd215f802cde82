"""`imageref serve` itself: a config file in, its application answering until the process is stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.head import free_port

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM], ids=lambda sign: sign.name)
def test_serve_answers_until_it_is_stopped(sign: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    application = {"name": "hello", "import_path": "tests.hello:build", "args": {"name": "Ann"}}
    (tmp_path / "serve.yaml").write_text(json.dumps({"http_options": {"port": port}, "applications": [application]}))
    command = [sys.executable, "-m", "imageref_ray", "serve", "--config", str(tmp_path / "serve.yaml")]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)}
    with (tmp_path / "errors").open("w") as errors:
        served = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert served.stdout is not None
        ready = next((line for line in served.stdout if line.startswith("answering on")), "")
        assert f"http://127.0.0.1:{port}" in ready, (tmp_path / "errors").read_text()
        assert httpx.get(f"http://127.0.0.1:{port}/").text == "hello Ann"
        served.send_signal(sign)
        rest, _ = served.communicate()
    finally:
        served.kill()
    assert (served.returncode, rest) == (0, "stopping: what has begun is answered first (Ctrl-C again: at once)\n")
    assert "Traceback" not in (tmp_path / "errors").read_text()
