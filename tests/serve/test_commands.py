"""Ray's own `serve` command, typed in a checkout: on a head with token authentication, where only the package is."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.head import Head, free_port

ROOT = Path(__file__).parents[2]
SERVE = Path(sys.executable).with_name("serve")


def test_the_shipped_config_is_deployed_answers_and_is_shut_down(head: Head, tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "serve" / "config.yaml").read_text(encoding="utf-8"))
    config["http_options"]["port"] = port = free_port()
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    assert "Sent deploy request" in serve(head.client, "deploy", str(file))
    until(lambda: status(head), "RUNNING")
    assert "status: RUNNING" in serve(head.client, "status", "--name", "imageref")
    assert chat(port, "imageref", {"type": "image_url", "image_url": {"url": "1-0.jpg"}})
    serve(head.client, "shutdown", "-y")
    until(lambda: status(head), None)


def test_serve_run_takes_settings_from_the_command_line_until_it_is_interrupted(
    head: Head, checkpoint: Path, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "run.log"
    shutil.copytree(checkpoint, tmp_path / "checkpoint")
    environment = {**head.client, "RAY_ADDRESS": head.address}
    serve(environment, "start", f"--http-port={port}")
    command = ["env", "--default-signal=INT", SERVE, "run", "serve.app:build", "name=other", "max_tokens=7"]
    command += [f"model={tmp_path / 'checkpoint'}", "engine.args.max_model_len=512"]
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=file, stderr=file)
    try:
        until(lambda: running(process, log) and names(port), ["other"], log)
        assert chat(port, "other", {"type": "text", "text": "What is this?"})
        process.send_signal(signal.SIGINT)
        process.wait(120)
    finally:
        process.kill()
    until(lambda: names(port), None, log)


def test_a_wrong_argument_of_serve_run_is_one_sentence() -> None:
    command = [SERVE, "run", "serve.app:build", "modell=/checkpoint"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "Error: the endpoint's arguments: unknown key modell (did you mean model?)"


def serve(environment: dict[str, str], *arguments: str) -> str:
    """What a `serve` command prints, all of it."""
    command = [SERVE, *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def status(head: Head) -> str | None:
    """The status of the application as the dashboard tells it (asking `serve status` takes seconds), None without one.

    Fails with Serve's message where the deployment has failed.
    """
    token = {"Authorization": f"Bearer {head.client['RAY_AUTH_TOKEN']}"}
    told = httpx.get(f"{head.client['RAY_ADDRESS']}/api/serve/applications/", headers=token, timeout=60)
    application = told.raise_for_status().json()["applications"].get("imageref")
    if application is None:
        return None
    assert application["status"] != "DEPLOY_FAILED", application["message"]
    found: str = application["status"]
    return found


def running(process: subprocess.Popen[bytes], log: Path) -> bool:
    """True; fails with the log where the process has ended."""
    assert process.poll() is None, log.read_text()
    return True


def names(port: int) -> list[str] | None:
    """The models served on a port, None while nothing answers there."""
    try:
        answered = httpx.get(f"http://127.0.0.1:{port}/v1/models")
    except httpx.TransportError:
        return None
    return [model["id"] for model in answered.json()["data"]] if answered.is_success else None


def chat(port: int, model: str, part: dict[str, Any]) -> str:
    """The reply to one message."""
    body = {"model": model, "temperature": 0, "messages": [{"role": "user", "content": [part]}]}
    answered = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=300)
    assert answered.status_code == 200, answered.text
    reply: str = answered.json()["choices"][0]["message"]["content"]
    return reply


def until(now: Callable[[], Any], wanted: Any, log: Path | None = None, seconds: float = 900) -> None:
    """Wait until `now()` returns `wanted`."""
    end = time.monotonic() + seconds
    while (current := now()) != wanted:
        assert time.monotonic() < end, f"still {current}\n" + (log.read_text() if log else "")
        time.sleep(1)
