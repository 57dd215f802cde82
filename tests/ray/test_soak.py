"""Twenty kills of a process that works through a run; `make soak` kills the true pass two hundred times."""

import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[1] / "soak.py"


def test_a_run_that_is_killed_twenty_times_loses_and_doubles_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, SOAK, tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("20 kills in ")
