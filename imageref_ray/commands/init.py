"""`imageref init`: a commented starter config, put together from parts in starters/."""

from __future__ import annotations

import sys
from pathlib import Path

from imageref_ray.commands.table import COMMAND_OF
from imageref_ray.core.config import ConfigError
from imageref_ray.core.durable import DiskError, write_atomically

PARTS = Path(__file__).parent / "starters"


def starter(job: str, source: str = "folder", engine: str = "vllm") -> str:
    """The YAML text of a starter config; `source` is used for a build only, `engine` where the job has one."""
    text = _read_part(job)
    for placeholder, name in (("SOURCE", f"source-{source}"), ("ENGINE", f"engine-{engine}")):
        text = text.replace(f"# {placeholder}\n", _read_part(name))
    return text


def run(job: str, source: str, engine: str, out: Path | None) -> None:
    """Write the config to `out` (default `<job>.yaml`; `-` prints it). Raises ConfigError where the file exists."""
    if job == "serve" and engine != "vllm":
        raise ConfigError(f"--engine {engine}: the endpoint's file is for a checkpoint on vLLM; remove --engine")
    text = starter(job, source, engine)
    path = out or Path(f"{job}.yaml")
    if str(path) == "-":
        sys.stdout.write(text)
        return
    if path.exists():
        raise ConfigError(f"{path} already exists; give another file with --out, or delete it")
    try:
        write_atomically(path, text)
    except DiskError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}); give another file with --out") from None
    dry_run = "" if job == "serve" else " --dry-run"
    print(f"{path}: set its paths, then: imageref {COMMAND_OF.get(job, job)} --config {path}{dry_run}")


def _read_part(name: str) -> str:
    return (PARTS / f"{name}.yaml").read_text(encoding="utf-8")
