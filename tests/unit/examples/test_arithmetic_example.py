"""The data, the model and the job file of examples/arithmetic."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from essa.spec import AlignmentJobSpec, SftWarmStartSpec
from tests.narrowing import of_kind, present

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "arithmetic"
SIZES = {"test": 1000, "validation": 512, "train": 4000, "sft": 4000}


def read_rows(name: str) -> list[dict[str, Any]]:
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("left", "op", "right", "answer", "careless"),
    [
        (123, "+", 456, "579", "579"),
        (158, "+", 267, "425", "315"),
        (999, "+", 999, "1998", "1888"),
        (968, "-", 345, "623", "623"),
        (412, "-", 285, "127", "237"),
        (500, "-", 500, "0", "0"),
    ],
)
def test_careless_teacher_forgets_every_carry_and_borrow(
    load, left, op, right, answer, careless
) -> None:
    problem = load("problems").Problem(left, op, right)
    assert problem.answer == answer
    assert problem.careless_answer == careless


def test_committed_files_are_what_the_script_writes(load) -> None:
    files = load("make_data").build_rows()
    assert set(files) == {f"{name}.jsonl" for name in SIZES}
    for name, rows in files.items():
        assert read_rows(Path(name).stem) == rows


def test_no_problem_is_in_two_sets_or_twice_in_one() -> None:
    prompts = {name: [row["prompt"] for row in read_rows(name)] for name in SIZES}
    for name, expected in SIZES.items():
        assert len(prompts[name]) == len(set(prompts[name])) == expected
    for left, right in combinations(prompts.values(), 2):
        assert not set(left) & set(right)


def test_the_search_sees_right_answers_in_the_shifted_format() -> None:
    for name in ("train", "validation", "test"):
        for row in read_rows(name):
            question = row["prompt"]
            op = "+" if "+" in question else "-"
            left, right = map(int, question.removesuffix("?").split(op))
            assert row["answer"] == str(left + right if op == "+" else left - right)


def test_warm_start_pairs_are_wrong_about_as_often_as_stated(load) -> None:
    make_data = load("make_data")
    problems = make_data.draw_splits()["sft"]
    rows = read_rows("sft")
    tricky = [
        row["completion"] == problem.careless_answer
        for row, problem in zip(rows, problems, strict=True)
        if problem.answer != problem.careless_answer
    ]
    assert sum(tricky) / len(tricky) == pytest.approx(make_data.CARELESS_SHARE, abs=0.03)


def test_job_file_is_valid_and_points_at_the_data() -> None:
    spec = AlignmentJobSpec.model_validate(
        yaml.safe_load((FOLDER / "job.yaml").read_text(encoding="utf-8"))
    )
    assert (FOLDER / spec.model.path / "config.json").is_file()
    warm_start = of_kind(SftWarmStartSpec, spec.warm_start)
    datasets = (spec.data.train, present(spec.data.validation), present(spec.data.test), warm_start)
    assert [(FOLDER / present(dataset.path)).is_file() for dataset in datasets] == [True] * 4
    longest = max(len(row["answer"]) for row in read_rows("train"))
    assert spec.rollout.max_tokens == longest + 1


def test_committed_weights_are_small_and_readable_by_all() -> None:
    weights = FOLDER / "model" / "model.safetensors"
    assert 3_000_000 < weights.stat().st_size < 6_000_000


def test_tokenizer_gives_one_token_a_character_and_back() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "model")
    ids = tokenizer("907+58?").input_ids
    assert len(ids) == 7
    assert tokenizer.decode(ids) == "907+58?"
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True) == "907+58?"


@pytest.mark.engine
def test_base_model_knows_the_old_format_and_not_the_new_one(load) -> None:
    from transformers import AutoModelForCausalLM

    train_base, problems = load("train_base"), load("make_data").draw_splits()["validation"]
    model: Any = AutoModelForCausalLM.from_pretrained(FOLDER / "model")
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1e6, rel=0.05)
    assert train_base.exact_match(model, problems, "=") > 0.6
    assert train_base.exact_match(model, problems, "?") < 0.1


@pytest.mark.engine
def test_exact_match_agrees_with_greedy_generation(load) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    train_base, problems = load("train_base"), load("make_data").draw_splits()["validation"]
    sums = [problem for problem in problems if problem.op == "+"][:64]
    model: Any = AutoModelForCausalLM.from_pretrained(FOLDER / "model")
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "model")
    ids = torch.tensor([tokenizer(problem.prompt("=")).input_ids for problem in sums])
    written = model.generate(ids, max_new_tokens=5, do_sample=False)[:, ids.shape[1] :]
    texts = tokenizer.batch_decode(written, skip_special_tokens=True)
    hits = sum(text == problem.answer for text, problem in zip(texts, sums, strict=True))
    assert 0 < hits < len(sums)
    assert train_base.exact_match(model, sums, "=") == pytest.approx(hits / len(sums))


@pytest.mark.engine
def test_training_script_learns_and_saves_what_transformers_loads(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    command = [sys.executable, str(FOLDER / "train_base.py"), "--out", str(tmp_path / "model")]
    options = {"steps": 40, "batch-size": 32, "report-every": 20}
    command += [text for name, value in options.items() for text in (f"--{name}", str(value))]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    losses = [
        float(line.split("loss ")[1].split()[0])
        for line in printed.splitlines()
        if line.startswith("step")
    ]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").config.vocab_size == 16
    assert len(AutoTokenizer.from_pretrained(tmp_path / "model")) == 16


def test_training_leaves_out_reserved_problems(load) -> None:
    draw_pairs, draw_problem = load("train_base").draw_pairs, load("problems").draw_problem
    rng = random.Random(3)
    reserved = {draw_problem(rng) for _ in range(40)}
    drawn = draw_pairs(64, 0.0, random.Random(3), reserved)
    assert len(drawn) == 64
    assert not {prompt for prompt, _ in drawn} & {problem.prompt("=") for problem in reserved}
