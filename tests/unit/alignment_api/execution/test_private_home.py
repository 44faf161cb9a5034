"""The jobs of a folder: what an earlier version has left, and what changes between two starts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from alignment_api.errors import HomeInUseError
from alignment_api.execution.event_lines import EVENTS_FILE, EventLines, read_events
from alignment_api.execution.private_home import ONLY_JOB, PrivateHome
from alignment_api.settings import Settings
from alignment_api.store.job_status import JobStatus
from essa.events import StageEvent
from essa.spec import AlignmentJobSpec
from essa.testing import RecordingSink

WRITTEN = Path(__file__).parents[4] / "tests" / "data" / "home_31b3476"


@pytest.fixture
def spec() -> AlignmentJobSpec:
    return AlignmentJobSpec.model_validate(
        {
            "name": "quick",
            "model": {"path": "org/model"},
            "data": {"train": {"path": "train.jsonl"}},
            "reward": {"type": "sentiment"},
        }
    )


@pytest.fixture
def home(tmp_path: Path) -> Iterator[PrivateHome]:
    with PrivateHome(tmp_path / "run", Settings(home=tmp_path / "home")) as opened:
        yield opened


def test_a_run_of_an_earlier_version_keeps_its_events_and_its_result(tmp_path, spec):
    shutil.copytree(WRITTEN / "run", tmp_path / "run")
    lines = (WRITTEN / "run" / EVENTS_FILE).read_text().splitlines()
    with PrivateHome(tmp_path / "run", Settings(home=tmp_path / "home")) as home:
        home.take_up(ONLY_JOB, spec)
        job = home.take_up(ONLY_JOB, spec)
        assert job.status is JobStatus.SUCCEEDED
        types = [event.type for event in home.all_events(ONLY_JOB)]
    assert types == [json.loads(line)["type"] for line in lines]
    assert home.settings.run_dir(ONLY_JOB) == tmp_path / "run"


def test_whatever_became_of_a_job_it_starts_again_with_other_settings(home, spec):
    home.take_up(ONLY_JOB, spec)
    for number in range(1, 4):
        changed = spec.model_copy(update={"batch_size": number + 1})
        home.jobs.restart(ONLY_JOB, changed)
        (job,) = home.claimed()
        assert (job.spec, job.starts) == (changed, number - 1)
        home.jobs.fail(ONLY_JOB, "engine_error", "it broke")
        assert home.jobs.get(ONLY_JOB).error_message == "it broke"
    home.jobs.restart(ONLY_JOB, spec)
    assert home.jobs.get(ONLY_JOB).error_message is None


def test_a_folder_is_run_by_one_process(home, tmp_path):
    with (
        home.lock,
        PrivateHome(tmp_path / "run", home.settings) as other,
        pytest.raises(HomeInUseError, match="is in use by process"),
    ):
        other.lock.acquire()


def test_a_folder_may_be_called_anything(tmp_path, spec):
    folder = tmp_path / "50 % of it? #1"
    with PrivateHome(folder, Settings(home=tmp_path / "home")) as home:
        home.take_up(ONLY_JOB, spec)
    assert PrivateHome.exists(folder)


def test_half_a_line_that_a_killed_process_has_left_is_taken_away(tmp_path):
    stages = [StageEvent(stage="search", message=text) for text in ("one", "two")]
    EventLines(RecordingSink(), tmp_path).emit(stages[0])
    with (tmp_path / EVENTS_FILE).open("a") as file:
        file.write('{"type": "half')
    assert read_events(tmp_path) == stages[:1]
    EventLines(RecordingSink(), tmp_path).emit(stages[1])
    assert read_events(tmp_path) == stages
