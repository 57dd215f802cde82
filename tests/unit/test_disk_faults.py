"""A disk that is full or broken at any write: one sentence, no half file that counts, and then the run goes on."""

import asyncio
import errno
import io
import os
import pickle
import re
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import PIL.Image
import pytest

from imageref_ray.batch import attempts, manifest, store
from imageref_ray.batch.reply_cache import SqliteReplyCache
from imageref_ray.batch.worker import Pass, Row, packed, prepared
from imageref_ray.commands import cli, pages
from imageref_ray.core.config import ExportConfig, ScriptedConfig, check
from imageref_ray.core.durable import DiskError, make_folder, replacing, write_atomically, writing
from imageref_ray.core.records import Document, Failure, Image, Record, Sample
from imageref_ray.dataset.export import export, make_target
from imageref_ray.engines.base import EngineError
from imageref_ray.sources.download_cache import fetch_once
from imageref_ray.stages import prompts
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


@pytest.mark.parametrize(
    ("error", "free", "says"),
    [
        (Exception("Error while serializing: I/O error: No space left on device (os error 28)"), 0, "No space left"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), 0, "No space left"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), 2**30, "Input/output"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), 0, "No space left"),
        (sqlite3.OperationalError("database or disk is full"), 2**30, "No space left"),
        (sqlite3.OperationalError("disk I/O error"), 2**30, "Input/output error; check the disk"),
        (sqlite3.OperationalError("database is locked"), 0, "No space left"),
        (OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] …"), 0, "No space left on device ("),
    ],
)
def test_what_libraries_make_of_a_full_or_broken_disk_is_the_same_sentence(
    error: Exception, free: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(DiskError, match=re.escape(f"{tmp_path}/a cannot be written: {says}")), writing(tmp_path / "a"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Parent directory /run/model does not exist."),
        sqlite3.OperationalError("database is locked"),
        FileNotFoundError(errno.ENOENT, "no such file", "no space left on device"),
        ValueError("no answer"),
        EngineError("/another/file cannot be written: No space left on device; free space"),
    ],
)
def test_what_has_another_reason_stays_as_it_is(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as caught, writing(tmp_path / "a"):
        raise error
    assert caught.value is error


def small(cache: SqliteReplyCache) -> None:
    """Let the file have no room, as a full disk."""
    cache._file.execute("PRAGMA max_page_count = 3")


def test_a_reply_cache_without_room_says_which_file_it_is_and_serves_what_it_has(tmp_path: Path) -> None:
    async def scenario() -> None:
        cache = SqliteReplyCache(tmp_path / "replies.sqlite")
        for key in ("a", "b"):
            assert await cache.claim(key, "worker") is None
        await cache.put("a", "short")
        small(cache)
        waiting = asyncio.create_task(cache.claim("b", "another"))
        await asyncio.sleep(0)
        with pytest.raises(DiskError, match=rf"^{tmp_path}/replies.sqlite cannot be written: No space left on device"):
            await cache.put("b", "long" * 10_000)
        assert (await cache.claim("a", "worker"), await waiting) == ("short", None)

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_file_that_is_no_reply_cache_is_named(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    path.write_bytes(b"no database" * 999)
    with pytest.raises(
        EngineError, match=rf"^the reply cache {path} .*: file is not a database; restore the file or mov"
    ):
        SqliteReplyCache(path)


def test_an_image_that_a_broken_disk_does_not_give_is_not_left_out_of_the_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0.png").write_bytes(b"pixels")
    sample = Sample("r1", "?", (Document("d", "T", "", (Image("d/0.png", str(tmp_path / "0.png")),)),))
    config = check(ExportConfig, {"formats": ["parquet"], "embed_images": True}, "test")
    target = make_target(tmp_path, prompts.load_pack("compact"), config)

    def broken(path: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(DiskError, match=rf"cannot be read: .*{tmp_path}/0.png.*check the disk"):
        export(tmp_path / "set", lambda: iter([Record(sample, "# T")]), target, None)
    assert list((tmp_path / "set").iterdir()) == []


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


def test_a_page_stays_where_the_disk_has_no_room_for_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to("page.html")
    assert pages.write(tmp_path / "link.html", "whole") == 5
    with (
        failing(2, errno.ENOSPC),
        pytest.raises(DiskError, match=rf"^{tmp_path}/page.html cannot be written: No"),
    ):
        pages.write(tmp_path / "link.html", "newer")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"page.html": "whole", "link.html": "whole"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_command_on_such_a_disk_ends_in_one_line(
    tmp_path: Path, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with failing(1, code):
        assert cli.main(["picturenews", "--events", "1", "--out", str(tmp_path / "news")]) == 1
    printed = capsys.readouterr().err
    said = rf"{tmp_path}\S* cannot be written: {os.strerror(code)}.*(free space|check the disk)"
    assert re.fullmatch(rf"imageref: {said} and run the same command again to resume\n", printed), printed
