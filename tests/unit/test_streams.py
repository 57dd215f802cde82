"""A command whose output pipe is closed, or cannot be written, ends quietly; real pipes of a real shell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imageref_ray.commands import streams
from imageref_ray.picturenews import corpus

ROOT = Path(__file__).parents[2]
IMAGEREF = f"{sys.executable} -m imageref_ray"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus, and an annotation file with so many breaches that no pipe holds the report."""
    folder = tmp_path_factory.mktemp("files")
    corpus.write(folder, 2, 5)
    turns = [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "Here.\nIMAGE_9"}]
    rows = [{"id": f"row-{number}", "conversations": turns} for number in range(1500)]
    (folder / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def shell(line: str, folder: Path) -> tuple[list[int], str]:
    """The exit codes of a line's commands, and all that went to stderr."""
    line = line.format(imageref=IMAGEREF, folder=folder)
    done = subprocess.run(
        ["bash", "-c", f'{line}; echo "${{PIPESTATUS[@]}}"'],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(code) for code in done.stdout.splitlines()[-1].split()], done.stderr


def unread(arguments: str, folder: Path, both: bool = False, **environment: str) -> tuple[int, bytes]:
    """Exit code and stderr of a command whose output had lost its reader before it began."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [*IMAGEREF.split(), *arguments.format(folder=folder).split()]
    errors = writer if both else subprocess.PIPE
    started = subprocess.Popen(command, cwd=ROOT, env={**ENVIRONMENT, **environment}, stdout=writer, stderr=errors)
    os.close(writer)
    _, printed = started.communicate()
    return started.returncode, printed or b""


def test_what_is_longer_than_a_pipe_ends_with_its_reader(files: Path) -> None:
    codes, errors = shell("{imageref} check {folder}/many.jsonl --first 100000 | head -n 1", files)
    assert (codes, errors) == ([streams.PIPE_CLOSED, 0], "")


@pytest.mark.parametrize(
    "arguments",
    [
        "score --labels {folder}/label.csv --predictions {folder}/insertion.jsonl",
        "check {folder}/many.jsonl",
        "picturenews --events 1 --out {folder}/more",
        "--help",
        "build --help",
    ],
)
def test_a_closed_pipe_is_not_reported(arguments: str, files: Path) -> None:
    assert unread(arguments, files) == (streams.PIPE_CLOSED, b"")


def test_an_output_without_a_buffer_ends_quietly_too(files: Path) -> None:
    assert unread("check {folder}/many.jsonl", files, PYTHONUNBUFFERED="1") == (streams.PIPE_CLOSED, b"")


def test_an_error_message_into_a_closed_pipe_ends_quietly_too(files: Path) -> None:
    assert unread("score --labels nowhere.csv --predictions nowhere.jsonl", files, both=True)[0] == streams.PIPE_CLOSED
    assert unread("check {folder}/many.jsonl", files, both=True)[0] == streams.PIPE_CLOSED


def test_a_table_of_rich_ends_quietly_too() -> None:
    code = (
        "import sys; from imageref_ray.commands import streams; from rich.console import Console\n"
        "sys.exit(streams.run_guarded(lambda: Console().print('a table') or 0))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (streams.PIPE_CLOSED, b"")


FULL = "the output cannot be written: No space left on device; free space or write it to another disk"


@pytest.mark.parametrize("command", ["check {folder}/many.jsonl --first 100000", "check {folder}/many.jsonl", "--help"])
def test_a_full_disk_is_one_line_and_exit_code_1(command: str, files: Path) -> None:
    assert shell(f"{{imageref}} {command} > /dev/full", files) == ([1], f"imageref: {FULL}\n")


def test_a_closed_output_is_none_and_the_code_is_the_commands_own(files: Path) -> None:
    assert shell("{imageref} check {folder}/many.jsonl >&-", files) == ([1], "")
    assert shell("{imageref} score --labels {folder}/label.csv --predictions {folder}/insertion.jsonl >&-", files) == (
        [0],
        "",
    )
    assert shell("{imageref} score --labels nowhere.csv --predictions nowhere.jsonl >&- 2>&-", files) == ([2], "")


def test_a_closed_output_is_never_the_next_file_that_is_opened(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys; from imageref_ray.commands import streams\n"
        "def run():\n"
        "    file = open(sys.argv[1], 'w')\n"
        "    print('to nobody'); sys.stdout.flush(); subprocess.run(['echo', 'to nobody'], check=True)\n"
        "    return file.fileno()\n"
        "sys.exit(streams.run_guarded(run))"
    )
    line = f'{sys.executable} -c "$CODE" {tmp_path / "file"}'
    done = subprocess.run(
        ["bash", "-c", f"{line} <&- >&- 2>&-"], cwd=ROOT, env={**os.environ, "CODE": code}, check=False
    )
    assert done.returncode > 2
    assert (tmp_path / "file").read_text() == ""


def test_somebody_elses_broken_pipe_is_not_taken_for_ours() -> None:
    def run() -> int:
        raise BrokenPipeError("a connection to an endpoint")

    with pytest.raises(BrokenPipeError):
        streams.run_guarded(run)


def test_a_name_that_is_not_text_is_printed_with_its_bytes_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    assert streams.run_guarded(lambda: print("caf\udce9.png") or 0) == 0
    assert capsys.readouterr().out == "caf\\udce9.png\n"
