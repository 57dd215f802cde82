"""Ray from a job's side: connected or started quietly, with everything that libraries print in the run's log."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from imageref_ray.core.config import ConfigError
from imageref_ray.core.durable import writing
from imageref_ray.engines.base import EngineError

NOT_STARTED = re.compile(
    r"timed out during startup|fail\w* to start|may not have started|connect to GCS", re.IGNORECASE
)
"""What Ray says where its own processes did not come up; it raises this as a bare Exception or RuntimeError."""

ANSWER_S = 10.0
"""How long a cluster that was named may be silent: its head may be on the way back."""


@contextmanager
def attached(*, dashboard: bool = False) -> Iterator[None]:
    """Ray, quiet: the connection that is open, else the cluster in RAY_ADDRESS, else one started on this machine.

    `dashboard`: with Ray's own pages and its status commands, where it is started here. Raises ConfigError where no
    cluster answers, EngineError where Ray does not start.
    """
    began = not ray.is_initialized()
    if began:
        _connect(dashboard)
    try:
        yield
    finally:
        if began:
            ray.shutdown()


def _connect(dashboard: bool) -> None:
    address = os.environ.get("RAY_ADDRESS")
    # Ray's own niceness, 15, puts an engine on a CPU behind everything else: a tenth of its speed on two cores.
    internal: dict[str, Any] = {"worker_niceness": 0}
    if not dashboard:  # nobody reads them, and Ray Data's grow by megabytes a minute
        internal |= {"enable_metrics_collection": False, "task_events_report_interval_ms": 0}
    local: dict[str, Any] = {
        "include_dashboard": dashboard,
        "num_cpus": max(2, os.cpu_count() or 1),
        "_system_config": internal,
    }
    if not dashboard:
        # Ray Train looks there for its own controller, and takes the workers' CPUs away where it is not found. On Ray's
        # usual port another Ray of this machine may answer, which does not know it; here nobody answers.
        local |= {"dashboard_port": 1}
    if address:
        _wait_for(address)
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else local),
        )
    except Exception as error:
        problem = _problem(error, address)
        if problem is None:
            raise
        raise problem from error


def _wait_for(address: str) -> None:
    """Raise ConfigError where nothing listens: Ray itself tries for many minutes, and says so in its logs only."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdecimal():  # auto, local
        return
    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
            return
        except (OSError, OverflowError) as error:
            if time.monotonic() > deadline:
                raise _silent(address, str(error)) from None
            time.sleep(0.5)


def _silent(address: str, reason: str) -> ConfigError:
    return ConfigError(f"no Ray cluster answers at {address} ({reason}); check RAY_ADDRESS or unset it")


def _problem(error: Exception, address: str | None) -> Exception | None:
    """What the user can do about it, where Ray could not be reached or started; None: something else is wrong."""
    reason = " ".join(str(error).split()).rstrip(".")
    if address:
        return _silent(address, reason) if isinstance(error, ConnectionError) else None
    if not isinstance(error, ConnectionError) and not NOT_STARTED.search(reason):
        return None
    return EngineError(
        f"Ray did not start on this machine ({reason}). It gives its processes 30 seconds, which a busy machine or "
        "one short of memory exceeds; wait until other programs have finished, or end them"
    )


@contextmanager
def connected(log: Path) -> Iterator[None]:
    """`attached`, and what Ray Data logs goes to `log`."""
    with attached():
        handler = logging.FileHandler(log, encoding="utf-8")
        logger = logging.getLogger("ray.data")
        before, logger.handlers = logger.handlers, [handler]
        try:
            yield
        finally:
            logger.handlers = before
            handler.close()


@contextmanager
def output_to(log: Path) -> Iterator[Console]:
    """Whatever libraries print goes to `log`; the console that is given writes to the real stderr."""
    sys.stdout.flush()
    sys.stderr.flush()
    real = {number: os.dup(number) for number in (1, 2)}
    try:
        redirect_output(log)
        with writing(log), os.fdopen(os.dup(real[2]), "w", encoding="utf-8") as screen:
            yield Console(file=screen)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # on a full disk the log lacks what was printed last, not the screen its streams
                stream.flush()
        for number, copy in real.items():
            os.dup2(copy, number)
            os.close(copy)


def redirect_output(log: Path) -> None:
    """Send all that this process and its children print to the run's log, for good."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def state() -> str:
    """What the cluster has and what of it is free, for messages."""
    total, free = ray.cluster_resources(), ray.available_resources()
    resources = [f"{free.get(kind, 0):g} of {total[kind]:g} {kind}s free" for kind in ("CPU", "GPU") if total.get(kind)]
    alive = sum(node["Alive"] for node in ray.nodes())
    return ", ".join([f"{alive} node(s)", *resources])
