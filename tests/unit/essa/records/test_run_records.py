"""What a run leaves behind: completions, mean vectors, the timeline; once each, also on resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from essa.coordinator.state import Preparation, load_run
from essa.errors import JobCancelledError
from essa.events import GenerationEvent, ValidationEvent
from essa.records.recorder import RunRecorder
from essa.records.rollouts import kept_pairs, rollout_files, spread, write_rollouts
from essa.records.timeline import FILE, append_work, read_timeline
from essa.records.vectors import kept_generations, read_vector
from essa.spec import AlignmentJobSpec
from essa.spec.job import EvaluationSpec
from essa.types import PopulationScores, Row
from tests.unit.essa.coordinator.coordinator_bench import (
    DATA,
    DIGEST,
    DIMENSION,
    Bench,
    cancel_at,
    job,
    only,
)


class RecordedBench(Bench):
    """A bench whose runs are recorded beside their checkpoint."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.run_dir = folder

    def run(self, spec: AlignmentJobSpec, **settings):
        with RunRecorder(self.run_dir, spec.evaluation) as recorder:
            return super().run(spec, recorder=recorder, **settings)

    def rows(self, name: str) -> list[dict]:
        return pq.read_table(self.run_dir / "rollouts" / f"{name}.parquet").to_pylist()

    def everything(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.run_dir).as_posix(): path.read_bytes()
            for path in sorted(self.run_dir.rglob("*"))
            if path.is_file() and "search.ckpt" not in path.name and path.name != FILE
        }


@pytest.fixture
def bench(tmp_path: Path) -> RecordedBench:
    return RecordedBench(tmp_path)


@pytest.fixture
def other_bench(tmp_path: Path) -> RecordedBench:
    return RecordedBench(tmp_path / "other")


# -- completions ----------------------------------------------------------------------------


def test_every_completion_of_a_generation_is_kept_with_its_scores(bench):
    bench.run(job())
    rows = bench.rows("train-000002")
    call = next(call for call in bench.evaluator.calls if call.label == "generation 2")
    assert len(rows) == 8 * 12
    fitness = bench.sink.of(GenerationEvent)[1].fitness
    for candidate in range(8):
        own = [row for row in rows if row["candidate"] == candidate]
        assert [row["prompt_index"] for row in own] == [row.index for row in call.rows]
        assert np.mean([row["score"] for row in own]) == pytest.approx(fitness[candidate])
    first = rows[0]
    index = first["prompt_index"]
    assert first == {
        "row": 0,
        "set": "train",
        "generation": 2,
        "candidate": 0,
        "model": None,
        "prompt_index": index,
        "prompt": f"prompt {index}",
        "completion": f"answer 0 to {index}",
        "score": first["score"],
        "components": {"doubled": 2 * first["score"]},
    }


def test_validation_and_test_have_files_of_their_own(bench):
    bench.run(job(budget={"generations": 3}, evaluation={"every": 2}))
    assert [file.path.stem for file in rollout_files(bench.run_dir)] == [
        "validation-000000",
        "train-000001",
        "train-000002",
        "validation-000002",
        "train-000003",
        "validation-000003",
        "test",
    ]
    validated = bench.rows("validation-000002")
    assert {(row["set"], row["candidate"], row["model"]) for row in validated} == {
        ("validation", None, None)
    }
    assert [row["prompt_index"] for row in validated] == [row.index for row in DATA.validation]
    tested = bench.rows("test")
    assert [row["model"] for row in tested] == [
        *["base"] * 30,
        *["warm_start"] * 30,
        *["aligned"] * 30,
    ]
    assert {row["generation"] for row in tested} == {None}


def test_a_missing_score_is_null(bench):
    def lose(rewards):
        rewards[1, :2] = np.nan
        return rewards

    bench.run(job(), spoil=only("generation 1", lose))
    rows = bench.rows("train-000001")
    lost = [row for row in rows if row["score"] is None]
    assert [(row["candidate"], row["components"]) for row in lost] == [(1, {"doubled": None})] * 2
    assert len(rows) == 96


@pytest.mark.parametrize(
    ("evaluation", "train", "test"),
    [
        ({"rollouts": "all", "rollouts_kept": 10}, 96, 90),
        ({"rollouts": "sampled"}, 96, 90),
        ({"rollouts": "sampled", "rollouts_kept": 40}, 8 * 5, 90),
        ({"rollouts": "sampled", "rollouts_kept": 3}, 3, 90),
    ],
)
def test_the_job_says_how_much_is_kept(bench, evaluation, train, test):
    bench.run(job(evaluation=evaluation))
    assert len(bench.rows("train-000001")) == train
    assert len(bench.rows("test")) == test


