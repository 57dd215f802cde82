"""What feeds an engine on a CPU keeps off the cores that the engine has bound itself to."""

import json
import os
import subprocess
import sys

import pytest

PROCESS = """
import json, os, subprocess, sys, threading
from imageref_ray.engines import cpu_affinity

def state():
    return [sorted(os.sched_getaffinity(0)), os.nice(0)]

asked, answers = threading.Event(), []
helper = threading.Thread(target=lambda: (asked.wait(), answers.append(state())))
helper.start()
children = []
for _ in range(2):
    with cpu_affinity.apart():
        bind = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(flush=True); input()"
        child = subprocess.Popen([sys.executable, "-c", bind], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdout.readline()
        children.append(child)
        inside = state()
asked.set()
helper.join()
print(json.dumps({"inside": inside, "after": state(), "helper": answers[0]}))
for child in children:
    child.kill()
    child.communicate()
"""


@pytest.mark.skipif(sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="needs Linux and two cores")
def test_every_thread_moves_behind_the_engine_and_the_next_engine_has_all_cores_again() -> None:
    told = json.loads(subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, check=True).stdout)
    cores, niceness = sorted(os.sched_getaffinity(0)), os.nice(0)
    assert told["inside"] == [cores, min(niceness + 8, 19)]  # the second time: all cores, behind the first engine
    assert told["after"] == told["helper"] == [cores[1:], min(niceness + 16, 19)]
