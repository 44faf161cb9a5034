"""`/v1/models` of a service whose jobs have succeeded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from alignment_api.auth.keys import Scope
from alignment_api.models.cached import MANIFEST
from tests.integration.api_finished_jobs import add_finished_job, base_folder
from tests.integration.api_inference_bench import Bench, bench
from tests.narrowing import present


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, inference_command=("false",)) as started:
        yield started


def _listed(one: Bench) -> dict[str, str]:
    return {
        model.id: present(model.model_extra)["essa"]["kind"] for model in one.client.models.list()
    }


def test_a_finished_job_has_three_models(one):
    assert _listed(one) == {
        one.aligned: "aligned",
        one.warm_start: "warm_start",
        "org/model": "base",
    }
    for name in _listed(one):
        model = one.client.models.retrieve(name)
        assert (model.id, model.object) == (name, "model")
    details = one.client.models.retrieve(one.aligned).essa
    assert details["job"] == one.job_id
    assert details["base"] == "org/model"
    assert details["precision"] == "bf16"
    assert details["not_served"] is None


def test_a_base_is_listed_once_for_each_precision_it_is_served_in(one):
    one.add_job(one.base)
    one.add_job(one.base, engine={"kind": "vllm", "precision": "fp32"})
    one.add_job(one.base, engine={"kind": "vllm", "precision": "int8"})  # served in bf16
    bases = [name for name, kind in _listed(one).items() if kind == "base"]
    assert sorted(bases) == ["org/model", "org/model:fp32"]


def test_bases_of_the_cache_are_listed_beside_those_of_jobs(one, tmp_path):
    models = one.service.settings.cache_dir / "models"
    used = base_folder(models, "used-bf16-0123456789abcdef")
    unused = base_folder(models, "other-int4-g64-0123456789abcdef")
    scorer = base_folder(models, "scorer-bf16-0123456789abcdef")
    unfinished = base_folder(models, "torn-bf16-0123456789abcdef")
    for folder in (used, unused, scorer):
        (folder / MANIFEST).write_text("{}")
    config = {"architectures": ["LlamaForSequenceClassification"]}
    (scorer / "config.json").write_text(json.dumps(config))
    one.add_job(used, model={"path": "org/used"})
    listed = _listed(one)
    assert unused.name in listed
    assert not {used.name, scorer.name, unfinished.name} & set(listed)
    assert one.client.models.retrieve(unused.name).essa["precision"] == "int4"


def test_a_model_that_cannot_be_asked_says_why(one, tmp_path):
    gone = base_folder(tmp_path, "gone")
    model = one.add_job(gone, model={"path": "org/gone"})
    (gone / "config.json").unlink()
    bitsandbytes = one.add_job(
        one.base,
        model={"path": "org/nf4"},
        engine={"kind": "transformers", "precision": "int4"},
        evaluation={"serving_precision": "int4"},
    )
    for name, words in ((model, "is gone from"), (bitsandbytes, "bitsandbytes")):
        assert words in one.client.models.retrieve(name).essa["not_served"]
        with pytest.raises(openai.BadRequestError, match=words) as told:
            one.ask("hi", name)
        assert told.value.code == "model_not_served"


def test_the_warm_start_may_be_an_adapter_that_was_given(one, tmp_path):
    given = tmp_path / "given"
    warm_start = {"type": "adapter", "path": str(given)}
    model = one.add_job(one.base, warm_start=warm_start)
    name = f"{model}:warm_start"
    assert str(given) in one.client.models.retrieve(name).essa["not_served"]


def test_a_deleted_model_is_gone_and_its_job_stays(one):
    assert one.client.models.delete(one.aligned).deleted
    assert _listed(one) == {}
    for name in (one.aligned, one.warm_start, "org/model"):
        with pytest.raises(openai.NotFoundError):
            one.client.models.retrieve(name)
        with pytest.raises(openai.NotFoundError):
            one.ask("hi", name)
    assert one.service.job(one.job_id)["status"] == "succeeded"
    run_dir = one.service.settings.job_dir(one.job_id) / "run"
    assert sorted(path.name for path in run_dir.iterdir()) == ["warm_start"]


def test_only_what_a_job_made_can_be_deleted(one):
    for name in ("org/model", one.warm_start):
        with pytest.raises(openai.BadRequestError, match="only aligned models"):
            one.client.models.delete(name)
    assert len(_listed(one)) == 3


def test_models_of_another_project_are_not_found(tmp_path):
    base = base_folder(tmp_path)
    with bench(tmp_path / "bench", auth="on") as one:
        state = one.service.app.state
        ours, theirs = state.keys.ensure_project(), state.keys.add_project("theirs")["id"]
        add_finished_job(
            state.store, one.service.settings, base, project_id=theirs, model={"path": "org/their"}
        )
        reader = state.keys.add("reader", [Scope.READ], ours).secret
        with openai.OpenAI(base_url=one.client.base_url, api_key=reader, max_retries=0) as client:
            names = [model.id for model in client.models.list()]
            assert len(names) == 3
            assert "org/their" not in names
            with pytest.raises(openai.NotFoundError):
                client.models.retrieve("org/their")
            with pytest.raises(openai.PermissionDeniedError):
                client.completions.create(model="org/model", prompt="hi")
        with pytest.raises(openai.AuthenticationError):
            one.client.models.list()
