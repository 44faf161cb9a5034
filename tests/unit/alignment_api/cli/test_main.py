"""The command line itself: help, mistakes, completion; what commands do is tested with them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from alignment_api.cli.main import build_app, main

ROOT = Path(__file__).parents[4]
SLOW = ("pydantic", "numpy", "httpx", "sqlalchemy", "fastapi", "uvicorn", "torch", "ray", "vllm")


def commands(app: App) -> Iterator[App]:
    for name, command in app.resolved_commands().items():
        if not name.startswith("-"):
            yield command
            yield from commands(command)


def test_no_command_imports_anything_slow_before_it_runs() -> None:
    code = (
        "import json, sys\nfrom alignment_api.cli.main import build_app\n"
        "build_app().resolved_commands()\nprint(json.dumps(list(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    modules = json.loads(ended.stdout)
    assert "alignment_api.cli.commands.serve" in modules
    assert [name for name in SLOW if name in modules] == []


def test_help_has_a_line_for_every_command(capsys) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, command in build_app().resolved_commands().items():
        assert name in shown
        assert command.help, name


def test_every_parameter_is_explained() -> None:
    found = {one.name[0]: one for one in commands(build_app()) if one.default_command}
    assert {"serve", "list", "add", "thresholds", "plan"} <= found.keys()
    for name, command in found.items():
        for argument in command.assemble_argument_collection(parse_docstring=True):
            assert argument.parameter.help or not argument.show, f"{name}: {argument.name}"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rnu"], 'Unknown command "rnu". Did you mean "run"?'),
        (["keys", "lst"], 'Did you mean "list"?'),
        (["run", "job.yaml", "--hom", "x"], "Unknown option: --hom. Did you mean --home?"),
        (["run", "job.yaml", "--home"], "--home requires an argument. See `essa run --help`."),
        (["run"], '"run" parameter JOB_FILE requires an argument'),
        (["run", "job.yaml", "other.yaml"], "Unused Tokens: ['other.yaml']"),
        (["list", "--limit", "many"], '--limit: unable to convert "many" into int'),
        (["list", "--limit", "5.5"], '--limit: unable to convert "5.5" into int'),
        (["plan", "--gpus-per-engine=1.0"], '--gpus-per-engine: unable to convert "1.0" into int'),
        (["export", "ftjob-1"], "--out requires an argument"),
        (["drift", "--task", "job.yaml"], "RUNS requires an argument"),
        (["sweep", "thresholds", "job.yaml", "--out", "x"], "--grid requires an argument"),
        (["doctor", "--no-json"], "Unknown option: --no-json"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_exits_2(capsys, words, told) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("words", [[], ["keys"], ["sweep"]])
def test_to_name_no_command_is_a_mistake(capsys, words) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert "Commands" in shown.err
    assert shown.out == ""
    assert main([*words, "-h"]) == 0
    assert "Commands" in capsys.readouterr().out


def test_flags_may_stand_anywhere_and_be_repeated() -> None:
    words = ["run", "--set", "a.b=1", "job.yaml", "--set=reward={type: regex}", "--home", "x"]
    _, bound, _ = build_app().parse_args([*words, "--home", "y"])
    given = {**bound.arguments}
    assert given.pop("job_file") == Path("job.yaml")
    assert given == {"overrides": ["a.b=1", "reward={type: regex}"], "home": Path("y")}


def test_the_service_is_taken_from_the_environment_unless_it_is_named(monkeypatch) -> None:
    monkeypatch.setenv("ESSA_URL", "http://there:1")
    monkeypatch.setenv("ESSA_API_KEY", "secret")
    app = build_app()
    assert app.parse_args(["list"])[1].arguments == {"server": "http://there:1", "key": "secret"}
    given = app.parse_args(["list", "--server", "http://here:2"])[1].arguments
    assert given["server"] == "http://here:2"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_and_flags(shell) -> None:
    script = build_app().generate_completion(shell=shell)
    for word in ("proxy-points", "thresholds", "run-dir", "cpu-core"):
        assert word in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_a_word() -> None:
    lines = (
        'COMP_WORDS=(essa val); COMP_CWORD=1; _essa; echo "${COMPREPLY[@]}"',
        'COMP_WORDS=(essa run --ru); COMP_CWORD=2; _essa; echo "${COMPREPLY[@]}"',
    )
    script = "\n".join((build_app().generate_completion(shell="bash"), *lines))
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["validate", "--run-dir"]
