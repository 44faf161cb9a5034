"""The IFEval report counts what the answers of a run follow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "ifeval"
NO_COMMA, LOWER = "punctuation:no_comma", "change_case:english_lowercase"
ROWS = [
    {"key": 1, "prompt": "a", "instruction_id_list": [NO_COMMA], "kwargs": [{}]},
    {"key": 2, "prompt": "b", "instruction_id_list": [NO_COMMA, LOWER], "kwargs": [{}, {}]},
]
ANSWERS = {
    "base": ["one, two", "One, two"],
    "warm_start": ["one two", "One two"],
    "aligned": ["one two", "this is one and the same sentence in english"],
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [
        {"model": model, "prompt_index": index, "completion": answers[index]}
        for model, answers in ANSWERS.items()
        for index in (1, 0)
    ]
    (tmp_path / "rollouts").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rollouts" / "test.parquet")
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def report(run: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, FOLDER / "report.py", run, "--test", run / "test.jsonl"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_report_counts_prompts_instructions_and_types(run: Path) -> None:
    done = report(run)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    accuracy = {
        model: [cell["accuracy"] for cell in cells.values()] for model, cells in found.items()
    }
    assert accuracy["base"][:2] == [0, 0]
    assert accuracy["warm_start"][:2] == [0.5, pytest.approx(2 / 3)]
    assert accuracy["aligned"] == [1, 1, 1, 1]
    strict = found["aligned"]["prompts, strict"]
    assert strict["gain"] == 1
    assert strict["gain_ci95"] == [1, 1]
    assert f"| {NO_COMMA} | 2 | 0 | 100 | 100 |" in done.stdout
    assert f"| {LOWER} | 1 | 0 | 0 | 100 |" in done.stdout


def test_a_run_without_all_answers_is_refused(run: Path) -> None:
    path = run / "rollouts" / "test.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    done = report(run)
    assert done.returncode == 1
    assert "has 5 test answers" in done.stderr


def test_intervals_hold_the_accuracy(load, run: Path) -> None:
    script = load("report")
    rng = np.random.default_rng(0)
    rows, answers = ROWS * 100, ["one two" if rng.random() < 0.4 else "a, b" for _ in range(200)]
    one = script.followed(rows, answers, is_loose=False)
    cell = script._summary(
        {(model, loose): one for model in script.MODELS for loose in (False, True)}
    )["base"]["prompts, strict"]
    low, high = cell["ci95"]
    assert low < cell["accuracy"] < high
    assert high - low < 0.2
