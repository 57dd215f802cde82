"""A Ray head as `ray start --head` makes one, for tests of what a user types against a running cluster."""

import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RAY = Path(sys.executable).with_name("ray")


@dataclass(frozen=True)
class Head:
    """A running head: `client` is the environment of Ray's HTTP commands, `address` where `ray.init` connects."""

    client: dict[str, str]
    address: str


@contextmanager
def start(folder: Path) -> Iterator[Head]:
    """A head with two CPUs and a token; its log lies in `folder`, where it also stands."""
    port, dashboard = free_port(), free_port()
    session = tempfile.mkdtemp(prefix="ray-")  # its own: a path short enough for sockets, and not where others find it
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    environment |= {"PYTHONPATH": str(package_alone(folder)), "RAY_worker_niceness": "0"}
    environment.pop("RAY_ADDRESS", None)
    command = [
        *(RAY, "start", "--head", "--block", "--num-cpus=2", f"--port={port}", f"--temp-dir={session}"),
        *(f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={free_port()}"),
        # With a known port Ray's client server need not ask for it: it waits 30 s for the answer, and ends the head.
        *(f"--ray-client-server-port={free_port()}", f"--runtime-env-agent-port={free_port()}"),
        "--disable-usage-stats",
    ]
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{dashboard}"
    client = {**environment, "RAY_ADDRESS": url, "RAY_DASHBOARD_ADDRESS": url}
    try:
        _wait_for_jobs(client, process, folder / "head.log")
        yield Head(client, f"127.0.0.1:{port}")
    finally:
        process.terminate()  # with --block this stops the head's own processes and nobody else's
        process.wait(60)
        shutil.rmtree(session, ignore_errors=True)


def package_alone(folder: Path) -> Path:
    """A folder for PYTHONPATH in which only the package can be imported, as from an installation."""
    path = folder / "installed"
    path.mkdir()
    (path / "imageref_ray").symlink_to(ROOT / "imageref_ray")
    return path


def free_port() -> int:
    """A port that nobody listens on, of those that the system gives to nobody by itself: between asking and use, only
    somebody who wants this very number can take it. For servers that cannot be asked which port they took."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port between 20000 and 32000 is free")


def _wait_for_jobs(client: dict[str, str], process: subprocess.Popen[bytes], log: Path, seconds: float = 600) -> None:
    """Until the head takes jobs."""
    end = time.monotonic() + seconds
    while subprocess.run([RAY, "job", "list"], env=client, capture_output=True, check=False).returncode:
        assert process.poll() is None and time.monotonic() < end, log.read_text(encoding="utf-8")
        time.sleep(1)
