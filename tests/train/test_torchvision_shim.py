"""torchvision imports beside this torch, whichever of its builds is installed."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from imageref_ray.core import torchvision_shim

CUDA_BUILD = "__version__ = '0.28.0+cu130'\ngit_version = 'cu'\nfrom torchvision.extension import _check_cuda_version\n"


@pytest.mark.parametrize(
    ("version", "expected"),
    [(CUDA_BUILD, True), ("__version__ = '0.28.0+cpu'\n", False), ("__version__ = '0.28.0'\n", False), ("", False)],
)
def test_a_cuda_build_is_told_by_its_version_file(version: str, expected: bool) -> None:
    assert torchvision_shim.built_for_cuda(version) is expected


def test_torch_runs_the_fix_as_an_entry_point() -> None:
    (found,) = entry_points(group="torch.backends", name="imageref_torchvision")
    assert found.load() is torchvision_shim.declare_operators


def test_torchvision_imports_in_a_fresh_process() -> None:
    run("import torchvision.transforms.v2; assert 'torchvision' in sys.modules")


def test_reading_the_version_does_not_import_torchvision() -> None:
    run(
        "from imageref_ray.core.torchvision_shim import torchvision_version\n"
        "assert '__version__' in torchvision_version() and 'torchvision' not in sys.modules"
    )


def test_beside_a_true_cpu_build_nothing_is_declared(tmp_path: Path) -> None:
    fake(tmp_path, "0.28.0+cpu")
    run(
        "import torch\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"  # as the true build does; a second time raises
        "library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')",
        tmp_path,
    )


def test_beside_a_cuda_build_the_operators_are_declared(tmp_path: Path) -> None:
    fake(tmp_path, "0.28.0+cu130")
    run("import torch\nif torch.version.cuda is None: torch.ops.torchvision.nms, torch.ops.torchvision.qnms", tmp_path)


def fake(folder: Path, version: str) -> None:
    """A torchvision that is found first and must not be imported."""
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "version.py").write_text(f"__version__ = '{version}'\n")


def run(code: str, path: Path | None = None) -> None:
    first = f"import sys\nsys.path.insert(0, {str(path)!r})\n" if path else "import sys\n"
    done = subprocess.run([sys.executable, "-c", first + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
