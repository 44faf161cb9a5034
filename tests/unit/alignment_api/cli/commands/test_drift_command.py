"""`essa drift`: how runs are named, and what is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignment_api.cli.main import main


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("one/run", "two/run"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        (["one/run", "two/run"], "'run' names two models; write RUN as NAME=FOLDER"),
        (["base=one/run"], "'base' names two models"),
        (["one/nowhere"], "there is no folder"),
    ],
)
def test_runs_that_cannot_be_told_apart_or_found_are_refused(folders, runs, told, capsys):
    given = []
    for text in runs:
        name, is_named, folder = text.rpartition("=")
        given.append(f"{name}{is_named}{folders / folder}")
    task = str(folders / "task.yaml")
    assert main(["drift", *given, "--task", task, "--home", str(folders / "home")]) != 0
    assert told in capsys.readouterr().err


def test_the_task_must_be_a_job(folders, capsys):
    task = folders / "task.yaml"
    task.write_text("name: other\n")
    run = f"first={folders / 'one/run'}"
    assert main(["drift", run, "--task", str(task), "--home", str(folders / "home")]) != 0
    assert "model" in capsys.readouterr().err
