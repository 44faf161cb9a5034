"""`essa compare` with scripted runs: one warm start a seed, resuming, failing, the report."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from alignment_api.cli.main import main
from alignment_api.execution.event_lines import read_events
from alignment_api.execution.private_home import PrivateHome
from alignment_api.settings import Settings
from alignment_api.store.tables import comparisons
from essa.comparison.spec_file import load_comparison_file
from essa.spec import AdapterWarmStartSpec
from tests.integration.api_harness import wait_until
from tests.narrowing import of_kind

ROOT = Path(__file__).parents[2]
SCRIPT = shlex.join([sys.executable, str(ROOT / "tests" / "comparison_job.py")])
FILE = """
name: two ways
job:
  model: {path: org/model}
  data: {train: {path: train.jsonl}}
  reward: {type: sentiment}
arms:
  essa:
  grpo: {method: {type: grpo}}
reference: grpo
seeds: [0, 1]
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("ESSA_JOB_COMMAND", SCRIPT)
    monkeypatch.chdir(tmp_path)
    rows = [json.dumps({"prompt": f"p{n}"}) for n in range(16)]
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    path = tmp_path / "compare.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def essa(file: Path, tmp_path: Path) -> Callable[..., int]:
    def run(*given: str) -> int:
        usual = ["compare", str(file), "--out", "out", "--home", str(tmp_path / "home")]
        return main([*usual, *given])

    return run


def started_from(place: Path, run: str) -> str:
    """The adapter that a run was given."""
    with PrivateHome(place / "out", Settings(home=place / "home")) as home:
        return of_kind(AdapterWarmStartSpec, home.jobs.spec(f"runs/{run}").warm_start).path


def test_every_arm_runs_with_every_seed_and_the_report_holds_them_against_each_other(
    essa, tmp_path, capsys
):
    assert essa() == 0
    lines = capsys.readouterr().out.splitlines()
    begun = [line.partition(" (")[0] for line in lines if " runs in " in line and "seed" in line]
    assert begun == ["essa, seed 0", "grpo, seed 0", "grpo, seed 1", "essa, seed 1"]
    # The first of each seed makes the warm start, the other starts from it.
    assert sorted(path.parent.name for path in tmp_path.glob("out/runs/*/trained")) == [
        "essa-0",
        "grpo-1",
    ]
    assert started_from(tmp_path, "essa-1") == str(tmp_path / "out/runs/grpo-1/warm_start")
    report = (tmp_path / "out" / "report.md").read_text()
    # essa reaches 0.7 at 15 s and grpo at 45 s, whoever made the warm start.
    assert "| essa | 2 of 2 | 15.0 s; 3× |" in report
    assert "Made by `essa compare report out`." in report
    assert "| numpy | 2.0 |" in report
    assert '| grpo | method.type | "evolution" | "grpo" |' in report


def test_what_is_finished_is_not_run_again(essa, tmp_path, capsys):
    assert essa() == 0
    report = (tmp_path / "out" / "report.html").read_text()
    capsys.readouterr()
    assert essa() == 0
    assert capsys.readouterr().out.count("is finished") == 4
    assert (tmp_path / "out" / "report.html").read_text() == report
    (tmp_path / "out" / "report.html").unlink()
    assert main(["compare", "report", "out"]) == 0
    assert (tmp_path / "out" / "report.html").read_text() == report


def test_a_folder_without_a_store_is_that_of_an_earlier_version(essa, tmp_path, capsys):
    assert essa() == 0
    report = (tmp_path / "out" / "report.html").read_text()
    with PrivateHome(tmp_path / "out", Settings(home=tmp_path / "home")) as home:
        (row,) = home.store.read(sa.select(comparisons))
    shutil.rmtree(tmp_path / "out" / ".essa")
    (tmp_path / "out" / "comparison.json").write_text(row["spec"])
    (tmp_path / "out" / "report.html").unlink()
    assert main(["compare", "report", "out"]) == 0
    assert (tmp_path / "out" / "report.html").read_text() == report
    capsys.readouterr()
    assert essa() == 0
    assert capsys.readouterr().out.count("is finished") == 4


def test_a_run_that_broke_resumes_and_its_warm_start_is_not_made_again(essa, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "break-essa-0").touch()
    one_seed = ("--set", "seeds=[0]")
    assert essa(*one_seed) == 1
    shown = capsys.readouterr().out
    assert "essa, seed 0 failed: the job process ended by signal 9" in shown
    assert "grpo, seed 0 (2 of 2) is left out: essa has no warm start" in shown
    report = (tmp_path / "out" / "report.md").read_text()
    assert "essa, seed 0 (runs/essa-0) is failed." in report
    assert essa(*one_seed) == 0
    assert (tmp_path / "out/runs/essa-0/trained").read_text() == "once\n"
    events = read_events(tmp_path / "out" / "runs" / "essa-0")
    assert [event.type for event in events][:2] == ["warm_start", "validation"]