def test_none_keeps_no_completions_but_vectors_and_timeline(bench):
    bench.run(job(evaluation={"rollouts": "none"}))
    assert rollout_files(bench.run_dir) == []
    assert kept_generations(bench.run_dir) == list(range(7))
    assert read_timeline(bench.run_dir)


@pytest.mark.parametrize(("candidates", "prompts"), [(8, 12), (96, 128), (5000, 4), (1, 10_000)])
@pytest.mark.parametrize("most", [1, 7, 100, 2048])
def test_what_is_kept_fits_and_is_spread_over_both(candidates, prompts, most):
    kept_candidates, kept_prompts = kept_pairs(candidates, prompts, most)
    assert 0 < len(kept_candidates) * len(kept_prompts) <= most or (
        len(kept_candidates) * len(kept_prompts) == candidates * prompts
    )
    assert kept_candidates == spread(candidates, len(kept_candidates))
    assert kept_prompts == spread(prompts, len(kept_prompts))


def test_half_a_surrogate_pair_does_not_lose_the_file(tmp_path):
    scores = PopulationScores(np.zeros((1, 2)), {}, [["\ud83d", "fine"]], 0, 0, 0.0, 0.0)
    write_rollouts(tmp_path, "train", 1, [Row(0, "a"), Row(1, "b")], scores)
    table = pq.read_table(tmp_path / "rollouts" / "train-000001.parquet")
    assert table["completion"].to_pylist() == ["?", "fine"]
    assert "components" not in table.column_names


def test_the_prompt_is_kept_as_the_user_wrote_it():
    system = {"role": "system", "content": "be kind"}
    chat = (system, {"role": "user", "content": "what is 2 + 2?"})
    assert Row(0, "<user>hi", {"prompt": "hi"}).written == "hi"
    assert Row(0, "<user>what is 2 + 2?", {"question": "2 + 2"}, chat).written == "what is 2 + 2?"
    assert Row(0, "plain").written == "plain"


# -- vectors --------------------------------------------------------------------------------


def test_the_mean_of_every_generation_is_kept_exactly(bench):
    bench.run(job(evaluation={"every": 1}))
    scored = [call for call in bench.evaluator.calls if call.label == "validation"]
    assert kept_generations(bench.run_dir) == list(range(7))
    for generation, call in enumerate(scored):
        vector = read_vector(bench.run_dir, generation)
        np.testing.assert_array_equal(vector, call.vectors_N_D[0])
        assert vector.dtype == np.float64
    np.testing.assert_array_equal(read_vector(bench.run_dir, 0), np.zeros(DIMENSION))


# -- timeline and costs ---------------------------------------------------------------------


def test_the_timeline_counts_from_the_jobs_start_and_names_what_was_done(bench):
    spec = job({"sigma_init": "auto", "ladder": {"sigmas": [0.3, 0.5]}}, evaluation={"every": 6})
    bench.run(spec, before=Preparation(seconds=50.0))
    works = read_timeline(bench.run_dir)
    kinds = [(work.kind, work.generation) for work in works]
    assert kinds == [
        ("ladder", 0),
        ("ladder", 0),
        ("validation", 0),
        *(("train", number) for number in range(1, 7)),
        ("validation", 6),
        ("test", None),
    ]
    # Two seconds an evaluation, half of it rollouts.
    starts = [work.spans[0].started_s for work in works]
    assert starts == [50.0 + 2 * index for index in range(len(works))]
    train = works[3].spans
    assert [span.candidates for span in train] == [(number,) for number in range(8)]
    assert {span.engine for span in train} == {0, 1}
    assert all(span.ended_s == span.started_s + 1 and span.tokens == 4 * 12 for span in train)
    assert [span.candidates for span in works[-1].spans] == [(), (0,), (1,)]


