"""Ray's environment for the endpoint: a shell is given what `imageref serve` sets, and no two starts share a port."""

import shlex
import subprocess
import sys

import pytest

from imageref_ray.serving import environment


@pytest.mark.parametrize("haproxy", [False, True])
def test_a_shell_is_given_every_variable(haproxy: bool) -> None:
    command = [sys.executable, "-m", "imageref_ray.serving.environment", *(["--haproxy"] if haproxy else [])]
    words = shlex.split(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    told = dict(word.split("=", 1) for word in words[1::2])
    assert set(words[::2]) == {"export"} and told.keys() == environment.variables(haproxy).keys()
    assert {**told, **environment.PROXY} == told


def test_two_endpoints_on_a_machine_do_not_want_the_same_ports() -> None:
    ports = [value for name, value in environment.variables(haproxy=True).items() if name.endswith("_PORT")]
    assert len(set(ports)) == len(ports)
