"""What forwarders send, and that they can neither stop nor slow a job."""

from __future__ import annotations

import math
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from alignment_api.forwarders.background import BackgroundForwarder
from alignment_api.forwarders.base import ForwardedRun, Forwarder, Value
from alignment_api.forwarders.fields import point_of, summary_of
from alignment_api.forwarders.opening import integration_problems, is_installed, make_forwarder
from alignment_api.forwarders.sink import ForwardingSink
from essa.events import (
    ConstraintStatus,
    Event,
    GenerationEvent,
    ResultEvent,
    ScoreSummary,
    StageEvent,
    ValidationEvent,
    WarningEvent,
)
from essa.ports import EventSink
from essa.spec import AlignmentJobSpec
from essa.spec.reading.file import validate_job
from tests.narrowing import present

JOB = {
    "name": "polite",
    "model": {"path": "org/model"},
    "data": {"train": {"path": "/data/train.jsonl"}},
    "reward": {"type": "sentiment"},
}
WANDB = {
    "type": "wandb",
    "wandb": {"project": "essa-tests", "tags": ["a", "b"], "name": None, "entity": None},
}


def job(*integrations: object) -> AlignmentJobSpec:
    return validate_job({**JOB, "integrations": list(integrations)})


def run_of(folder: Path, *integrations: object) -> ForwardedRun:
    return ForwardedRun("ftjob-0123456789abcdef", job(*integrations), folder)


def constraint(
    direction: Literal[">=", "<=", "="], threshold: float, multiplier: float | None
) -> ConstraintStatus:
    return ConstraintStatus(
        component="length",
        direction=direction,
        threshold=threshold,
        value=12.0,
        multiplier=multiplier,
        violation=0.0,
        is_held=True,
    )


def generation(number: int) -> GenerationEvent:
    return GenerationEvent(
        generation=number,
        fitness=[0.5, None],
        best=0.5 + number,
        mean=0.25,
        worst=math.nan,
        sigma=3.0,
        step_norm=1.0,
        distance=2.0,
        reliability=None,
        missing_scores=1,
        generated_tokens=100,
        tokens_per_s=50.0,
        rollout_s=2.0,
        reward_s=0.1,
        coordinator_s=0.01,
        elapsed_s=2.0,
        eta_s=8.0,
        tokens=1000,
        components={"thanks": 0.75},
        constraints=[constraint(">=", 5, 0.125), constraint("<=", 30, None)],
        feasible_frac=0.5,
    )


VALIDATION = ValidationEvent(generation=1, score=0.5, ci95=(0.25, 0.75), is_best=True)
SCORE = ScoreSummary(mean=0.75, ci95=(0.5, 1.0), prompts=10)
RESULT = ResultEvent(
    test={"base": SCORE, "aligned": SCORE},
    validation=SCORE,
    selected_generation=2,
    generations=3,
    stop_reason="generations",
    seconds=12.0,
    tokens=3000,
    adapter="/adapter",
    samples=[],
)


class Kept(EventSink):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, WarningEvent)]


class Receiver(Forwarder):
    """Takes what it gets, once it is let go on."""

    name = "receiver"

    def __init__(self, failing: frozenset[str] = frozenset()) -> None:
        self.failing = failing
        self.open = threading.Event()
        self.open.set()
        self.steps: list[int] = []
        self.end: tuple[str, dict[str, Value]] | None = None

    def begin(self, run: ForwardedRun) -> None:
        self._call("begin")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._call("log")
        self.steps.append(step)

    def finish(self, status: str, summary: Mapping[str, Value]) -> None:
        self._call("finish")
        self.end = (status, dict(summary))

    def _call(self, what: str) -> None:
        self.open.wait()
        if what in self.failing:
            raise RuntimeError(f"no {what}\nmore")


def test_a_generation_has_the_names_that_dashboards_group_by() -> None:
    step, values = present(point_of(generation(4)))
    assert step == values["generation"] == 4
    assert values["train/fitness_mean"] == 0.25
    assert values["train/fitness_best"] == 4.5
    assert values["search/sigma"] == 3
    assert values["perf/tokens_per_s"] == 50
    assert values["train/components/thanks"] == 0.75
    assert values["constraints/length/value"] == 12
    assert values["constraints/length/multiplier"] == 0.125
    assert values["constraints/length <= 30/threshold"] == 30
    assert values["constraints/feasible_frac"] == 0.5
    # What is missing or no number is left out.
    assert not {"train/fitness_worst", "train/reliability", "search/axis_ratio"} & values.keys()
    assert all(math.isfinite(value) for value in values.values())


def test_a_validation_and_the_result_bring_their_intervals() -> None:
    step, values = present(point_of(VALIDATION))
    assert step == 1
    assert {
        name: values[f"eval/{name}"] for name in ("score", "score_ci_low", "score_ci_high")
    } == {
        "score": 0.5,
        "score_ci_low": 0.25,
        "score_ci_high": 0.75,
    }
    summary = summary_of(RESULT)
    assert summary["test/aligned/score"] == 0.75
    assert summary["test/aligned/score_ci_low"] == 0.5
    assert summary["stop_reason"] == "generations"
    assert point_of(StageEvent(stage="search")) is None


def test_points_arrive_in_order_and_the_run_is_closed(tmp_path: Path) -> None:
    receiver, inner = Receiver(), Kept()
    with ForwardingSink(inner, [receiver], run_of(tmp_path)) as sink:
        for number in range(1, 51):
            sink.emit(generation(number))
        sink.emit(RESULT)
    assert sink.close("succeeded", 10.0)
    assert receiver.steps == list(range(1, 51))
    assert receiver.end == ("succeeded", summary_of(RESULT))
    assert len(inner.events) == 51
    assert inner.warnings() == []


