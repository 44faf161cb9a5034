"""The benchmarks of the plan: their pure parts, without an engine."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from essa.plan.engine_speed import EngineSpeed
from essa.plan.measured import MeasuredEngines
from essa.spec.engine import Precision

BENCHMARKS = Path(__file__).resolve().parents[4] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch):
    """Import one of them, as if it were started."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def test_scaling_ends_with_one_line_of_json(benchmark, monkeypatch, capsys) -> None:
    script = benchmark("plan_scaling")
    monkeypatch.setattr("sys.argv", ["plan_scaling.py", "--generations", "1"])
    script.main()
    out = capsys.readouterr().out
    found = json.loads(out.rstrip().splitlines()[-1])
    assert found["benchmark"] == "plan_scaling"
    assert {len(points) for points in found["cases"].values()} == {11}
    even, failing = (found["cases"][name] for name in ("even", "and a failure a day"))
    assert even[7]["engines"] == 128
    assert even[7]["generation_s"] < failing[7]["generation_s"]
    assert failing[7]["efficiency"] > 0.5
    assert "| 128 |" in out
    assert "super-linear" in out


def test_the_papers_figures_beside_the_latency_models(benchmark) -> None:
    script = benchmark("plan_scaling")
    found = script.paper_figures(script.paper_setting(Precision.BF16))
    assert found["essa_speedup"] > 8 >= found["essa_predicted"] > 7.99
    assert found["grpo_predicted"] > 7.5
    # Only the gradients of the whole model come near to what the paper measured.
    assert found["grpo_full_predicted"] == pytest.approx(found["grpo_speedup"], rel=0.2)


@pytest.fixture
def against(benchmark) -> ModuleType:
    pytest.importorskip("transformers")
    return benchmark("plan_against_engines")


def test_prediction_is_held_against_the_median_turn(against) -> None:
    fit = MeasuredEngines(EngineSpeed(0.1, 0.0, 0.0), (1.0,), (10,), 0.0, 8)
    measured = {"two": [9.0, 2.0, 4.0]}
    shape = against.Shape(4, 8)
    # Four items of a second each on two engines, which beside each other take twice as long.
    row = against.compared("two", measured, fit, 8, 2, shape, beside=0.5)
    assert (row["measured_s"], row["engines"]) == (4.0, 2)
    assert row["predicted_s"] == pytest.approx(4.0)
    assert row["ratio"] == pytest.approx(1.0)
    assert row["ratio_alone"] == pytest.approx(0.5)


def test_shares_of_a_generation_are_never_empty(against) -> None:
    whole = against.Shape(16, 24)
    assert against.part_of(whole, (0.25, 0.5)) == (4, 12)
    assert against.part_of(whole, (0.001, 0.001)) == (1, 1)


def test_an_engines_work_is_in_the_order_it_was_given(against) -> None:
    def result(engine: int, key: int, *lengths: int) -> SimpleNamespace:
        answers = [(SimpleNamespace(token_ids=(0,) * length),) for length in lengths]
        return SimpleNamespace(engine=engine, item=SimpleNamespace(key=key), completions=answers)

    work = against.engine_work([result(0, 2, 5, 6), result(1, 1, 9), result(0, 0, 0, 4)], 3.0)
    assert (work.items, work.seconds) == (((1, 4), (5, 6)), 3.0)
