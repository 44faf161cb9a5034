"""JSONL files and the three sets of a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from essa.data import JobData, draw_batch, load_job_data, read_jsonl
from essa.errors import DataError
from essa.spec import DatasetSpec, DataSpec
from essa.types import RenderedPrompt, Row
from tests.narrowing import present


def write(path: Path, count: int, prefix: str = "p") -> dict[str, Any]:
    lines = [json.dumps({"prompt": f"{prefix}{i}", "answer": i}) for i in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return {"path": str(path)}


def load(seed: int = 0, **parts: Any) -> JobData:
    return load_job_data(
        DataSpec.model_validate(parts),
        seed=seed,
        resolve=lambda dataset: Path(present(dataset.path)),
        render=lambda columns, index: RenderedPrompt(f"Q: {columns['prompt']}"),
    )


def indices(rows: tuple[Row, ...]) -> set[int]:
    return {row.index for row in rows}


# -- reading --------------------------------------------------------------------------------


def test_rows_are_read_in_order_and_blank_lines_skipped(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n   \n{"a": "zwei \u2028 drei"}\r\n', encoding="utf-8")
    assert read_jsonl(path) == [{"a": 1}, {"a": "zwei \u2028 drei"}]


def test_a_byte_order_mark_is_no_content(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_jsonl(path) == [{"a": 1}]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b'{"a": 1}\n{"a": \n', "line 2 is not JSON"),
        (b'{"a": 1}\n\n[1]\n', "line 3 is a list"),
        (b"\n \n", "no rows"),
        (b"", "no rows"),
        (b'{"a": "\xff"}', "not UTF-8"),
    ],
)
def test_unusable_files_are_named_with_the_line(tmp_path, content, named):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=named) as caught:
        read_jsonl(path)
    assert str(path) in caught.value.message


def test_missing_files_and_folders_are_data_errors(tmp_path):
    for path in (tmp_path / "nowhere.jsonl", tmp_path):
        with pytest.raises(DataError, match="cannot read"):
            read_jsonl(path)


# -- the three sets -------------------------------------------------------------------------


def test_given_sets_are_taken_as_they_are(tmp_path):
    data = load(
        train=write(tmp_path / "train.jsonl", 5),
        validation=write(tmp_path / "val.jsonl", 1, "v"),
        test=write(tmp_path / "test.jsonl", 2, "t"),
    )
    assert [row.prompt for row in data.train] == [f"Q: p{i}" for i in range(5)]
    assert data.validation == (Row(0, "Q: v0", {"prompt": "v0", "answer": 0}),)
    assert len(data.test) == 2
    assert data.notes == ()


def test_missing_sets_are_cut_from_train_without_overlap(tmp_path):
    data = load(train=write(tmp_path / "train.jsonl", 100))
    parts = [indices(data.train), indices(data.validation), indices(data.test)]
    assert [len(part) for part in parts] == [70, 15, 15]
    assert set.union(*parts) == set(range(100))
    for part in (data.train, data.validation, data.test):
        assert [row.index for row in part] == sorted(row.index for row in part)
        assert all(row.columns["answer"] == row.index for row in part)
    assert data.notes == (
        "no data.validation given: 15 of 100 training rows were set aside for it",
        "no data.test given: 15 of 100 training rows were set aside for it",
    )


def test_the_cut_depends_on_the_seed_alone(tmp_path):
    train = write(tmp_path / "train.jsonl", 100)
    assert load(train=train) == load(train=train)
    assert indices(load(train=train).test) != indices(load(seed=1, train=train).test)


def test_only_what_is_missing_is_cut(tmp_path):
    data = load(
        train=write(tmp_path / "train.jsonl", 100),
        test=write(tmp_path / "test.jsonl", 9, "t"),
        validation_fraction=0.3,
    )
    assert (len(data.train), len(data.validation), len(data.test)) == (70, 30, 9)
    assert len(data.notes) == 1


def test_the_limit_comes_before_the_cut(tmp_path):
    train = write(tmp_path / "train.jsonl", 100) | {"limit": 40}
    data = load(train=train)
    assert indices(data.train + data.validation + data.test) == set(range(40))


@pytest.mark.parametrize("count", [3, 9])
def test_too_few_rows_to_cut_name_the_setting(tmp_path, count):
    with pytest.raises(DataError, match=rf"{count} rows.*data\.validation") as caught:
        load(train=write(tmp_path / "train.jsonl", count))
    assert caught.value.detail["field"] == "data.validation"


def test_prompts_in_two_sets_are_noted(tmp_path):
    data = load(
        train=write(tmp_path / "train.jsonl", 5),
        validation=write(tmp_path / "val.jsonl", 3),
        test=write(tmp_path / "test.jsonl", 2, "t"),
    )
    assert data.notes == ("3 prompts stand in both data.train and data.validation",)


def test_uploaded_files_are_resolved_by_the_caller(tmp_path):
    write(tmp_path / "upload", 30)
    asked: list[DatasetSpec] = []

    def resolve(dataset: DatasetSpec) -> Path:
        asked.append(dataset)
        return tmp_path / "upload"

    spec = DataSpec.model_validate({"train": {"file_id": "file-abc"}})
    data = load_job_data(
        spec, seed=0, resolve=resolve, render=lambda columns, index: RenderedPrompt("x")
    )
    assert [dataset.file_id for dataset in asked] == ["file-abc"]
    assert len(data.train) == 22


# -- batches --------------------------------------------------------------------------------


ROWS = [Row(index, str(index)) for index in range(50)]


def test_a_batch_has_no_row_twice_and_repeats_itself():
    batch = draw_batch(ROWS, 20, seed=1, generation=3)
    assert len({row.index for row in batch}) == 20
    assert draw_batch(ROWS, 20, seed=1, generation=3) == batch


def test_batches_differ_between_generations_and_seeds():
    drawn = {
        tuple(row.index for row in draw_batch(ROWS, 20, seed=seed, generation=generation))
        for seed in (1, 2)
        for generation in range(4)
    }
    assert len(drawn) == 8


def test_every_row_gets_its_turn():
    seen = {
        row.index
        for generation in range(20)
        for row in draw_batch(ROWS, 20, seed=0, generation=generation)
    }
    assert seen == set(range(50))


def test_a_batch_larger_than_the_set_is_the_set():
    batch = draw_batch(ROWS[:5], 20, seed=0, generation=1)
    assert sorted(row.index for row in batch) == [0, 1, 2, 3, 4]
