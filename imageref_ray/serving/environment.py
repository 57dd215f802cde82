"""Ray's settings for the endpoint, as environment variables: set before Ray is imported, for all of its processes.

    eval "$(python -m imageref_ray.serving.environment)"      in a shell, before `ray start`

`imageref serve` sets them itself. What is in the environment already stays: RAY_SERVE_ENABLE_HA_PROXY=0 keeps Ray
Serve's own proxy, a Python process through which every piece of a stream travels as a Ray message.
"""

from __future__ import annotations

import os
import shlex

from imageref_ray.serving import haproxy

PROXY = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",  # a busy laptop
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
}
"""Seconds to wait for Ray Serve's proxy, and between looks at it."""

RAY = {"RAY_process_group_cleanup_enabled": "1"}
"""What a worker has started ends with it: else a killed replica leaves its engine, with the memory of the GPU."""


def variables() -> dict[str, str]:
    """What to put into the environment of a Ray that is started on this machine, and of all that belongs to it.

    With HAProxy where there is one. Nothing that is set already is changed, but files and ports are new each time.
    """
    settings, places = {**PROXY, **RAY}, {}
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "1") == "1" and haproxy.available():
        settings, places = {**settings, **haproxy.SETTINGS}, haproxy.make_places()
    return {name: value for name, value in settings.items() if name not in os.environ} | places


if __name__ == "__main__":
    for name, value in variables().items():
        print(f"export {name}={shlex.quote(value)}")
