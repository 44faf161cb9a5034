"""What `essa proxy-points` and `essa sweep thresholds` make of a job and of its runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alignment_api.cli.commands.proxy_points import (
    alone,
    component_names,
    constrained_job,
    measured,
)
from alignment_api.cli.commands.sweep import grid_changes, read_grid, summary
from alignment_api.cli.terminal.proxy_plot import draw
from essa.constrained.proxy_points import propose_thresholds
from essa.errors import SpecError
from essa.events import ConstraintStatus, ResultEvent, ScoreSummary, ValidationEvent
from essa.spec import AlignmentJobSpec
from essa.spec.constrained import ConstrainedSpec
from essa.spec.reading.file import validate_job
from tests.narrowing import of_kind


def job(**parts: Any) -> AlignmentJobSpec:
    kinds = {"tone": "sentiment", "topic": "sentiment", "good": "sentiment"}
    plain = {
        "model": {"path": "somewhere"},
        "data": {"train": {"path": "train.jsonl"}},
        "reward": {
            "type": "composite",
            "components": [
                {"name": name, "weight": 0.5, "reward": {"type": kind}}
                for name, kind in kinds.items()
            ],
        },
    }
    return validate_job(plain | parts)


CONSTRAINED = {
    "type": "constrained_evolution",
    "objective": "good",
    "constraints": [
        {"component": "tone", "threshold": 0.5},
        {"component": "topic", "threshold": 0.9},
    ],
}


def validation(generation: int, **components: float) -> ValidationEvent:
    return ValidationEvent(
        generation=generation, score=0.0, ci95=(0, 0), is_best=False, components=components
    )


def test_every_component_but_the_metric_is_trained_on_alone() -> None:
    spec = job()
    assert component_names(spec, "good", None) == ("tone", "topic")
    assert component_names(spec, "good", "topic") == ("topic",)
    change = alone(spec, "topic")
    weights = {part["name"]: part["weight"] for part in change["reward"]["components"]}
    assert weights == {"tone": 0.0, "topic": 1.0, "good": 0.0}
    validate_job(spec.model_dump(mode="json") | change)


def test_a_target_does_not_stop_what_looks_for_over_optimisation() -> None:
    spec = job(budget={"generations": 7, "target_score": 0.9})
    assert alone(spec, "tone")["budget"] == {
        "generations": 7,
        "target_score": None,
        "tokens": None,
        "completions": None,
        "wall_s": None,
        "after_warm_start": False,
    }


@pytest.mark.parametrize(
    ("parts", "metric", "chosen", "words"),
    [
        ({}, "mood", None, "no component 'mood'; it has tone, topic, good"),
        ({}, "good", "tone,mood", "no component 'mood'"),
        ({}, "good", "tone,good", "good is the metric"),
        ({"reward": {"type": "sentiment"}}, "good", None, "reward.type is sentiment"),
    ],
)
def test_names_that_do_not_fit_are_refused(parts, metric, chosen, words) -> None:
    with pytest.raises(SpecError, match=words):
        component_names(job(**parts), metric, chosen)


def test_judged_vectors_of_all_runs_become_points_and_a_job() -> None:
    rng = np.random.default_rng(0)
    runs = []
    for shift in (0.0, 0.3):
        values = rng.uniform(size=(20, 2)) + np.array([shift, 0])
        runs.append(
            [
                validation(index, tone=tone, topic=topic, good=1 - (tone - 0.6) ** 2 - topic**2)
                for index, (tone, topic) in enumerate(values)
            ]
        )
    points, metric = measured(runs, ("tone", "topic"), "good")
    assert points.shape == (40, 2)
    assert metric[0] == pytest.approx(1 - (points[0, 0] - 0.6) ** 2 - points[0, 1] ** 2)
    found = propose_thresholds(points, metric, ("tone", "topic"))
    made = validate_job(constrained_job(job(), found))
    assert made.method.type == "constrained_evolution"
    assert made.method.objective == "distance"
    assert [one.component for one in of_kind(ConstrainedSpec, made.method).constraints] == [
        "tone",
        "topic",
    ]
    assert made.method.constraints[0].threshold == pytest.approx(0.6, abs=0.1)


def test_the_surface_is_drawn(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(40, 2))
    metric = 1 - ((points - 0.5) ** 2).sum(axis=1)
    for columns in ([0], [0, 1]):
        names = [("tone", "topic")[column] for column in columns]
        found = propose_thresholds(points[:, columns], metric, names)
        picture = tmp_path / f"{len(columns)}.svg"
        assert draw(found, points[:, columns], metric, "good", picture)
        assert picture.read_text().count("<svg") == 1


def test_a_grid_is_read_and_every_point_of_it_becomes_a_job() -> None:
    grid = read_grid(["tone=0.4,0.6", "topic=0.8"])
    assert grid == {"tone": [0.4, 0.6], "topic": [0.8]}
    spec = job(method=CONSTRAINED)
    changes = grid_changes(spec, grid)
    assert list(changes) == ["tone_0.4-topic_0.8", "tone_0.6-topic_0.8"]
    made = validate_job(spec.model_dump(mode="json") | changes["tone_0.6-topic_0.8"])
    assert [one.threshold for one in of_kind(ConstrainedSpec, made.method).constraints] == [
        0.6,
        0.8,
    ]


@pytest.mark.parametrize("given", ["tone", "tone=", "=1", "tone=a,b"])
def test_a_malformed_grid_is_refused_with_an_example(given) -> None:
    with pytest.raises(SpecError, match=r"--grid topicality=0.7,0.8"):
        read_grid([given])


def test_a_grid_that_does_not_fit_the_job_is_refused() -> None:
    with pytest.raises(SpecError, match="twice"):
        read_grid(["tone=1", "tone=2"])
    with pytest.raises(SpecError, match=r"method.type is evolution"):
        grid_changes(job(), {"tone": [1.0]})
    with pytest.raises(SpecError, match="good, on which the job has 0 constraints"):
        grid_changes(job(method=CONSTRAINED), {"good": [1.0]})


def test_a_run_is_summed_up_by_what_validation_picked() -> None:
    held = ConstraintStatus(
        component="tone", direction=">=", threshold=0.5, value=0.6, violation=0.0, is_held=True
    )
    broken = held.model_copy(update={"value": 0.2, "violation": 0.3, "is_held": False})
    picked = ValidationEvent(
        generation=2, score=0.7, ci95=(0, 1), is_best=True, constraints=[held], is_feasible=True
    )
    aligned = ScoreSummary(
        mean=0.1, ci95=(0, 1), prompts=3, components={"good": 0.5}, constraints=[broken]
    )
    result = ResultEvent(
        test={"aligned": aligned},
        validation=None,
        selected_generation=2,
        generations=4,
        stop_reason="",
        seconds=1.0,
        tokens=1,
        adapter="",
        samples=[],
    )
    row = summary("a", [validation(0), picked, result])
    assert (row["run"], row["validation"], row["is_feasible"]) == ("a", 0.7, True)
    assert row["test_components"] == {"good": 0.5}
    assert not row["test_held"]