def test_ctrl_c_ends_the_run_and_the_comparison_and_both_resume(essa, file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "hang-essa-0").touch()
    program = (
        # Where tests run in processes of their own, those ignore it, and so would this one.
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from alignment_api.cli.main import main;"
        "main(sys.argv[1:])"
    )
    given = ["compare", str(file), "--out", "out", "--home", str(tmp_path / "home")]
    running = tmp_path / "out/runs/essa-0/pid"
    with subprocess.Popen(
        [sys.executable, "-c", program, *given], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as comparison:
        try:
            wait_until(running.exists, "the first run")
            comparison.send_signal(signal.SIGINT)
            shown, _ = comparison.communicate(timeout=60)
        finally:
            comparison.kill()
    assert b"grpo, seed 0" not in shown
    assert not Path(f"/proc/{running.read_text()}").exists()
    assert essa() == 0
    assert (tmp_path / "out/runs/essa-0/trained").read_text() == "once\n"


def test_a_run_that_fails_does_not_stop_the_others(essa, tmp_path, capsys):
    assert essa("--set", "arms.grpo.budget.tokens=13") == 1
    shown = capsys.readouterr().out
    assert "engine_start" in shown
    assert "essa, seed 1 (4 of 4) is left out" in shown
    assert (tmp_path / "out/runs/essa-0/result.json").exists()
    assert "| essa | 0 | " in (tmp_path / "out" / "report.md").read_text()


def test_seeds_can_be_added_and_nothing_else(essa, tmp_path, capsys):
    assert essa("--set", "seeds=[0]") == 0
    assert essa() == 0
    assert capsys.readouterr().out.count("is finished") == 2
    assert essa("--set", "job.batch_size=8") == 2
    assert "holds another comparison" in capsys.readouterr().err


def test_a_given_adapter_is_used_as_it_is(essa, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    given = ("--set", "seeds=[0]", "--set", "job.warm_start={type: adapter, path: adapter}")
    assert essa(*given) == 0
    assert not list(tmp_path.glob("out/runs/*/trained"))
    for run in ("essa-0", "grpo-0"):
        assert started_from(tmp_path, run) == str(tmp_path / "adapter")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("arms.grpo.method.learning_rat=1", "arms.grpo.method.learning_rat = 1: there is no such"),
        ("arms.grpo.reward.type=length", "arms.grpo.reward: not the same task"),
        ("arms.essa.model.path=other", "arms.essa.model: not the same task"),
        ("arms.essa.seed=3", "arms.essa.seed: the comparison sets this itself"),
        ("job.batch_size=1", "job.batch_size = 1: set it to 2 or more"),
        ("reference=sft", "reference = 'sft': use one of essa, grpo"),
        ("seeds=[1, 1]", "seeds = [1, 1]: a seed is given twice"),
        ("arms.grpo.method.mini_batch=7", "arms.grpo.method.mini_batch = 7"),
        ("job.data.train.path=none.jsonl", "arms.essa: data.train.path"),
        ("job=3", "--set job=... replaces the whole job"),
    ],
)
def test_a_wrong_comparison_names_arm_and_field_and_runs_nothing(
    file, tmp_path, capsys, override, words
):
    given = ["compare", str(file), "--out", "out", "--home", str(tmp_path / "home")]
    assert main([*given, "--set", override]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_job_may_be_a_file_and_its_paths_count_from_there(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "job.yaml").write_text(
        "model: {path: org/model}\ndata: {train: {path: t.jsonl}}\nreward: {type: sentiment}\n"
    )
    path = tmp_path / "c.yaml"
    path.write_text("job: jobs/job.yaml\narms: {a: {}, b: {batch_size: 8}}\nreference: a\n")
    spec = load_comparison_file(path)
    assert spec.job["data"]["train"]["path"] == str(tmp_path / "jobs" / "t.jsonl")
    assert spec.seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["compare", "report"], "name the folder"),
        (["compare", "report", "nowhere"], "name a folder that `essa compare` has made"),
        (["compare", "nowhere.yaml"], "the comparison file nowhere.yaml cannot be read"),
        (["compare", "a.yaml", "b"], "one argument too many"),
    ],
)
def test_a_wrong_call_says_what_to_write(tmp_path, monkeypatch, capsys, given, words):
    monkeypatch.chdir(tmp_path)
    assert main(given) == 2
    assert words in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
