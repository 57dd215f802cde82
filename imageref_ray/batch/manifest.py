"""What says which work a run directory holds: fingerprint.json, written first, and manifest.json, written last: done.

The fingerprint covers every setting that changes rows and nothing else, so that a run can be resumed with
more actors or another time-out but never with another model.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import CheckpointConfig, ConfigError, EngineConfig
from imageref_ray.core.durable import DiskError, make_folder, remove, write_atomically
from imageref_ray.core.json_files import read_json

WHOLE_BYTES = 256 * 2**20
"""Files up to this many bytes are hashed whole; of larger ones the size and evenly spread pieces."""


def begin(
    directory: Path, settings: Mapping[str, Any], config: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Open or resume a run; the summary of a run that is already done, else None.

    `config` is written down for `job_and_config`. Raises ConfigError, naming every differing key, when the directory
    was created with other settings.
    """
    path = directory / "fingerprint.json"
    flat = _flat(settings)
    if path.is_file():
        before = _read(path, "settings")["settings"]
        if before != flat:
            raise ConfigError(_difference(directory, before, flat))
        if (done := summary(directory)) is not None:
            return done
    try:
        make_folder(directory)
    except DiskError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot create {directory}: {error.strerror}; give another output") from None
    write_json(path, {"fingerprint": fingerprint(settings), "settings": flat, "config": dict(config or {})})
    return None


def job_and_config(directory: Path) -> tuple[str, dict[str, Any]]:
    """The run's job and the config that it was last begun with. Raises ConfigError where there is no run."""
    path = directory / "fingerprint.json"
    if not path.is_file():
        raise ConfigError(f"{directory} is not a run directory (it has no fingerprint.json); give the output of a job")
    content = _read(path, "settings", "config")
    return str(content["settings"].get("job")), content["config"]


def reopen(directory: Path) -> None:
    """Mark a finished run as unfinished: it has records to run again."""
    remove(directory / "manifest.json")


def summary(directory: Path) -> dict[str, Any] | None:
    """A finished run's summary; None while it is not finished."""
    path = directory / "manifest.json"
    if not path.is_file():
        return None
    content: dict[str, Any] = _read(path, "summary")["summary"]
    return content


def finished(directory: Path) -> dict[str, Any]:
    """The whole manifest of a finished run."""
    return _read(directory / "manifest.json", "summary", "config")


def finish(directory: Path, config: Mapping[str, Any], settings: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Write manifest.json; from now on the run is done."""
    manifest = {
        "summary": dict(result),
        "fingerprint": fingerprint(settings),
        "settings": _flat(settings),
        "config": dict(config),
        "git": git_revision(),
        "finished": _now(),
    }
    write_json(directory / "manifest.json", manifest)


def begin_revision(directory: Path) -> None:
    """Note that what a finished run made of its records is being made again: its files are not what manifest.json says
    (`revising`) until `revise` is called."""
    write_json(directory / "manifest.json", {**finished(directory), "revising": True})


def revise(directory: Path, changed: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """What a finished run made of its records was made again, with these settings changed; the records are the same.

    manifest.json then says, under `revised`, which code did it and when.
    """
    for name in ("fingerprint.json", "manifest.json"):
        content = _read(directory / name)
        content["config"] = {**content["config"], **changed}
        if name == "manifest.json":
            content |= {"summary": dict(result), "revised": {"git": git_revision(), "at": _now()}}
            content.pop("revising", None)
        write_json(directory / name, content)


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A short name of the settings' values (16 hexadecimal digits), whatever their order."""
    return hashlib.sha256(json.dumps(_flat(settings), sort_keys=True).encode()).hexdigest()[:16]


def engine_settings(config: EngineConfig) -> dict[str, Any]:
    """What of an engine changes its replies, with the identity of its model's files where they are a folder."""
    settings = config.identity()
    if isinstance(config, CheckpointConfig) and (folder := Path(resolve_model(config.model))).is_dir():
        return {**settings, "model": folder.resolve().name, "files": files_identity(folder)}
    return settings


def files_identity(folder: Path) -> str:
    """One hash over a checkpoint's files (names and contents), the same wherever the folder is."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in {".json", ".safetensors", ".jinja", ".txt", ".model"}:
            digest.update(path.name.encode() + content_identity(path).encode())
    return digest.hexdigest()[:16]


def content_identity(path: Path, whole: int = WHOLE_BYTES) -> str:
    """A hash of a file's size and content; above `whole` bytes of 64 pieces of 1 MiB spread over it."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= whole:
            digest.update(file.read())
        else:
            for piece in range(64):
                file.seek((size - 2**20) * piece // 63)
                digest.update(file.read(2**20))
    return digest.hexdigest()[:16]


def digest(value: Any) -> str:
    """A hash of any plain value (16 hexadecimal digits)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def git_revision() -> str | None:
    """The code's git revision, `-dirty` when changed; None outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file so that it is there wholly, on the disk, or not at all."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def _read(path: Path, *parts: str) -> dict[str, Any]:
    """The object in a run's file, which has these objects. Raises ConfigError for what a run does not write."""
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in parts):
        raise ConfigError(f"{path} is damaged; restore it, or delete the folder to run again")
    return content


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _difference(directory: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    keys: Iterable[str] = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    changes = ", ".join(f"{key} {before.get(key)!r} → {now.get(key)!r}" for key in keys)
    return f"{directory} was created with other settings ({changes}); give another output or delete {directory}"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys with values as JSON gives them back."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = json.loads(json.dumps(value, default=str))
    return flat