def test_events_tell_what_was_spent_so_far(bench):
    bench.run(
        job(evaluation={"every": 3}), before=Preparation(seconds=50.0, samples=1000), devices=4
    )
    generations, validations = bench.sink.of(GenerationEvent), bench.sink.of(ValidationEvent)
    assert [event.samples for event in validations] == [1020, 1040 + 3 * 96, 1060 + 6 * 96]
    assert generations[0].samples == 1020 + 96
    assert generations[-1].samples == validations[-1].samples
    assert generations[-1].tokens == 14 * (60 + 6 * 96)
    for event in [*generations, *validations]:
        assert event.device_s == 4 * event.elapsed_s
    assert validations[0].elapsed_s == 52.0


# -- resume ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", ["generation 1", "generation 4", "validation", "test"])
def test_a_resumed_run_has_the_records_of_an_undisturbed_one(bench, other_bench, stop):
    spec = job(evaluation={"every": 1})
    bench.run(spec)
    with pytest.raises(JobCancelledError):
        other_bench.run(spec, spoil=cancel_at(stop))
    other_bench.run(spec)
    ours, theirs = bench.everything(), other_bench.everything()
    assert {name for name in ours if not name.startswith("other/")} == set(theirs)
    assert all(ours[name] == content for name, content in theirs.items())
    whole, resumed = read_timeline(bench.run_dir), read_timeline(other_bench.run_dir)
    assert [(work.kind, work.generation) for work in resumed] == [
        (work.kind, work.generation) for work in whole
    ]


def test_what_a_crash_left_half_done_is_thrown_away(bench):
    spec = job(evaluation={"every": 1})
    with pytest.raises(JobCancelledError):
        bench.run(spec, spoil=cancel_at("generation 4"))
    # Killed between the records of generation 4 and its checkpoint, and in the middle of a write.
    folder = bench.run_dir / "rollouts"
    (folder / "train-000004.parquet").write_bytes((folder / "train-000003.parquet").read_bytes())
    (folder / ".train-000005.parquet.x1").write_bytes(b"PAR1")
    append_work(bench.run_dir, read_timeline(bench.run_dir)[-1]._replace(generation=4))
    with (bench.run_dir / FILE).open("ab") as file:
        file.write(b'["train",4,[[0,')
    # ... and before the newest vector was on disk.
    (bench.run_dir / "vectors" / "000003.npy").unlink()
    with pytest.raises(JobCancelledError):
        bench.run(spec, spoil=cancel_at("generation 4"))
    assert {file.generation for file in rollout_files(bench.run_dir)} == {0, 1, 2, 3}
    assert not list(folder.glob(".*"))
    assert [work.generation for work in read_timeline(bench.run_dir)] == [0, 1, 1, 2, 2, 3, 3]
    assert kept_generations(bench.run_dir) == [0, 1, 2, 3]
    saved = load_run(bench.checkpoint, DIGEST)
    assert saved is not None
    bench.run(spec)
    assert kept_generations(bench.run_dir) == list(range(7))


def test_samples_survive_a_resume(bench, other_bench):
    bench.run(job(), before=Preparation(samples=1000))
    with pytest.raises(JobCancelledError):
        other_bench.run(job(), spoil=cancel_at("generation 4"), before=Preparation(samples=1000))
    other_bench.run(job())
    assert other_bench.sink.of(GenerationEvent)[-1] == bench.sink.of(GenerationEvent)[-1]


# -- records must not disturb ---------------------------------------------------------------


def test_a_folder_that_cannot_be_written_costs_the_records_and_not_the_run(bench, other_bench):
    other_bench.run_dir.mkdir()
    (other_bench.run_dir / "rollouts").write_text("in the way")
    (other_bench.run_dir / "vectors").write_text("in the way")
    outcome = other_bench.run(job())
    assert outcome.result == bench.run(job()).result
    assert "evaluation.rollouts" in other_bench.warnings()["records_not_written"]
    assert str(other_bench.run_dir) in other_bench.warnings()["records_not_written"]


def test_recording_changes_nothing_of_the_search(bench, tmp_path):
    recorded = bench.run(job())
    plain = Bench(tmp_path / "plain").run(job())
    np.testing.assert_array_equal(recorded.vector, plain.vector)
    assert recorded.result == plain.result


def test_closing_writes_what_waits_and_can_be_repeated(tmp_path):
    recorder = RunRecorder(tmp_path, EvaluationSpec())
    for generation in range(50):
        recorder.vector(generation, np.full(4, float(generation)))
    recorder.close()
    recorder.close()
    assert kept_generations(tmp_path) == list(range(50))
    np.testing.assert_array_equal(read_vector(tmp_path, 49), np.full(4, 49.0))
