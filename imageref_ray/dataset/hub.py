"""A folder → a data set on the Hugging Face hub: commits of some files each, the dataset card with the last.

What the repository has already is known by size and hash, so the same upload run again resumes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from imageref_ray.batch.outcome import RunFailed
from imageref_ray.core.config import ConfigError
from imageref_ray.core.files import first_names, shown

CARD = "README.md"
FILES, BYTES = 500, 2**29
"""A commit has at most so many files, and so many bytes unless it is one file."""

OF_THE_HUB = {".gitattributes"}
"""Files that the hub itself puts into a new repository."""


def connect(to: str) -> HfApi:
    """The hub's client, with the token from the environment. Raises ConfigError where `to` is no name, or no token."""
    try:
        validate_repo_id(to)
    except HFValidationError as error:
        raise ConfigError(f"--to {shown(to)}: {error}") from None
    if "/" not in to:
        raise ConfigError(f"--to {to}: give the user or organisation too, as in user/{to}")
    if not get_token():
        raise ConfigError("no token for the hub; set HF_TOKEN to one that may write, or run `hf auth login`")
    return HfApi(os.environ.get("HF_ENDPOINT"))


def local_files(folder: Path) -> dict[str, Path]:
    """Name in the repository → file, by name, the card last."""
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return dict(sorted(names.items(), key=lambda pair: (pair[0] == CARD, pair[0])))


def upload(
    api: HfApi,
    folder: Path,
    to: str,
    public: bool,
    replace: bool,
    say: Callable[[str], None] = lambda line: None,
    at_once: int = FILES,
) -> str:
    """Make the data set repository `to` hold the folder's files, `at_once` in a commit; returns its address.

    With `replace` other files in it are removed. Raises ConfigError where the token may not write, where the repository
    has other files (without `replace`) or is not as `public` says, RunFailed where the upload stops.
    """
    files = local_files(folder)
    with _explained(to):
        there = _present(api, to, public)
    others = sorted(there.keys() - files.keys() - OF_THE_HUB)
    if others and not replace:
        what = f"exists and has other files ({first_names(others)})"
        raise ConfigError(f"--to {to} {what}; give another name, or --replace to remove them")
    missing = {name: path for name, path in files.items() if not _same(path, there.get(name))}
    say(f"{to}: {len(files) - len(missing):,} of {len(files):,} files are there")
    sent = 0
    for names in _batches(missing, at_once) or [[]] * bool(others):
        added = [CommitOperationAdd(name, str(files[name])) for name in names]
        removed = [CommitOperationDelete(name) for name in others] if sent + len(names) == len(missing) else []
        message = f"Add {first_names(names)}" if names else f"Remove {first_names(others)}"
        with _explained(to, f"{sent:,} of {len(missing):,} files were uploaded"):
            api.create_commit(to, [*added, *removed], commit_message=message, repo_type="dataset")
        sent += len(names)
        say(f"{to}: uploaded {sent:,} of {len(missing):,} files")
    return f"{api.endpoint}/datasets/{to}"


def _present(api: HfApi, to: str, public: bool) -> Mapping[str, RepoFile]:
    """The repository's files by name; it is made if it does not exist. Raises ConfigError if it is not as `public`."""
    try:
        private = api.repo_info(to, repo_type="dataset").private
    except HfHubHTTPError as error:
        if error.response.status_code != 404:
            raise
        api.create_repo(to, repo_type="dataset", private=not public)
        return {}
    if private is public:
        what = "private; leave --public out" if private else "public; give --public if everybody may see the set"
        raise ConfigError(f"--to {to} exists and is {what}, or give another name")
    tree = api.list_repo_tree(to, repo_type="dataset", recursive=True)
    return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}


def _same(path: Path, there: RepoFile | None) -> bool:
    """Whether the repository has this file, by its hash: of the content (large files) or of its git object."""
    if there is None or there.size != path.stat().st_size:
        return False
    digest = hashlib.sha256() if there.lfs else hashlib.sha1(f"blob {there.size}\0".encode())
    with path.open("rb") as file:
        while data := file.read(2**20):
            digest.update(data)
    return digest.hexdigest() == (there.lfs.sha256 if there.lfs else there.blob_id)


def _batches(files: Mapping[str, Path], at_once: int) -> list[list[str]]:
    batches: list[list[str]] = []
    size = BYTES
    for name, path in files.items():
        size += path.stat().st_size
        if size > BYTES or len(batches[-1]) == at_once:
            batches.append([])
            size = path.stat().st_size
        batches[-1].append(name)
    return batches


@contextmanager
def _explained(to: str, progress: str = "nothing was uploaded") -> Iterator[None]:
    """What the hub refuses, in words."""
    after = f"; {progress}. Run the same command again to resume"
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            raise ConfigError("the hub does not accept the token; set HF_TOKEN to a valid one that may write") from None
        if status == 403:
            raise ConfigError(f"the token may not write to {to}; give one that may, or another name") from None
        raise RunFailed(f"the hub answered {status} ({shown(error.server_message or str(error))}){after}") from None
    except OfflineModeIsEnabled:
        raise ConfigError("HF_HUB_OFFLINE is set, so that nothing can be uploaded; unset it") from None
    except httpx.HTTPError as error:
        raise RunFailed(f"the hub cannot be reached ({type(error).__name__}: {shown(str(error))}){after}") from None
