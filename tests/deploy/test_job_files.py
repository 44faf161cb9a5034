"""Every job file of the repository is a valid job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from essa.comparison.spec import planned_runs
from essa.comparison.spec_file import load_comparison_file
from essa.spec.reading.file import load_job_file

ROOT = Path(__file__).resolve().parents[2]
COMPARISONS = (
    "examples/arithmetic/ablations.yaml",
    "examples/arithmetic/compare.yaml",
    "examples/upbeat/compare.yaml",
)
NOT_JOBS = {
    *COMPARISONS,
    "examples/ifeval/base_requests.yaml",
    "examples/ifeval/wordings.yaml",
    "examples/upbeat/topics.yaml",
}
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "examples").rglob("*.yaml")
    if path.relative_to(ROOT).as_posix() not in NOT_JOBS
)


def test_every_example_folder_has_a_job_file_and_a_readme() -> None:
    folders = [path for path in (ROOT / "examples").iterdir() if path.is_dir()]
    for folder in folders:
        if folder.name != "__pycache__":
            assert f"examples/{folder.name}/job.yaml" in FILES
            assert (folder / "README.md").is_file()


@pytest.mark.parametrize("name", FILES)
def test_job_file_is_valid(name) -> None:
    assert load_job_file(ROOT / name).name


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparison_file_is_valid(name) -> None:
    spec = load_comparison_file(ROOT / name)
    assert len(planned_runs(spec)) == len(spec.arms) * 3


def test_example_comparison_takes_turns() -> None:
    spec = load_comparison_file(ROOT / "examples" / "upbeat" / "compare.yaml")
    assert [run.arm for run in planned_runs(spec)] == [
        "essa", "grpo", "grpo", "essa", "essa", "grpo",
    ]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_job_file_fits_the_committed_schema(name) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = json.loads((ROOT / "docs" / "job.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load((ROOT / name).read_text()))


def test_the_schema_refuses_a_misspelt_field() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = json.loads((ROOT / "docs" / "job.schema.json").read_text())
    job = yaml.safe_load((ROOT / "examples/upbeat/job.yaml").read_text())
    job["search"]["popolation"] = 8
    assert not jsonschema.Draft202012Validator(schema).is_valid(job)
