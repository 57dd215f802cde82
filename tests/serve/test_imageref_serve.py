"""`imageref serve` itself: a config file in, its application answering until the process is stopped."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from imageref_ray.serving import haproxy
from tests.head import free_port

ROOT = Path(__file__).parents[2]

NO_MODEL = """
import ray

if ray.is_initialized():  # in a replica, not where the settings are checked
    raise OSError("the weights are gone")

def reply(request):
    return ""
"""


@pytest.mark.parametrize(("sign", "proxy"), [(signal.SIGINT, "haproxy"), (signal.SIGTERM, "python")])
def test_serve_answers_until_it_is_stopped(sign: signal.Signals, proxy: str, tmp_path: Path) -> None:
    if proxy == "haproxy" and not haproxy.available():
        pytest.skip("no HAProxy on this machine")
    port = free_port()
    application = {"name": "hello", "import_path": "tests.hello:build", "args": {"name": "Ann"}}
    (tmp_path / "serve.yaml").write_text(json.dumps({"http_options": {"port": port}, "applications": [application]}))
    command = [sys.executable, "-m", "imageref_ray", "serve", "--config", str(tmp_path / "serve.yaml")]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)}
    environment |= {"RAY_SERVE_ENABLE_HA_PROXY": str(int(proxy == "haproxy"))}
    with (tmp_path / "errors").open("w") as errors:
        served = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert served.stdout is not None
        ready = next((line for line in served.stdout if line.startswith("answering on")), "")
        assert f"http://127.0.0.1:{port}" in ready, (tmp_path / "errors").read_text()
        assert httpx.get(f"http://127.0.0.1:{port}/").text == "hello Ann"
        (listener,) = {one.pid for one in psutil.net_connections() if one.status == "LISTEN" and one.laddr[1] == port}
        command = psutil.Process(listener).cmdline()
        assert ("haproxy" in Path(command[0]).name) == (proxy == "haproxy"), command
        served.send_signal(sign)
        rest, _ = served.communicate()
    finally:
        served.kill()
    assert (served.returncode, rest) == (0, "stopping: what has begun is answered first (Ctrl-C again: at once)\n")
    assert "Traceback" not in (tmp_path / "errors").read_text()
    assert not psutil.pid_exists(listener)
    assert proxy == "python" or not Path(command[command.index("-f") + 1]).parents[1].exists()


def test_replicas_that_do_not_start_end_it_with_what_they_said_and_where_their_logs_are(tmp_path: Path) -> None:
    (tmp_path / "no_model.py").write_text(NO_MODEL)
    command = [sys.executable, "-m", "imageref_ray", "serve", "--config", str(tmp_path / "serve.yaml")]
    engine = {"kind": "scripted", "script": "no_model:reply"}
    application = {"name": "imageref", "import_path": "imageref_ray.serving.app:build", "args": {"engine": engine}}
    config = {"http_options": {"port": free_port()}, "applications": [application]}
    (tmp_path / "serve.yaml").write_text(json.dumps(config))
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    *_, line = ended.stderr.splitlines()
    told = re.fullmatch(r"imageref: the application imageref did not start: the weights are gone \(logs: (.+)\)", line)
    assert told and "Traceback" not in ended.stderr
    logs = [file.read_text() for file in Path(told[1]).glob("replica_imageref_*.log")]
    assert any("the engine did not start: the weights are gone" in log for log in logs)
