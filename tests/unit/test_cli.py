"""The command line: help that helps, and one line with exit code 2 for what the user got wrong."""

import json
from pathlib import Path

import pytest

from imageref_ray.commands import table
from imageref_ray.commands.cli import main, parser
from imageref_ray.dataset.paper_formats import read_questions, write_answers

COMMANDS = [command.name for command in table.COMMANDS]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_is_for_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    assert f"example: imageref {command}" in printed
    assert max(map(len, printed.splitlines())) <= 120


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_every_command_parses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    lines = capsys.readouterr().out.splitlines()
    example = next(line for line in lines if line.startswith("example: imageref "))
    assert parser().parse_args(example.split()[2:]).command.name == command  # no argument has taken its place


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--config nowhere.yaml", "config file nowhere.yaml does not exist"),
        ("--config {file} --set engin.model=x", "unknown key engin (did you mean engine?)"),
        ("--config {file} --set engine.actors", "expected key=value"),
        ("--config {file} --set engine=[", "not valid YAML"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "build.yaml"
    file.write_text("source: {root: corpus}\nengine: {model: some/model}\noutput: out\n")
    assert main(["build", *arguments.format(file=file).split()]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("imageref: ") and printed.err.count("\n") == 1
    assert message in printed.err


def test_an_unknown_command_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bild"])
    assert stopped.value.code == 2
    assert "picturenews" in capsys.readouterr().err


def test_picturenews_and_score_run_without_any_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["picturenews", "--events", "2", "--seed", "5", "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    files = ["--labels", str(tmp_path / "label.csv"), "--predictions", str(tmp_path / "insertion.jsonl")]
    assert main(["score", *files]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["events"] == 2
    assert printed["f1"] == 1
    data, answers = tmp_path / "annotation.plain.jsonl", tmp_path / "answers.jsonl"
    questions = read_questions(data, tmp_path)
    texts = [*files[:2], "--answers", str(answers), "--data", str(data)]
    write_answers(answers, questions, {id: question.reference for id, question in questions.items()})
    assert main(["score", *texts]) == 0
    assert json.loads(capsys.readouterr().out)["f1"] == 1
    write_answers(answers, questions, dict.fromkeys(questions, "I cannot say."))
    assert main(["score", *texts]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and "none of 2 answers has a section" in printed.err
    for wrong in ([*texts, *files[2:]], texts[:4], files[:2]):
        assert main(["score", *wrong]) == 2
        assert "give either --predictions, or --answers and --data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a list", "is not a Ray Serve config"),
        ("applications: [{name: a, import_path: 'serve.ap:build'}]", "No module named 'serve.ap'"),
        ("applications: [{name: a, import_path: 'serve.app:build', args: {nam: x}}]", "did you mean name?"),
        (
            "applications: [{name: a, import_path: 'serve.app:build', args: {prompts: compat}}]",
            "no pack is called compat",
        ),
        (
            "applications: [{name: a, import_path: 'serve.app:build', deployments: [{name: Endpoint}]}]",
            "imageref serve does not read deployments; `serve run",
        ),
    ],
)
def test_a_wrong_serve_config_is_refused_before_anything_starts(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(text)
    assert main(["serve", "--config", str(file)]) == 2
    assert message in capsys.readouterr().err
