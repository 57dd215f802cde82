"""A disk that is full or broken at any write: one sentence, no half file that counts, and then the run goes on."""

import errno
import io
import os
import pickle
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from imageref_ray.batch import attempts, manifest, store
from imageref_ray.batch.worker import Pass, Row, packed, prepared
from imageref_ray.commands import cli
from imageref_ray.core.config import ScriptedConfig
from imageref_ray.core.durable import DiskError, make_folder, replacing, write_atomically
from imageref_ray.core.records import Failure
from imageref_ray.sources.download_cache import fetch_once
from tests.small_job import SAME_NAMES, Claim, claim, job, result, work, wrong

CALLS = ("fsync", "replace", "rename", "mkdir")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "git_revision", lambda: "r1")  # it takes a process
    monkeypatch.setattr(os, "fsync", lambda number: None)


class Faulty:
    """A file whose writes may fail."""

    def __init__(self, file: Any, fail: Callable[[], None]) -> None:
        self._file, self._fail = file, fail

    def write(self, data: Any) -> int:
        self._fail()
        return int(self._file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "Faulty":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


@contextmanager
def failing(number: int, code: int) -> Iterator[list[int]]:
    """The disk fails at the call of that number that changes it, and at all later ones; gives the count of calls."""
    calls = [0]

    def fail(*path: Any) -> None:
        calls[0] += 1
        if calls[0] >= number > 0:
            raise OSError(code, os.strerror(code), *map(str, path))

    def before(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            fail(*[path for path in given[:1] if not isinstance(path, int)])  # as the system names it
            return real(*given, **more)

        return call

    real_open = io.open

    def opened(path: Any, mode: str = "r", *given: Any, **more: Any) -> Any:
        file = real_open(path, mode, *given, **more)
        return Faulty(file, fail) if {*mode} & {*"wax"} else file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", opened)
        for name in CALLS:
            patch.setattr(os, name, before(getattr(os, name)))
        yield calls


def life(run: Path) -> Iterator[None]:
    """A job of which a record fails, and another export."""
    job(run, partial(work, run, frozenset("d")))
    yield
    job(run, dict, SAME_NAMES)


def test_a_disk_that_fails_at_any_write_costs_a_sentence_and_nothing_else(tmp_path: Path) -> None:
    with failing(0, 0) as calls:
        list(life(tmp_path / "run"))
    assert calls[0] > 60
    for number in range(1, calls[0] + 1):
        run, told, code = tmp_path / f"{number}" / "run", Claim(), (errno.ENOSPC, errno.EIO)[number % 2]
        run.parent.mkdir()
        with failing(number, code), pytest.raises(DiskError, match=sentence(run.parent, code)):
            for _ in life(run):
                told = claim(run)
        assert wrong(run, told) == [], number
        job(run, partial(work, run, frozenset()), SAME_NAMES)
        assert wrong(run, told._replace(finished=True), may_finish=False) == [], number
        assert not [path for path in run.rglob("*") if path.name.endswith(".tmp")], number


def sentence(folder: Path, code: int) -> str:
    """What is said, without the signs of a regular expression."""
    why = r"\([\d,]+ bytes are free on the disk(, [\d,]+ more are needed)?\); free space"
    end = f" {why}" if code == errno.ENOSPC else "; check the disk"
    return rf"^{folder}\S* cannot be written: {os.strerror(code)}{end}$"


def test_a_full_disk_names_what_is_needed_and_what_is_free(tmp_path: Path) -> None:
    with failing(1, errno.ENOSPC), pytest.raises(DiskError, match=r"free on the disk, 2,000 more are needed\); free"):
        write_atomically(tmp_path / "a", bytes(2000))
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays_where_the_new_file_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write("half of the n")
        raise ZeroDivisionError
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a.json", "old")]


def test_a_disk_error_crosses_processes_whole() -> None:
    error = pickle.loads(pickle.dumps(DiskError(errno.ENOSPC, "/run cannot be written: full; free space", "/run")))
    assert (str(error), error.errno, error.filename) == (
        "/run cannot be written: full; free space",
        errno.ENOSPC,
        "/run",
    )


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_folders_is_written_to_all_the_same(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def files_only(number: int) -> None:
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(code, os.strerror(code))
        synced.append(number)

    monkeypatch.setattr(os, "fsync", files_only)
    make_folder(tmp_path / "run" / "records")
    write_atomically(tmp_path / "run" / "records" / "a", "whole")
    assert (tmp_path / "run" / "records" / "a").read_text() == "whole" and len(synced) == 1

    def nothing(number: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", nothing)
    with pytest.raises(OSError, match=os.strerror(code)):
        write_atomically(tmp_path / "run" / "records" / "a", "newer")
    assert (tmp_path / "run" / "records" / "a").read_text() == "whole"


def test_an_older_attempt_is_asked_right_before_its_part_would_count(tmp_path: Path) -> None:
    old = store.Store(tmp_path, attempts.begin(tmp_path))
    old.write([], [])
    attempts.begin(tmp_path)
    with pytest.raises(attempts.Superseded):
        old.write([result("a")], [])
    assert list((tmp_path / store.RECORDS).iterdir()) == []


def test_a_full_disk_in_the_cpu_step_is_no_failure_of_a_record(tmp_path: Path) -> None:
    png = io.BytesIO()
    PIL.Image.new("RGB", (2, 2)).save(png, "PNG")

    def prepare(row: Row) -> tuple[Row, tuple[Failure, ...]]:
        fetch_once(tmp_path, "http://a/b.png", png.getvalue)
        return row, ()

    engine = ScriptedConfig(script="tests.scripted:echoes")
    task = Pass("test", tmp_path, None, engine, prepare)
    with failing(1, errno.ENOSPC), pytest.raises(DiskError, match="cannot be written"):
        prepared(task, packed({"id": "r1"}))
    assert prepared(task, packed({"id": "r1"}))["failures"] == "[]"


def commands(folder: Path, run: Path) -> dict[str, list[str]]:
    """Commands that write, without Ray: their name and arguments."""
    return {
        "picturenews": ["--events", "1", "--out", str(folder / "news")],
        "init": ["build", "--out", str(folder / "build.yaml")],
        "inspect": [str(run), "--out", str(folder / "pages" / "inspect.html")],
        "serve": ["key", "--name", "team", "--out", str(folder / "keys.yaml")],
    }


@pytest.mark.parametrize("command", ["picturenews", "init", "inspect", "serve"])
def test_a_command_ends_in_one_line_whichever_of_its_writes_fails(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    job(run, partial(work, run, frozenset("d")))

    def called(name: str) -> tuple[int, str]:
        code = cli.main([command, *commands(tmp_path / name, run)[command]])
        return code, capsys.readouterr().err

    (tmp_path / "whole").mkdir()
    with failing(0, 0) as calls:
        assert called("whole")[0] == 0
    assert calls[0]
    for number in {1, calls[0] // 2 + 1, calls[0]}:
        code = (errno.ENOSPC, errno.EIO)[number % 2]
        (tmp_path / f"{number}").mkdir()
        with failing(number, code):
            ended, printed = called(f"{number}")
        said = rf"{tmp_path}\S* cannot be written: {os.strerror(code)}.*(free space|check the disk)"
        assert ended == 1 and re.fullmatch(rf"imageref: {said} and run the same command again to resume\n", printed), (
            printed
        )


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_command_on_such_a_disk_ends_in_one_line(
    tmp_path: Path, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with failing(1, code):
        assert cli.main(["picturenews", "--events", "1", "--out", str(tmp_path / "news")]) == 1
    printed = capsys.readouterr().err
    said = rf"{tmp_path}\S* cannot be written: {os.strerror(code)}.*(free space|check the disk)"
    assert re.fullmatch(rf"imageref: {said} and run the same command again to resume\n", printed), printed
