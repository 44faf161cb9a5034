"""How large `make demo` is on a fast and on a slow machine."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest

from essa.plan.job_speeds import JobSpeeds
from essa.spec import AlignmentJobSpec, RejectionSamplingWarmStartSpec
from essa.spec.reading.file import load_job_file
from tests.narrowing import of_kind, present

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "upbeat"
SPENT_S = 110.0

FAST = JobSpeeds(
    precision="int8", cluster_s=4, engines_s=22, answer_s=0.02, train_load_s=3, train_step_s=1.0,
    reference_load_s=2, reference_answer_s=0.2,
)  # fmt: skip
SLOW = JobSpeeds(
    precision="int8", cluster_s=5, engines_s=35, answer_s=0.1, train_load_s=4, train_step_s=2.5,
    reference_load_s=4, reference_answer_s=0.25,
)  # fmt: skip


def slower(speeds: JobSpeeds, factor: float) -> JobSpeeds:
    return JobSpeeds(speeds.precision, *(factor * seconds for seconds in speeds[1:]))


@pytest.fixture(scope="module")
def scale(load):
    return load("scale")


@pytest.fixture(scope="module")
def job(scale):
    return load_job_file(FOLDER / "job.yaml", list(scale.SETTING))


def scaled(scale, chosen) -> AlignmentJobSpec:
    changes = [*scale.SETTING, *scale.overrides(chosen, "int8", SPENT_S)]
    return load_job_file(FOLDER / "job.yaml", changes)


def test_a_fast_machine_does_all_and_has_time_left(scale, job) -> None:
    chosen = scale.choose_scale(job, FAST, SPENT_S)
    assert chosen.size == scale.SIZES[0]
    assert chosen.generations == chosen.size.most
    assert SPENT_S + chosen.seconds < scale.AIM_S


def test_a_slow_machine_does_less_in_the_time_there_is(scale, job) -> None:
    chosen = scale.choose_scale(job, SLOW, SPENT_S)
    assert chosen.size in scale.SIZES[1:]
    assert SPENT_S + chosen.seconds <= scale.AIM_S


@pytest.mark.parametrize("factor", [0.3, 1, 1.5, 2, 3, 5, 7, 9, 12, 20, 100])
def test_every_demo_is_large_enough_and_the_estimate_is_kept(scale, job, factor) -> None:
    chosen = scale.choose_scale(job, slower(FAST, factor), SPENT_S)
    assert chosen.size.test >= 120
    assert chosen.generations >= 4
    assert chosen.size.fewest <= chosen.generations <= chosen.size.most
    is_smallest = chosen.size == scale.SIZES[-1] and chosen.generations == chosen.size.fewest
    assert is_smallest or SPENT_S + chosen.seconds <= scale.AIM_S


def test_a_slower_machine_is_never_given_more(scale, job) -> None:
    factors = [1 + 0.1 * step for step in range(100)]
    chosen = [scale.choose_scale(job, slower(FAST, factor), SPENT_S) for factor in factors]
    ranks = [scale.SIZES.index(one.size) for one in chosen]
    assert ranks == sorted(ranks)
    assert ranks[0] == 0
    assert ranks[-1] == len(scale.SIZES) - 1
    for one, next_one in pairwise(chosen):
        assert one.size != next_one.size or one.generations >= next_one.generations


def test_the_estimate_counts_every_part_once(scale, job) -> None:
    once = scale.choose_scale(job, FAST, SPENT_S)
    # Everything but what a machine's speed has no part in.
    twice = scale._scale(job, slower(FAST, 2), once.size, once.generations)
    assert twice.seconds - scale.OTHER_S == pytest.approx(2 * (once.seconds - scale.OTHER_S))
    more = scale._scale(job, FAST, once.size, once.generations + 1)
    generation_s = job.search.population * once.size.batch * FAST.answer_s
    assert more.parts_s["search"] - once.parts_s["search"] in (
        pytest.approx(generation_s),
        pytest.approx(generation_s + once.size.validation * FAST.answer_s),
    )
    skipped = FAST._replace(reference_load_s=0.0, reference_answer_s=0.0)
    assert "gate" not in scale.choose_scale(job, skipped, SPENT_S).parts_s


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_the_search_ends_in_time_for_the_test(scale, job, factor) -> None:
    speeds = slower(FAST, factor)
    chosen = scale.choose_scale(job, speeds, SPENT_S)
    changed = scaled(scale, chosen)
    after_s = sum(chosen.parts_s.get(part, 0.0) for part in ("test", "served"))
    budget_s = present(changed.budget.wall_s)
    assert SPENT_S + budget_s + after_s < scale.LIMIT_S
    before_s = chosen.seconds - after_s
    assert budget_s > before_s


def test_a_machine_that_is_too_slow_is_not_cut_short(scale, job) -> None:
    chosen = scale.choose_scale(job, slower(SLOW, 8), SPENT_S)
    assert SPENT_S + chosen.seconds > scale.LIMIT_S
    changed = scaled(scale, chosen)
    assert changed.budget.wall_s is None


def test_the_job_has_the_size_that_was_chosen(scale, job) -> None:
    chosen = scale.choose_scale(job, SLOW, SPENT_S)
    changed = scaled(scale, chosen)
    assert (
        of_kind(RejectionSamplingWarmStartSpec, changed.warm_start).max_prompts
        == chosen.size.warm_start
    )
    assert present(changed.data.validation).limit == chosen.size.validation
    assert present(changed.data.test).limit == chosen.size.test
    assert changed.budget.generations == chosen.generations
    assert changed.batch_size == chosen.size.batch
    assert changed.serving_precision == changed.engine.precision == "int8"
    assert changed.budget.target_score is None
    # The rest is the job as it stands in its file.
    kept = {"warm_start", "data", "budget", "evaluation", "batch_size", "engine"}
    assert changed.model_dump(exclude=kept) == job.model_dump(exclude=kept)


def test_sizes_fit_the_data(scale) -> None:
    rows = {name: len((FOLDER / f"{name}.jsonl").read_text().splitlines()) for name in
            ("train", "validation", "test")}  # fmt: skip
    for size in scale.SIZES:
        assert size.warm_start <= rows["train"]
        assert size.validation <= rows["validation"]
        assert size.test <= rows["test"]
    totals = [sum(value for value in asdict(size).values()) for size in scale.SIZES]
    assert totals == sorted(totals, reverse=True)


@pytest.mark.parametrize(
    ("cores", "gib", "engines"),
    [(2, 20, 2), (2, 7, 2), (2, 6, 1), (1, 20, 1), (2, 3, 1), (8, 20, 2)],
)
def test_every_engine_has_a_core_and_memory(scale, cores, gib, engines) -> None:
    assert scale.fitting_engines(2, cores, gib * 2**30) == engines