@pytest.mark.parametrize(
    ("failing", "consequence"),
    [
        ("begin", "this job is not shown there"),
        ("log", "points of this job are missing"),
        ("finish", "its end is not shown"),
    ],
)
def test_a_receiver_that_fails_costs_one_warning(
    tmp_path: Path, failing: str, consequence: str
) -> None:
    receiver, other, inner = Receiver(frozenset({failing})), Receiver(), Kept()
    sink = ForwardingSink(inner, [receiver, other], run_of(tmp_path))
    for number in range(1, 11):
        sink.emit(generation(number))
    assert sink.close("succeeded", 10.0)
    assert inner.warnings() == [f"integration receiver: no {failing}; {consequence}"]
    assert (other.steps, other.end) == (list(range(1, 11)), ("succeeded", {}))


def test_a_receiver_that_hangs_neither_delays_events_nor_fills_the_memory(tmp_path: Path) -> None:
    receiver, warnings = Receiver(), []
    receiver.open.clear()
    forwarder = BackgroundForwarder(receiver, run_of(tmp_path), warnings.append, waiting=20)
    started = time.monotonic()
    for number in range(1, 5001):
        forwarder.put(generation(number))
    forwarder.end("succeeded")
    assert not forwarder.join(0.3)
    assert time.monotonic() - started < 5
    assert len(warnings) == 1
    assert "points of this job are missing" in warnings[0]
    receiver.open.set()
    assert forwarder.join(10.0)
    assert receiver.steps == list(range(1, 21))


def test_nothing_is_said_in_the_events_of_a_job_that_has_ended(tmp_path: Path) -> None:
    receiver, inner = Receiver(frozenset({"begin"})), Kept()
    receiver.open.clear()
    with ForwardingSink(inner, [receiver], run_of(tmp_path)) as sink:
        sink.emit(generation(1))
    receiver.open.set()
    assert sink.close("succeeded", 10.0)
    assert inner.warnings() == []


def test_what_an_integration_lacks_is_told_before_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ({"type": "tensorboard"}, {"type": "mlflow"}, WANDB)
    spec = job(*kinds)
    for number, problem in enumerate(integration_problems(spec.integrations, {})):
        assert problem.field.startswith("integrations.")
        place = int(problem.field.split(".")[1])
        kind = kinds[place]["type"]
        if not is_installed(kind):
            assert f"pip install 'essa-service[{kind}]'" in str(problem), number
        else:
            assert "MLFLOW_TRACKING_URI is not set" in str(problem)


def test_a_folder_that_is_named_like_a_library_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_installed("wandb"):
        pytest.skip("wandb is installed")
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not is_installed("wandb")


def play(folder: Path, spec: object, status: str = "succeeded") -> Kept:
    """A short job with one integration, and what it was warned of."""
    inner = Kept()
    run = run_of(folder, spec)
    with ForwardingSink(inner, [make_forwarder(run.spec.integrations[0])], run) as sink:
        for event in (generation(1), VALIDATION, generation(2), RESULT):
            sink.emit(event)
    assert sink.close(status, 60.0)
    return inner


def test_tensorboard_finds_the_scalars_and_a_resumed_run_replaces_what_it_repeats(
    tmp_path: Path,
) -> None:
    pytest.importorskip("tensorboardX")
    assert play(tmp_path, {"type": "tensorboard"}, "paused").warnings() == []
    first = scalars(tmp_path / "tensorboard")
    assert first["train/fitness_best"] == [(1, 1.5), (2, 2.5)]
    assert first["eval/score"] == [(1, 0.5)]
    assert first["test/aligned/score"] == [(2, 0.75)]
    time.sleep(1.1)  # the names of event files have seconds in them
    assert play(tmp_path, {"type": "tensorboard"}).warnings() == []
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboardX.proto import event_pb2

    # Its names are made as the module is loaded.
    kinds: Any = event_pb2

    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(folder.iterdir()):
        for record in records(file.read_bytes()):
            event = kinds.Event.FromString(record)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    point = (event.step, round(value.simple_value, 6))
                    found.setdefault(value.tag, []).append(point)
    return found


def records(content: bytes) -> Iterator[bytes]:
    """Each is its length, a checksum, the data and another checksum."""
    place = 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        yield content[place + 12 : place + 12 + length]
        place += 16 + length


def test_mlflow_keeps_one_run_for_all_starts_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    spec = {"type": "mlflow", "mlflow": {"experiment": "tests", "tags": {"team": "one"}}}
    assert play(tmp_path, spec, "paused").warnings() == []
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("tests").experiment_id
    (paused,) = client.search_runs([experiment])
    assert paused.info.status == "SCHEDULED"
    assert play(tmp_path, spec).warnings() == []
    (run,) = client.search_runs([experiment])
    assert (run.info.run_name, run.info.status) == ("polite", "FINISHED")
    assert run.data.tags["team"] == "one"
    assert run.data.tags["essa.stop_reason"] == "generations"
    assert run.data.params["search.type"] == "sep_cma_es"
    assert run.data.metrics["test/aligned/score"] == 0.75
    history = client.get_metric_history(run.info.run_id, "train/fitness_best")
    assert {(point.step, point.value) for point in history} == {(1, 1.5), (2, 2.5)}
    assert "constraints/length le 30/value" in run.data.metrics


def test_wandb_writes_a_run_that_has_the_jobs_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert play(tmp_path, WANDB).warnings() == []
    (folder,) = (tmp_path / "wandb").glob("offline-run-*-ftjob-0123456789abcdef")
    (file,) = folder.glob("*.wandb")
    content = file.read_bytes()
    for text in (b"train/fitness_best", b"eval/score_ci_low", b"test/aligned/score", b"sep_cma_es"):
        assert text in content
