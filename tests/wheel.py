"""The package as `pip install` leaves it: built as a wheel and unpacked where no checkout is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUIET = ["--quiet", "--disable-pip-version-check", "--no-deps"]


def install(folder: Path) -> dict[str, str]:
    """Build and install the wheel under `folder`; an environment in which Python imports it, not the checkout."""
    source, wheels, site = folder / "source", folder / "dist", folder / "site"
    shutil.copytree(ROOT / "imageref_ray", source / "imageref_ray", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", *QUIET, "--no-build-isolation", "--wheel-dir", wheels, source], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", *QUIET, "--target", site, wheel], check=True)
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return {**environment, "PYTHONPATH": str(site)}
