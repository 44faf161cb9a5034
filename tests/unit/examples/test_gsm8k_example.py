"""The job file and the data preparation of examples/gsm8k."""

from __future__ import annotations

import json
import os
import runpy
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from essa.spec import AlignmentJobSpec, ChatPromptSpec, SftWarmStartSpec
from tests.narrowing import of_kind, present

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "examples" / "gsm8k"
SIZES = {"sft": 1495, "validation": 500, "train": 5478, "test": 1319}
PREPARE = runpy.run_path(str(FOLDER / "prepare.py"))


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module")
def official() -> Path:
    data = Path(os.environ.get("ESSA_DATA_DIR", ROOT.parent / "shared" / "data"))
    folder = data / "gsm8k"
    if not (folder / "train.jsonl").is_file():
        pytest.skip(f"GSM8K is not in {folder}; set ESSA_DATA_DIR to the folder that holds gsm8k/")
    return folder


@pytest.fixture(scope="module")
def prepared(official: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    out = tmp_path_factory.mktemp("gsm8k")
    assert PREPARE["main"]([str(official), "--out", str(out)]) == 0
    return {name: read_rows(out / f"{name}.jsonl") for name in SIZES}


def test_job_file_has_the_papers_settings() -> None:
    spec = AlignmentJobSpec.model_validate(
        yaml.safe_load((FOLDER / "job.yaml").read_text(encoding="utf-8"))
    )
    assert spec.model.path == "Qwen/Qwen2.5-Math-7B"
    warm_start = of_kind(SftWarmStartSpec, spec.warm_start)
    assert (warm_start.lora.rank, spec.search.alpha) == (32, 0.1)
    assert (spec.search.population, spec.batch_size) == (96, 100)
    sft = warm_start.sft
    assert (sft.learning_rate, sft.batch_size, sft.epochs) == (1e-4, 16, 1)
    assert "\\boxed{}" in present(of_kind(ChatPromptSpec, spec.data.prompt).system)


def test_official_problems_are_cut_into_the_papers_sizes(prepared) -> None:
    assert {name: len(rows) for name, rows in prepared.items()} == SIZES


def test_no_problem_is_in_two_sets(prepared) -> None:
    questions = {name: {row["prompt"] for row in rows} for name, rows in prepared.items()}
    assert {name: len(found) for name, found in questions.items()} == SIZES
    for left, right in combinations(questions.values(), 2):
        assert not left & right


def test_test_set_is_the_official_one_in_its_order(prepared, official) -> None:
    rows = read_rows(official / "test.jsonl")
    assert [row["prompt"] for row in prepared["test"]] == [row["question"].strip() for row in rows]
    finals = [row["answer"].split("####")[1].strip().replace(",", "") for row in rows]
    assert [row["answer"] for row in prepared["test"]] == finals


def test_every_answer_is_a_number_and_every_completion_ends_in_one(prepared) -> None:
    for name in ("train", "validation", "test"):
        assert all(set(row) == {"prompt", "answer"} for row in prepared[name])
        assert all(float(row["answer"]) == float(row["answer"]) for row in prepared[name])
    for row in prepared["sft"]:
        assert "<<" not in row["completion"]
        assert "####" not in row["completion"]
        float(row["completion"].rsplit("\\boxed{", 1)[1].removesuffix("}."))


def test_official_row_loses_calculator_marks_and_thousands_separators() -> None:
    line = json.dumps(
        {"question": " How many? ", "answer": "It is 2*600=<<2*600=1200>>1,200.\n#### 1,200"}
    )
    assert PREPARE["parse_problem"](line, "here") == {
        "prompt": "How many?",
        "solution": "It is 2*600=1,200.",
        "answer": "1200",
    }


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("not json", "expected `question`"),
        ('{"question": "How many?"}', "expected `question`"),
        ('{"question": "How many?", "answer": "Three."}', "does not end in"),
    ],
)
def test_row_that_is_not_gsm8k_is_named(tmp_path: Path, capsys, line: str, part: str) -> None:
    (tmp_path / "train.jsonl").write_text(f"\n{line}\n", encoding="utf-8")
    assert PREPARE["main"]([str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert part in message
    assert "train.jsonl, line 2" in message


def test_missing_and_short_sources_are_refused_without_writing(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert PREPARE["main"]([str(tmp_path), "--out", str(out)]) == 2
    assert "does not exist" in capsys.readouterr().err
    row = json.dumps({"question": "How many?", "answer": "One.\n#### 1"})
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text(row + "\n", encoding="utf-8")
    assert PREPARE["main"]([str(tmp_path), "--out", str(out)]) == 2
    assert "has 1 problems" in capsys.readouterr().err
    assert not out.exists()
