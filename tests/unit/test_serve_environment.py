"""Ray's environment for the endpoint: a shell is given what `imageref serve` sets, and no two starts share a place."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from imageref_ray.serving import environment, haproxy
from imageref_ray.serving.errors import error_body

RAYS = """
global
    stats timeout 30s
defaults
    mode http
    timeout connect 1s
    timeout client 9s
    timeout server 9s
    errorfile 503 /tmp/of-no-use
    balance leastconn
frontend prometheus
    bind :9101
frontend http_frontend
    bind {host}:8000
listen stats
  bind *:8404
"""
"""What Ray writes, in short."""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment without Serve's variables, which the tests have set for their own Ray."""
    for name in [name for name in os.environ if name.startswith(("RAY_SERVE_", "RAY_process_"))]:
        monkeypatch.delenv(name)


def printed() -> dict[str, str]:
    command = [sys.executable, "-m", "imageref_ray.serving.environment"]
    words = shlex.split(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert set(words[::2]) == {"export"}
    return dict(word.split("=", 1) for word in words[1::2])


@pytest.mark.skipif(not haproxy.available(), reason="no HAProxy on this machine")
def test_a_shell_is_given_every_variable_and_places_of_its_own() -> None:
    told, here = printed(), environment.variables()
    try:
        assert {**told, **environment.PROXY, **environment.RAY, **haproxy.SETTINGS} == told
        assert told.keys() == here.keys()
        places = here.keys() - {*environment.PROXY, *environment.RAY, *haproxy.SETTINGS}
        assert len({here[name] for name in places} | {told[name] for name in places}) == 2 * len(places)
    finally:
        haproxy.remove(told)
        haproxy.remove(here)
    assert not Path(told["RAY_SERVE_HAPROXY_BINARY_PATH"]).parent.exists()


def test_what_is_set_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    monkeypatch.setenv("RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", "9")
    expected = {**environment.PROXY, **environment.RAY}
    del expected["RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S"]
    assert environment.variables() == expected


def test_without_haproxy_ray_keeps_its_own_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "binary", lambda: None)
    assert environment.variables() == {**environment.PROXY, **environment.RAY}
    with pytest.raises(FileNotFoundError, match="comes with ray"):
        haproxy.make_places()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_rays_configuration_is_changed_once_and_only_where_it_must(host: str, tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(RAYS.format(host=host))
    haproxy.write_script(tmp_path / "haproxy", "true")
    for _ in range(2):
        subprocess.run([tmp_path / "haproxy", "-db", "-f", file, "-x", tmp_path / "socket"], check=True)
    lines = file.read_text().splitlines()
    binds = [line.split()[1] for line in lines if "bind" in line]
    assert binds == ["127.0.0.1:9101", f"{host}:8000", "127.0.0.1:8404"]
    at = lines.index("defaults") + 1
    assert [line.strip() for line in lines[at : at + len(haproxy.LINES)]] == [*haproxy.LINES]
    rest = [*lines[:at], *lines[at + len(haproxy.LINES) :]]
    unchanged = [line for line in RAYS.format(host=host).splitlines() if "errorfile" not in line]
    assert [line for line in rest if "bind" not in line] == [line for line in unchanged if "bind" not in line]


@pytest.mark.parametrize("status", haproxy.ERRORS)
def test_haproxys_own_errors_are_objects_like_all_others(status: int) -> None:
    (line,) = [line for line in haproxy.LINES if line.startswith(f"http-error status {status} ")]
    told = line.split("lf-string '")[1].split("'")[0]
    assert json.loads(told) == error_body(haproxy.ERRORS[status], status, request_id="%[uuid]")


@pytest.mark.skipif(not haproxy.available(), reason="no HAProxy on this machine")
def test_haproxy_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(RAYS.format(host="127.0.0.1"))
    haproxy.write_script(tmp_path / "haproxy", str(haproxy.binary()))
    checked = subprocess.run([tmp_path / "haproxy", "-c", "-f", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
