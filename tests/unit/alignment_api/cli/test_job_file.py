"""Job files: paths, overrides, and messages that name field, value and fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alignment_api.cli.main import main
from essa.errors import SpecError
from essa.spec import AdapterWarmStartSpec
from essa.spec.reading.file import load_job_file
from reward.spec import LengthSpec
from tests.narrowing import of_kind, present

JOB = """
name: upbeat
model: {path: org/model}
data:
  train: {path: data/train.jsonl}
reward: {type: sentiment}
"""


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    (tmp_path / "data").mkdir()
    rows = [json.dumps({"prompt": f"p{n}", "answer": n}) for n in range(16)]
    (tmp_path / "data" / "train.jsonl").write_text("\n".join(rows))
    return path


def problems_of(path: Path, *overrides: str) -> list[tuple[str, Any, str]]:
    with pytest.raises(SpecError) as caught:
        load_job_file(path, overrides)
    return [(p.field, p.value, p.fix) for p in caught.value.detail["problems"]]


def test_relative_data_paths_count_from_the_job_file(job_file: Path) -> None:
    spec = load_job_file(job_file)
    assert spec.data.train.path == str(job_file.parent / "data" / "train.jsonl")


def test_a_hub_name_stays_and_a_model_folder_becomes_absolute(job_file: Path) -> None:
    assert load_job_file(job_file).model.path == "org/model"
    (job_file.parent / "org" / "model").mkdir(parents=True)
    assert load_job_file(job_file).model.path == str(job_file.parent / "org" / "model")


def test_relative_warm_start_paths_count_from_the_job_file(job_file: Path) -> None:
    job_file.write_text(JOB + "warm_start: {type: adapter, path: start}\n")
    assert of_kind(AdapterWarmStartSpec, load_job_file(job_file).warm_start).path == str(
        job_file.parent / "start"
    )


def test_paths_in_overrides_count_from_the_current_folder(
    job_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    spec = load_job_file(job_file, ["data.test.path=mine.jsonl"])
    assert present(spec.data.test).path == str(here / "mine.jsonl")
    assert spec.data.train.path == str(tmp_path / "data" / "train.jsonl")


def test_overrides_are_typed_and_keep_the_default_variant_of_a_section(job_file: Path) -> None:
    spec = load_job_file(
        job_file,
        ["search.sigma_init=5e-2", "engine.workers=2", "budget.generations=3", "seed=7"],
    )
    assert (spec.search.type, spec.search.sigma_init) == ("sep_cma_es", 0.05)
    assert (spec.engine.kind, spec.engine.workers) == ("vllm", 2)
    assert (spec.budget.generations, spec.seed) == (3, 7)


def test_an_override_may_choose_another_variant(job_file: Path) -> None:
    spec = load_job_file(job_file, ["search.type=snes", "search.population=8"])
    assert (spec.search.type, spec.search.population) == ("snes", 8)


def test_a_section_given_in_one_piece_replaces_the_jobs_own(job_file: Path) -> None:
    spec = load_job_file(job_file, ["reward={type: length, min: 3}", "search={type: snes}"])
    assert of_kind(LengthSpec, spec.reward).min == 3
    assert spec.search.type == "snes"


@pytest.mark.parametrize("override", ["search", "=1", "a..b=1"])
def test_a_malformed_override_shows_how_to_write_one(job_file: Path, override: str) -> None:
    with pytest.raises(SpecError, match=r"--set search\.sigma_init=0\.05"):
        load_job_file(job_file, [override])


def test_json_and_yaml_give_the_same_job(job_file: Path) -> None:
    import yaml

    other = job_file.with_suffix(".json")
    other.write_text(json.dumps(yaml.safe_load(JOB)))
    assert load_job_file(other) == load_job_file(job_file)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_key_given_twice_is_an_error(job_file: Path, suffix: str) -> None:
    path = job_file.with_suffix(suffix)
    path.write_text('{"seed": 1, "seed": 2}')
    with pytest.raises(SpecError, match="`seed` is given twice"):
        load_job_file(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [("- 1\n", "holds list, not a mapping"), ("a: [", "not valid YAML"), ("", "not a mapping")],
)
def test_a_file_that_is_no_job_is_refused(job_file: Path, text: str, words: str) -> None:
    job_file.write_text(text)
    with pytest.raises(SpecError, match=words):
        load_job_file(job_file)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere\.yaml cannot be read"):
        load_job_file(tmp_path / "nowhere.yaml")


def test_each_wrong_setting_is_reported_once_with_value_and_fix(job_file: Path) -> None:
    found = problems_of(
        job_file, "search.population=1", "search.sigma_init=-2", "engine.precison=int8", "seed=x"
    )
    by_field = {field: (value, fix) for field, value, fix in found}
    assert by_field["search.population"] == (1, "set it to 3 or more")
    assert by_field["search.sigma_init"] == (-2, "set it to 'auto', or set it above 0")
    value, fix = by_field["engine.precison"]
    assert value == "int8"
    assert "did you mean `precision`?" in fix
    assert by_field["seed"][0] == "x"
    assert len(found) == 4


def test_union_tags_do_not_show_in_the_field(job_file: Path) -> None:
    found = problems_of(job_file, "reward={type: composite, components: [{name: a, reward: {}}]}")
    assert [field for field, _, _ in found] == ["reward.components.0.reward"]


def test_validate_accepts_a_job_that_can_run(
    job_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(job_file), "--home", str(tmp_path / "home")]) == 0
    assert "is a valid job" in capsys.readouterr().out
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("search.population=0", "search.population = 0: set it to 3 or more"),
        ("engine.kind=tpu", "engine = {'kind': 'tpu'}: set 'kind' to one of 'vllm', 'transfor"),
        ("data.train.path=/nowhere/x.jsonl", "data.train.path = '/nowhere/x.jsonl': /nowhere/x.j"),
        ("data.train.file_id=file-1", "data.train = {"),
        ("data.prompt={type: text, template: '{question}'}", "has no column 'question'"),
        ("reward={type: exact_match, reference: solution}", "'solution'"),
        ("reward={type: regex, pattern: '('}", "reward.pattern = '(': "),
        ("data.train.limit=3", "data.validation: data.train has 3 rows: too few to cut"),
        ("model.path=/nowhere", "model.path = '/nowhere': there is no such folder"),
        ("model.path=package:no-such-package", "install the package 'no-such-package'"),
        ("warm_start={type: adapter, path: /nowhere}", "warm_start.path = '/nowhere': there is no"),
        ("warm_start={type: sft, path: /nowhere}", "warm_start.path = '/nowhere': /nowhere cannot"),
    ],
)
def test_validate_prints_one_line_with_field_value_and_fix_and_exits_2(
    job_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, line: str
) -> None:
    command = ["validate", str(job_file), "--home", str(tmp_path / "home"), "--set", override]
    assert main(command) == 2
    shown = capsys.readouterr().err
    assert line in shown
    assert shown.count("\n") == 1


def test_validate_reads_every_row(
    job_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = job_file.parent / "data" / "train.jsonl"
    data.write_text(data.read_text() + '\n{"prompt": "more"}\n{"prompt"\n')
    command = ["validate", str(job_file), "--home", str(tmp_path / "home")]
    assert main(command) == 2
    assert "line 18 is not JSON" in capsys.readouterr().err
    data.write_text(data.read_text().replace('{"prompt"\n', ""))
    assert main([*command, "--set", "reward={type: exact_match}"]) == 2
    assert "line 17 does not fit the reward" in capsys.readouterr().err


def test_validate_finds_uploaded_files_only_in_their_home(
    job_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job_file.write_text(JOB.replace("path: data/train.jsonl", "file_id: file-1"))
    assert main(["validate", str(job_file), "--home", str(tmp_path / "home")]) == 2
    assert "data.train.file_id = 'file-1': there is no file file-1" in capsys.readouterr().err
