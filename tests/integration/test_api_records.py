"""What a run recorded, over HTTP: runs of the real coordinator, read by the real service."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from alignment_api.app import create_app
from alignment_api.auth.keys import KeyRepository, Scope
from alignment_api.jobs.events import EventRepository, StoreSink
from alignment_api.jobs.insertion import NewJob
from alignment_api.jobs.repository import JobRepository
from alignment_api.records import rollouts as reading
from alignment_api.settings import Settings
from alignment_api.store import Store
from essa.coordinator.loop import Coordinator
from essa.coordinator.run import Outlets, Run, Space, Start
from essa.coordinator.state import Preparation
from essa.data import JobData
from essa.events import ValidationEvent
from essa.objective.normalized import reward_objective
from essa.parametrize.basis import BASIS_FILE, AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.records.recorder import RunRecorder
from essa.records.rollouts import rollout_files
from essa.records.vectors import read_vector
from essa.spec import AlignmentJobSpec
from essa.testing import FakeClock, QuadraticEvaluator
from essa.types import PopulationScores, Row
from tests.integration.api_finished_jobs import add_finished_job, base_folder

GENERATIONS, POPULATION, PROMPTS = 4, 6, 5
VALIDATION, TEST = 7, 8
TRAINED = GENERATIONS * POPULATION * PROMPTS
VALIDATED = 3 * VALIDATION
ALL = TRAINED + VALIDATED + 3 * TEST
ROOT = Path(__file__).parents[2]


def rows(first: int, count: int) -> tuple[Row, ...]:
    return tuple(Row(number, f"<s>ask {number}", {"prompt": f"ask {number}"}) for number in
                 range(first, first + count))  # fmt: skip


DATA = JobData(rows(0, 40), rows(100, VALIDATION), rows(200, TEST))


class TalkingEvaluator(QuadraticEvaluator):
    """Says something to look for, and loses the first score of every evaluation."""

    def evaluate(self, vectors_N_D, rows, **settings: Any) -> PopulationScores:
        scores = super().evaluate(vectors_N_D, rows, **settings)
        scores.completions[0][0] = "Größe 100% (a.b) \u0000 end"
        scores.rewards_N_P[0, 0] = np.nan
        return scores


@dataclass
class Recorded:
    """A service over some recorded jobs."""

    client: TestClient
    settings: Settings
    codec: SingularValueCodec
    job: str
    twin: str
    fresh: str
    foreign: str
    foreign_key: str

    def get(self, path: str, status: int = 200, **query: Any) -> dict[str, Any]:
        answer = self.client.get(f"/v1/fine_tuning/{path}", params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    def rollouts(self, **query: Any) -> dict[str, Any]:
        return self.get(f"jobs/{self.job}/rollouts", **query)

    @property
    def run_dir(self) -> Path:
        return self.settings.job_dir(self.job) / "run"


def spec(codec: SingularValueCodec, **parts: Any) -> AlignmentJobSpec:
    return AlignmentJobSpec.model_validate(
        {
            "model": {"path": "org/model"},
            "data": {"train": {"path": "/data/train.jsonl"}},
            "reward": {"type": "sentiment"},
            "search": {"type": "snes", "population": POPULATION, "sigma_init": 0.4},
            "batch_size": PROMPTS,
            "budget": {"generations": GENERATIONS},
            "evaluation": {"every": 2},
        }
        | parts
    )


def run(store: Store, settings: Settings, job_id: str, codec: SingularValueCodec) -> None:
    """Run a job as its process would, on made-up engines."""
    jobs = JobRepository(store)
    wanted = jobs.spec(job_id)
    run_dir = settings.job_dir(job_id) / "run"
    codec.basis.save(run_dir / BASIS_FILE)
    clock = FakeClock()
    sink = StoreSink(EventRepository(store), job_id)
    jobs.claim_next(free_slots=100)
    with RunRecorder(run_dir, wanted.evaluation) as recorder:
        run = Run(
            wanted,
            reward_objective(wanted),
            DATA,
            Outlets(sink, recorder, clock, devices=2),
            Space(codec.dimension, codec.basis.digest),
            Start(run_dir / "search.ckpt", Preparation(10.0)),
        )
        evaluator = TalkingEvaluator(np.linspace(0.5, 1.5, codec.dimension), clock=clock)
        result = Coordinator(run, evaluator).run()
    assert jobs.succeed(job_id, result.result)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, tiny_adapter) -> Iterator[Recorded]:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    codec = SingularValueCodec(AdapterBasis.decompose(tiny_adapter(), "factors", 0.5))
    store = Store(settings.store_url)
    keys, jobs = KeyRepository(store), JobRepository(store)
    project = keys.ensure_project()
    reader = keys.add("reader", [Scope.READ], project).secret
    other = keys.add_project("others")["id"]
    first, second = (
        jobs.add(NewJob(spec(codec, seed=seed, name=f"seed {seed}"), project)) for seed in (1, 2)
    )
    for job_id in (first, second):
        run(store, settings, job_id, codec)
    fresh = jobs.add(NewJob(spec(codec, batch_size=6), project))
    foreign = jobs.add(NewJob(spec(codec), other))
    for waiting in (fresh, foreign):
        jobs.request_pause(waiting)
    foreign_key = keys.add("stranger", [Scope.READ], other).secret
    store.close()
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {reader}"
        yield Recorded(client, settings, codec, first, second, fresh, foreign, foreign_key)


# -- rollouts -------------------------------------------------------------------------------


def test_pages_go_through_all_completions_once_and_in_order(recorded):
    seen, after = [], -1
    while True:
        page = recorded.rollouts(after=after, limit=37)
        assert page["total"] == ALL
        seen += page["data"]
        if not page["has_more"]:
            break
        after = page["data"][-1]["n"]
    assert [row["n"] for row in seen] == list(range(ALL))
    order = list(dict.fromkeys((row["set"], row["generation"]) for row in seen))
    assert order == [
        ("validation", 0),
        ("train", 1),
        ("train", 2),
        ("validation", 2),
        ("train", 3),
        ("train", 4),
        ("validation", 4),
        ("test", None),
    ]


def test_a_completion_has_prompt_scores_and_components(recorded):
    row = recorded.rollouts(generation=2, candidate=3, limit=1)["data"][0]
    prompt = row["prompt_index"]
    assert row["prompt"] == f"ask {prompt}"
    assert row["completion"] == f"answer 3 to {prompt}"
    assert row["components"] == {"doubled": pytest.approx(2 * row["score"])}
    assert (row["set"], row["model"]) == ("train", None)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"set": "train"}, TRAINED),
        ({"set": "validation"}, VALIDATED),
        ({"generation": 2}, POPULATION * PROMPTS + VALIDATION),
        ({"generation": 2, "set": "train"}, POPULATION * PROMPTS),
        ({"candidate": 5}, GENERATIONS * PROMPTS),
        ({"candidate": 5, "generation": 1}, PROMPTS),
        ({"candidate": 0, "set": "test"}, 0),
        ({"model": "aligned"}, TEST),
        ({"model": "base", "set": "test", "prompt": 203}, 1),
        ({"prompt": 101}, 3),
        ({"q": "GRÖSSE"}, 0),
        ({"q": "größe 100% (A.B)"}, GENERATIONS + 3 + 1),
        ({"q": "a_b"}, 0),
        ({"q": "ask 104"}, 3),
        ({"q": "answer 4 to"}, GENERATIONS * PROMPTS),
        ({"generation": 99}, 0),
        ({"q": ""}, ALL),
    ],
)
def test_filters_find_what_they_name_and_count_it(recorded, query, count):
    page = recorded.rollouts(limit=500, **query)
    assert (len(page["data"]), page["total"], page["has_more"]) == (count, count, False)


def test_filtered_pages_keep_the_numbers_of_the_whole(recorded):
    whole = [row for row in recorded.rollouts(limit=500)["data"] if row["candidate"] == 2]
    after, found = -1, []
    page = {}
    for _ in range(GENERATIONS * PROMPTS):
        page = recorded.rollouts(candidate=2, limit=1, after=after)
        assert page["total"] == len(whole)
        found += page["data"]
        after = found[-1]["n"]
    assert found == whole
    assert not page["has_more"]


def test_scores_are_bounded_from_both_sides_and_missing_ones_match_neither(recorded):
    everything = recorded.rollouts(limit=500)["data"]
    known = [row["score"] for row in everything if row["score"] is not None]
    assert len(known) == ALL - (GENERATIONS + 3 + 1)
    low, high = np.quantile(known, [0.3, 0.6])
    page = recorded.rollouts(limit=500, min_score=low, max_score=high)
    wanted = [row for row in everything if row["score"] is not None and low <= row["score"] <= high]
    assert page["data"] == wanted
    assert page["total"] == len(wanted) > 0
    lost = [row for row in everything if row["score"] is None]
    assert {row["components"]["doubled"] is None for row in lost} == {False}


def test_counting_stops_where_it_would_read_too_much(recorded, monkeypatch):
    monkeypatch.setattr(reading, "COUNTED_ROWS", 60)
    page = recorded.rollouts(q="answer", limit=10)
    assert page["total"] is None
    assert page["has_more"]
    assert recorded.rollouts(q="answer", set="validation", limit=10)["total"] == VALIDATED - 3
    # What comes last is found all the same, and counted where the page holds all of it.
    page = recorded.rollouts(q="ask 207", limit=500)
    assert [row["model"] for row in page["data"]] == ["base", "warm_start", "aligned"]
    assert page["total"] == 3
    assert recorded.rollouts(q="ask 207", after=page["data"][0]["n"])["total"] is None
    assert recorded.rollouts(limit=10)["total"] == ALL


def test_a_job_that_has_not_run_has_no_completions(recorded):
    page = recorded.get(f"jobs/{recorded.fresh}/rollouts")
    assert (page["data"], page["has_more"], page["total"]) == ([], False, 0)
    assert recorded.get(f"jobs/{recorded.fresh}/timeline")["items"] == []
    assert recorded.get(f"jobs/{recorded.fresh}/metrics")["points"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"set": "dev"}, "set"),
        ({"model": "best"}, "model"),
        ({"min_score": "nan"}, "min_score"),
        ({"generation": -1}, "generation"),
        ({"generation": 2**31}, "generation"),
        ({"q": "x" * 501}, "q"),
    ],
)
def test_a_wrong_filter_is_named(recorded, query, field):
    error = recorded.get(f"jobs/{recorded.job}/rollouts", status=400, **query)["error"]
    assert error["param"] == field
    assert field in error["message"]


# -- singular values ------------------------------------------------------------------------


def test_singular_values_are_those_that_engines_run(recorded):
    codec, modules = recorded.codec, recorded.codec.basis.modules
    answer = recorded.get(f"jobs/{recorded.job}/singular_values", generation=3)
    vector = read_vector(recorded.run_dir, 3)
    start, now = codec.scales(np.stack([np.zeros_like(vector), vector])).astype(np.float64)
    assert answer["generations"] == list(range(GENERATIONS + 1))
    assert answer["modules"] == [module.name for module in modules]
    assert answer["parts"] == ["A", "B"]
    position = 0
    for index, module in enumerate(modules):
        for part in ("A", "B"):
            own = slice(position, position + module.rank)
            expected = now[own] / start[own] - 1
            given = answer["relative_change"][part][index]
            np.testing.assert_allclose(given, expected, atol=1e-4)
            # Half of the singular values are searched, and move.
            assert np.flatnonzero(given).tolist() == list(range(module.searched))
            position += module.rank
    assert position == len(now)


def test_the_newest_generation_comes_by_default_and_the_warm_start_has_not_moved(recorded):
    path = f"jobs/{recorded.job}/singular_values"
    assert recorded.get(path) == recorded.get(path, generation=GENERATIONS)
    start = recorded.get(path, generation=0)["relative_change"]
    assert not np.any(start["A"])
    assert not np.any(start["B"])


def test_a_product_has_one_part_and_a_zero_singular_value_no_share(tmp_path, tiny_adapter):
    from essa.parametrize.spectrum import read_spectrum

    basis = AdapterBasis.decompose(tiny_adapter(), "product", 1.0)
    basis.modules[0].first.values[-1] = 0.0
    basis.save(tmp_path / BASIS_FILE)
    spectrum = read_spectrum(tmp_path / BASIS_FILE)
    vector = np.ones(spectrum.dimension)
    (changes,) = spectrum.relative_changes(vector).values()
    values = basis.modules[0].first.values
    np.testing.assert_allclose(changes[0][:-1], values.mean() / values[:-1])
    assert math.isnan(changes[0][-1])


def test_singular_values_that_are_not_there_are_refused_with_the_reason(recorded):
    error = recorded.get(f"jobs/{recorded.fresh}/singular_values", status=409)["error"]
    assert "paused" in error["message"]
    error = recorded.get(f"jobs/{recorded.job}/singular_values", status=404, generation=9)["error"]
    assert error["code"] == "record_not_found"
    assert "0 to 4" in error["message"]


# -- timeline, metrics, compare -------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{"method": {"type": "grpo"}}, {"search": {"type": "snes", "target": "weights"}}],
    ids=["grpo", "weights"],
)
def test_a_job_that_moves_all_weights_says_that_none_of_single_generations_are_kept(
    tmp_path, changes
):
    settings = Settings(home=tmp_path, auth="off")
    store = Store(settings.store_url)
    project = KeyRepository(store).ensure_project()
    base = base_folder(tmp_path)
    job_id = add_finished_job(store, settings, base, project_id=project, **changes)
    validated = ValidationEvent(generation=1, score=0.5, ci95=(0.4, 0.6), is_best=True)
    EventRepository(store).append(job_id, validated)
    store.close()
    with TestClient(create_app(settings)) as client:
        path = f"/v1/fine_tuning/jobs/{job_id}"
        assert client.get(f"{path}/checkpoints").json()["data"] == []
        asked = [
            client.get(f"{path}/singular_values"),
            client.get(f"{path}/export", params={"checkpoint": 1}),
            client.post(f"{path}/exports", json={"format": "merged", "checkpoint": 1}),
        ]
    for answer in asked:
        assert answer.status_code == 409, answer.text
        assert "moves all weights" in answer.json()["error"]["message"]


def test_the_timeline_has_every_item_once_and_can_be_followed(recorded):
    whole = recorded.get(f"jobs/{recorded.job}/timeline")
    assert whole["engines"] == [0, 1]
    assert len(whole["items"]) == 3 + GENERATIONS * POPULATION + 3
    assert not whole["has_more"]
    part = recorded.get(f"jobs/{recorded.job}/timeline", after=9, limit=5)
    assert part["items"] == whole["items"][10:15]
    assert part["has_more"]
    assert whole["items"][0] == {
        "n": 0,
        "engine": 0,
        "kind": "validation",
        "generation": 0,
        "started_s": 10.0,
        "ended_s": 11.0,
        "candidates": [0],
        "tokens": 4 * VALIDATION,
    }
    base = whole["items"][-3]
    assert (base["kind"], base["generation"], base["candidates"]) == ("test", None, [])


def test_metrics_hold_scores_beside_costs_for_every_generation(recorded):
    points = recorded.get(f"jobs/{recorded.job}/metrics")["points"]
    assert [point["generation"] for point in points] == list(range(GENERATIONS + 1))
    validated = [point["validation"] is not None for point in points]
    assert validated == [True, False, True, False, True]
    assert points[0]["mean"] is None
    assert points[0]["wall_s"] == 12.0
    for point in points:
        assert point["device_s"] == 2 * point["wall_s"]
    for point in points[2::2]:
        assert point["validation_low"] <= point["validation"] <= point["validation_high"]
    assert points[1]["samples"] == VALIDATION + POPULATION * PROMPTS
    assert points[-1]["tokens"] == 14 * (TRAINED + VALIDATED)


def test_compare_groups_jobs_that_differ_in_their_seed_only(recorded):
    answer = recorded.get("compare", jobs=f"{recorded.twin},{recorded.job}, {recorded.fresh},")
    twin, job, fresh = answer["data"]
    assert [one["job"]["seed"] for one in answer["data"]] == [2, 1, 0]
    assert twin["group"] == job["group"] != fresh["group"]
    assert job["points"] == recorded.get(f"jobs/{recorded.job}/metrics")["points"]
    assert set(job["test"]) == {"base", "warm_start", "aligned"}
    assert fresh["test"] is None
    assert job["job"] == {
        "id": recorded.job,
        "name": "seed 1",
        "status": "succeeded",
        "method": "evolution",
        "seed": 1,
    }


@pytest.mark.parametrize("jobs", [",", ",".join(f"ftjob-{number}" for number in range(21))])
def test_compare_takes_one_to_twenty_jobs(recorded, jobs):
    assert recorded.get("compare", status=400, jobs=jobs)["error"]["param"] == "jobs"


# -- who may look ---------------------------------------------------------------------------

PATHS = ["rollouts", "singular_values", "timeline", "metrics"]


@pytest.mark.parametrize("name", PATHS)
def test_jobs_of_other_projects_are_not_there(recorded, name):
    error = recorded.get(f"jobs/{recorded.foreign}/{name}", status=404)["error"]
    assert error["code"] == "job_not_found"
    headers = {"Authorization": f"Bearer {recorded.foreign_key}"}
    answer = recorded.client.get(f"/v1/fine_tuning/jobs/{recorded.job}/{name}", headers=headers)
    assert answer.status_code == 404
    assert recorded.get("compare", status=404, jobs=f"{recorded.job},{recorded.foreign}")


@pytest.mark.parametrize("name", PATHS)
def test_a_key_is_needed(recorded, name):
    url = f"/v1/fine_tuning/jobs/{recorded.job}/{name}"
    answer = recorded.client.get(url, headers={"Authorization": "Bearer essa-wrong"})
    assert answer.status_code == 401


# -- robustness -----------------------------------------------------------------------------


def test_a_damaged_file_is_named_and_no_traceback_shown(recorded):
    file = rollout_files(recorded.run_dir)[2].path
    content = file.read_bytes()
    try:
        file.write_bytes(content[: len(content) // 2])
        answer = recorded.client.get(f"/v1/fine_tuning/jobs/{recorded.job}/rollouts")
        assert answer.status_code == 500
        assert file.name in answer.json()["error"]["message"]
        assert answer.json()["error"]["code"] == "checkpoint_corrupt"
    finally:
        file.write_bytes(content)
    assert recorded.rollouts()["total"] == ALL


def test_reading_records_loads_no_engine(recorded):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from alignment_api.records import endpoints\n"
        "from alignment_api.records.rollouts import RolloutFilter, find_rollouts\n"
        "from essa.parametrize.spectrum import read_spectrum\n"
        "run_dir = Path(sys.argv[1])\n"
        "page = find_rollouts(run_dir, RolloutFilter(text='answer'), -1, 5)\n"
        f"read_spectrum(run_dir / '{BASIS_FILE}')\n"
        "heavy = {'torch', 'ray', 'vllm', 'transformers', 'peft'}\n"
        "import json; print(json.dumps([len(page.data), sorted(heavy & set(sys.modules))]))"
    )
    command = [sys.executable, "-c", code, str(recorded.run_dir)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(ended.stdout) == [5, []]


def test_the_answers_are_described(recorded):
    paths = recorded.client.get("/openapi.json").json()["paths"]
    for name in PATHS:
        operation = paths[f"/v1/fine_tuning/jobs/{{job_id}}/{name}"]["get"]
        assert {"200", "400", "401", "403", "404", "429", "503"} <= set(operation["responses"])
