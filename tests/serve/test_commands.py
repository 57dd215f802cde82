"""Ray's own `serve` command, typed in a checkout: on a head with token authentication, where only the package is."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.head import Head, free_port

ROOT = Path(__file__).parents[2]
SERVE = Path(sys.executable).with_name("serve")

SLOW_MODEL = """
import asyncio, os

async def reply(request):
    if request.sampling.max_tokens > 1:  # not a health check
        await asyncio.sleep(1)
    return f"process {os.getpid()}"
"""


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


def test_a_deployed_endpoint_grows_under_load_and_shrinks_again(head: Head, tmp_path: Path) -> None:
    """The second replica answers too, and the one that is taken away answers to the end what it has begun."""
    (Path(head.client["PYTHONPATH"]) / "slow_model.py").write_text(SLOW_MODEL)  # installed on the node
    port = free_port()
    engine = {"kind": "scripted", "script": "slow_model:reply", "concurrency": 2, "cpus": 0.5, "actors": [1, 2]}
    scaling: dict[str, float] = {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 1}
    scaling |= {"upscale_delay_s": 0.5, "downscale_delay_s": 1, "metrics_interval_s": 0.2, "look_back_period_s": 1}
    entry: dict[str, Any] = {"name": "imageref", "route_prefix": "/", "import_path": "imageref_ray.serving.app:build"}
    entry |= {"args": {"engine": engine}, "deployments": [{"name": "Endpoint", "autoscaling_config": scaling}]}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"http_options": {"port": port}, "applications": [entry]}))
    serve(head.client, "deploy", str(file))
    until(lambda: (status(head), replicas(head)), ("RUNNING", 1))
    answered: list[str] = []
    busy = threading.Event()
    busy.set()

    def client() -> None:
        while busy.is_set():
            answered.append(chat(port, "imageref", {"type": "text", "text": "Hello"}))

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    try:
        until(lambda: len(set(answered)), 2)
        assert replicas(head) == 2
    finally:
        busy.clear()
        for one in clients:
            one.join()
    until(lambda: replicas(head), 1)
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


def application(head: Head) -> dict[str, Any] | None:
    """What the dashboard tells of the application (asking `serve status` takes seconds), None without one.

    Fails with Serve's message where the deployment has failed.
    """
    token = {"Authorization": f"Bearer {head.client['RAY_AUTH_TOKEN']}"}
    told = httpx.get(f"{head.client['RAY_ADDRESS']}/api/serve/applications/", headers=token, timeout=60)
    found: dict[str, Any] | None = told.raise_for_status().json()["applications"].get("imageref")
    assert found is None or found["status"] != "DEPLOY_FAILED", found["message"]
    return found


def status(head: Head) -> str | None:
    found = application(head)
    return None if found is None else str(found["status"])


def replicas(head: Head) -> int:
    """How many replicas are there, those that start or stop not among them."""
    found = application(head)
    there = found["deployments"].get("Endpoint", {}).get("replicas", []) if found else []
    return sum(replica["state"] == "RUNNING" for replica in there)


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
