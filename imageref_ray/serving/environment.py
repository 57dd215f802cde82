"""Ray's settings for the endpoint, as environment variables: set before Ray is imported, for all of its processes.

    eval "$(python -m imageref_ray.serving.environment)"              in a shell, before `ray start` or `imageref serve`
    eval "$(python -m imageref_ray.serving.environment --haproxy)"    … with HAProxy before the replicas

Ray Serve's own proxy is a Python process through which every piece of a stream travels as a Ray message. HAProxy, which
comes with `ray[serve]` on Linux, can be in its place: each replica answers HTTP itself, and HAProxy sends a client's
bytes to one that is up, and asks another where one ends before it has begun to answer.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
import tempfile
from pathlib import Path

PROXY = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",  # a busy laptop
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
}
"""Seconds to wait for Ray Serve's proxy, and between looks at it."""

HAPROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # The routes never block: they run in the replica's own event loop, without a queue between two threads.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    # What has not begun to answer is asked again of another replica, if it fits into the buffer (bytes) and was whole
    # when it was first asked. Ray has no setting for waiting until it is, but writes this one at the end of a line.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response 503\n    option http-buffer-request",
    "RAY_SERVE_HAPROXY_RETRIES": "20",  # a dead replica has the fewest connections: it is tried until it is down
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(2**18),
    "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
    # How long a replica that is to end still takes requests: until HAProxy has heard of it.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
}

RAY = {"RAY_process_group_cleanup_enabled": "1"}
"""What a worker has started ends with it: else a killed replica leaves its engine, with the memory of the GPU."""


def variables(haproxy: bool = False) -> dict[str, str]:
    """The variables for a Ray that is started on this machine."""
    return {**PROXY, **RAY, **(HAPROXY | _places() if haproxy else {})}


def _places() -> dict[str, str]:
    """Files and ports of this start's HAProxy: Ray's own are the same for everybody on a machine, and open to all."""
    folder = Path(tempfile.gettempdir()) / f"haproxy-{os.getuid()}"  # short: paths of sockets have a limit
    folder.mkdir(mode=0o700, exist_ok=True)
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(_free_port()),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    for name, value in variables("--haproxy" in sys.argv[1:]).items():
        print(f"export {name}={shlex.quote(value)}")
