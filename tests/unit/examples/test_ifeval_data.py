"""The generated data and the job file of examples/ifeval."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from reward.ifeval import KNOWN_IDS
from reward.ifeval.registry import argument_problem

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "examples" / "ifeval"
COLUMNS = {"key", "prompt", "instruction_id_list", "kwargs"}
SIZES = {"train": 1200, "validation": 160}
# Rows in IFEval's form that share nothing with the example.
TESTED = [
    {
        "key": 1,
        "prompt": "Greet me.",
        "instruction_id_list": ["startend:quotation"],
        "kwargs": [{}],
    },
    {"key": 2, "prompt": "Sing.", "instruction_id_list": ["startend:quotation"], "kwargs": [{}]},
]


@pytest.fixture(scope="module")
def sets(load) -> dict[str, list[dict[str, Any]]]:
    return load("make_data").build_sets(0, SIZES)


@pytest.fixture
def ifeval(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "prompts.jsonl", TESTED)


@pytest.fixture(scope="module")
def official() -> Path:
    data = Path(os.environ.get("ESSA_DATA_DIR", ROOT.parent / "shared" / "data"))
    path = data / "ifeval" / "prompts.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} does not exist; set ESSA_DATA_DIR to the folder that holds ifeval/")
    return path


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def all_rows(sets: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [row for rows in sets.values() for row in rows]


def shares(rows: list[dict[str, Any]]) -> dict[str, float]:
    counts = Counter(kind for row in rows for kind in row["instruction_id_list"])
    return {kind: count / counts.total() for kind, count in counts.items()}


def test_rows_have_the_columns_of_ifeval_and_known_ids_with_usable_arguments(sets) -> None:
    assert {name: len(rows) for name, rows in sets.items()} == SIZES
    for row in all_rows(sets):
        assert set(row) == COLUMNS | {"request"}
        assert len(row["instruction_id_list"]) == len(row["kwargs"])
        for kind, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            assert argument_problem(kind, kwargs) is None
            # Other programs do not fall back on the prompt.
            assert kind != "combination:repeat_prompt" or "prompt_to_repeat" in kwargs


def test_arguments_have_the_names_that_ifeval_gives_them(sets, official) -> None:
    def names(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
        return {
            kind: set(kwargs)
            for row in rows
            for kind, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True)
        }

    assert names(all_rows(sets)) == names(read_rows(official))


def test_every_type_occurs_in_both_sets_as_often_as_in_ifeval(sets, load) -> None:
    wanted = load("arguments").SHARES
    assert set(wanted) == set(KNOWN_IDS)
    for rows in sets.values():
        found = shares(rows)
        for kind, count in wanted.items():
            assert found[kind] == pytest.approx(count / sum(wanted.values()), abs=0.005)


def test_shares_are_those_of_the_official_file(load, official) -> None:
    counts = Counter(kind for row in read_rows(official) for kind in row["instruction_id_list"])
    assert counts == load("arguments").SHARES


def test_rows_have_one_to_three_different_types(sets) -> None:
    sizes = Counter(len(row["kwargs"]) for row in sets["train"])
    assert set(sizes) == {1, 2, 3}
    assert sizes[1] > sizes[2] > sizes[3] > 100
    assert all(len(set(row["instruction_id_list"])) == len(row["kwargs"]) for row in all_rows(sets))


def test_no_prompt_is_asked_twice_and_no_request_is_in_both_sets(sets) -> None:
    prompts = [row["prompt"] for row in all_rows(sets)]
    assert len(prompts) == len(set(prompts))
    requests = {name: {row["request"] for row in rows} for name, rows in sets.items()}
    assert len(requests["train"]) > 140
    assert len(requests["validation"]) > 25
    assert not requests["train"] & requests["validation"]
    assert all(row["request"] in row["prompt"] for row in all_rows(sets))


def test_requests_hold_no_comma_and_enough_keywords() -> None:
    source = yaml.safe_load((FOLDER / "base_requests.yaml").read_text(encoding="utf-8"))
    asks = [each["ask"] for each in source["requests"]] + source["questions"]
    assert len(set(asks)) == len(asks)
    assert not [ask for ask in asks if "," in ask]
    # Three types of instruction take up to five of them.
    assert all(len(set(each["words"])) == 5 for each in source["requests"])


def test_every_type_has_several_wordings(load) -> None:
    wordings = yaml.safe_load((FOLDER / "wordings.yaml").read_text(encoding="utf-8"))
    assert set(wordings) == set(load("arguments").SHARES)
    for choices in wordings.values():
        for group in choices.values() if isinstance(choices, dict) else [choices]:
            assert len(set(group)) == len(group) >= 3


def test_same_seed_same_files_and_another_seed_other_files(load, ifeval, tmp_path) -> None:
    texts = []
    for seed in ("7", "7", "8"):
        out = tmp_path / f"out{len(texts)}"
        options = ["--train", "60", "--validation", "20", "--seed", seed, "--out", str(out)]
        assert load("make_data").main(["--ifeval", str(ifeval), *options]) == 0
        texts.append([(out / f"{name}.jsonl").read_text(encoding="utf-8") for name in SIZES])
        assert (out / "test.jsonl").read_bytes() == ifeval.read_bytes()
        for name, size in (("train", 60), ("validation", 20)):
            rows = read_rows(out / f"{name}.jsonl")
            assert len(rows) == size
            assert all(set(row) == COLUMNS for row in rows)
    assert texts[0] == texts[1]
    assert texts[0][0] != texts[2][0]


def test_no_generated_prompt_has_eight_words_of_an_official_one(load, sets, official) -> None:
    make_data = load("make_data")
    make_data.check_against(sets, make_data.read_tested_prompts(official))


@pytest.mark.parametrize("part", ["prompt", "request", "run of words"])
def test_text_of_the_test_set_stops_the_script_before_it_writes(
    load, tmp_path, capsys, part: str
) -> None:
    long = max(load("make_data").build_sets(0, {"train": 60})["train"], key=len_of_prompt)
    leaked = {
        "prompt": long["prompt"].upper(),
        "request": f"Well: {long['request']} Now!",
        "run of words": "Hey " + " ".join(long["prompt"].split()[-12:]),
    }[part]
    path = write_rows(tmp_path / "prompts.jsonl", [*TESTED, TESTED[0] | {"prompt": leaked}])
    out = tmp_path / "out"
    options = ["--train", "60", "--validation", "20", "--out", str(out)]
    assert load("make_data").main(["--ifeval", str(path), *options]) == 2
    assert "overlaps with IFEval" in capsys.readouterr().err
    assert not out.exists()


def len_of_prompt(row: dict[str, Any]) -> int:
    return len(row["prompt"].split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("not json\n", "line 1: expected key, prompt"),
        ('\n{"prompt": "Hello"}\n', "line 2: expected key, prompt"),
    ],
)
def test_file_that_is_not_ifeval_is_named(load, tmp_path, capsys, text, message: str) -> None:
    path = tmp_path / "prompts.jsonl"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    options = ["--train", "20", "--validation", "10", "--out", str(tmp_path / "out")]
    assert load("make_data").main(["--ifeval", str(path), *options]) == 2
    assert message in capsys.readouterr().err


def test_more_rows_than_the_questions_have_prompts_for_is_an_error(load, ifeval, capsys) -> None:
    options = ["--train", "20", "--validation", "20000"]
    assert load("make_data").main(["--ifeval", str(ifeval), *options]) == 2
    assert "ask for fewer rows" in capsys.readouterr().err


def test_job_file_trains_and_scores_on_the_written_files() -> None:
    job = yaml.safe_load((FOLDER / "job.yaml").read_text(encoding="utf-8"))
    assert job["reward"] == {"type": "ifeval"}
    assert {name: job["data"][name]["path"] for name in ("train", "validation", "test")} == {
        name: f"{name}.jsonl" for name in ("train", "validation", "test")
    }
