"""The dashboard's templates are those of the examples, and jobs made from them are valid."""

from __future__ import annotations

import copy
import json

import pytest

from essa.spec.reading.file import validate_job
from examples.make_templates import GALLERY, TARGET, samples, texts

DATA = {name: {"path": f"{name}.jsonl"} for name in ("train", "validation", "test")}


@pytest.mark.parametrize("name", sorted(texts()))
def test_a_template_is_up_to_date(name):
    assert (TARGET / name).read_text(encoding="utf-8") == texts()[name], (
        "run `python examples/make_templates.py`"
    )


@pytest.mark.parametrize("name", sorted(samples()))
def test_a_sample_is_the_data_of_its_example(name):
    assert (TARGET / name).samefile(samples()[name])
    assert not (TARGET / name).is_symlink(), "a wheel takes no file from outside the package"


def test_nothing_else_is_among_the_templates():
    assert {path.name for path in TARGET.iterdir()} == {*texts(), *samples()}


@pytest.mark.parametrize("example", GALLERY, ids=lambda example: example.name)
def test_a_template_with_its_data_is_a_valid_job(example):
    template = json.loads((TARGET / f"{example.name}.json").read_text(encoding="utf-8"))
    spec = copy.deepcopy(template["spec"])
    spec["data"] |= DATA
    if spec["warm_start"]["type"] == "sft":
        spec["warm_start"]["path"] = "sft.jsonl"
    assert validate_job(spec).name == example.name


@pytest.mark.parametrize("example", GALLERY, ids=lambda example: example.name)
def test_a_template_names_no_path_of_this_machine(example):
    text = (TARGET / f"{example.name}.json").read_text(encoding="utf-8")
    spec = json.loads(text)["spec"]
    assert "path" not in spec["warm_start"]
    assert set(spec["data"]) == {"prompt"}
