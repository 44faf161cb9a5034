"""The unmodified `openai` client drives a running service."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from alignment_api.auth.keys import KeyRepository, Scope
from tests.integration.api_harness import Service, running_service, wait_until
from tests.integration.api_scripted_job import GENERATIONS
from tests.narrowing import of_kind, present

ROWS = b"".join(b'{"prompt": "p%d", "answer": "Paris"}\n' % number for number in range(16))
EVOLUTION = {"reward": {"type": "sentiment"}, "budget": {"generations": GENERATIONS}}
CHECK: Any = {
    "type": "string_check",
    "name": "right",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home: Path = tmp_path_factory.mktemp("openai")
    with running_service(home, auth="on", heartbeat_s=0.5) as started:
        keys: KeyRepository = started.app.state.keys
        secret = keys.add("notebook", [Scope.READ, Scope.SUBMIT], keys.ensure_project()).secret
        # The harness asks for jobs with it, too.
        started.client.headers["Authorization"] = f"Bearer {secret}"
        yield started


@pytest.fixture
def client(service: Service) -> Iterator[OpenAI]:
    key = service.client.headers["Authorization"].removeprefix("Bearer ")
    with OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0) as opened:
        yield opened


@pytest.fixture
def file_id(client: OpenAI) -> str:
    return client.files.create(file=("train.jsonl", io.BytesIO(ROWS)), purpose="fine-tune").id


def create(client: OpenAI, file_id: str, **changes: Any) -> Any:
    method: Any = {"type": "evolution", "evolution": EVOLUTION | changes.pop("evolution", {})}
    given = {"model": "org/model", "training_file": file_id, "method": method} | changes
    return client.fine_tuning.jobs.create(**given)


def test_files_are_uploaded_listed_read_and_deleted(client: OpenAI) -> None:
    file = client.files.create(file=("mine.jsonl", io.BytesIO(ROWS)), purpose="fine-tune")
    assert (file.object, file.filename, file.bytes) == ("file", "mine.jsonl", len(ROWS))
    assert (file.purpose, file.status) == ("fine-tune", "processed")
    assert client.files.retrieve(file.id).id == file.id
    assert client.files.content(file.id).read() == ROWS
    assert file.id in [one.id for one in client.files.list()]
    assert client.files.delete(file.id).deleted is True
    with pytest.raises(openai.NotFoundError, match=file.id):
        client.files.retrieve(file.id)


def test_a_job_runs_to_its_model(client: OpenAI, service: Service, file_id: str) -> None:
    job = create(client, file_id, suffix="kind", seed=4, metadata={"team": "a"})
    assert (job.object, job.model, job.training_file) == ("fine_tuning.job", "org/model", file_id)
    assert job.status in ("queued", "running")
    assert (job.fine_tuned_model, job.finished_at, job.result_files) == (None, None, [])
    service.wait_for(job.id, "succeeded", "failed")
    job = client.fine_tuning.jobs.retrieve(job.id)
    assert (job.status, job.error, job.seed) == ("succeeded", None, 4)
    assert job.fine_tuned_model == f"ft:model:proj_default:kind:{job.id.removeprefix('ftjob-')}"
    assert job.trained_tokens == 400
    assert job.metadata == {"team": "a"}
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=3))
    assert len(events) == 2 + 2 * GENERATIONS
    assert of_kind(dict, events[0].data)["type"] == "result"
    assert events[-1].message.startswith("search: ")
    assert {event.type for event in events} == {"message", "metrics"}
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=2))
    assert [one.step_number for one in checkpoints] == [4, 3, 2, 1]
    assert checkpoints[0].metrics.step == 4
    assert checkpoints[0].fine_tuned_model_checkpoint.startswith(present(job.fine_tuned_model))


def test_jobs_are_listed_over_pages(client: OpenAI, file_id: str) -> None:
    ids = [create(client, file_id, metadata={"batch": "pages"}).id for _ in range(5)]
    listed = [job.id for job in client.fine_tuning.jobs.list(limit=2, metadata={"batch": "pages"})]
    assert listed == ids[::-1]
    page = client.fine_tuning.jobs.list(limit=2, after=ids[3])
    assert [job.id for job in page.data] == [ids[2], ids[1]]
    assert page.has_more is True


def test_a_job_is_paused_resumed_and_cancelled(
    client: OpenAI, service: Service, file_id: str
) -> None:
    jobs = client.fine_tuning.jobs
    job = create(client, file_id, evolution={"name": "slow"})
    service.wait_for(job.id, "running")
    jobs.pause(job.id)
    service.wait_for(job.id, "paused")
    assert jobs.resume(job.id).status == "queued"
    service.allow(job.id, 1)
    wait_until(
        lambda: any(
            of_kind(dict, event.data)["type"] == "generation" for event in jobs.list_events(job.id)
        ),
        "a generation",
    )
    jobs.cancel(job.id)
    assert service.wait_for(job.id, "cancelled")["status"] == jobs.retrieve(job.id).status
    assert jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(openai.ConflictError, match="clone it"):
        jobs.resume(job.id)


def test_plain_reinforcement_needs_a_grader_alone(client: OpenAI, file_id: str) -> None:
    method: Any = {"type": "reinforcement", "reinforcement": {"grader": CHECK}}
    job = client.fine_tuning.jobs.create(model="org/model", training_file=file_id, method=method)
    assert job.method is not None
    assert (job.method.type, present(job.method.reinforcement).grader.type) == (
        "reinforcement",
        "string_check",
    )
    assert of_kind(dict, job.to_dict()["essa"])["spec"]["reward"]["type"] == "exact_match"


def test_graders_are_checked_and_run(client: OpenAI) -> None:
    graders = client.fine_tuning.alpha.graders
    checked = graders.validate(grader=CHECK)
    assert of_kind(dict, checked.to_dict(warnings=False)["grader"])["type"] == "exact_match"
    run = graders.run(grader=CHECK, model_sample="Paris", item={"answer": "Paris"})
    assert run.reward == 1.0
    assert (run.metadata.name, run.metadata.errors.other_error) == ("right", False)
    raw = client.post(
        "/fine_tuning/alpha/graders/run",
        body={"grader": {"type": "sentiment"}, "samples": [{"completion": "a great day"}]},
        cast_to=dict[str, Any],
    )
    assert raw["results"][0]["reward"] > 0.5


def test_what_is_wrong_is_raised_as_the_client_raises_it(
    client: OpenAI, service: Service, file_id: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, file_id, evolution={"search": {"type": "sep_cma_es", "population": 1}})
    assert caught.value.param == "method.evolution.search.population"
    assert caught.value.code == "invalid_spec"
    assert "3 or more" in caught.value.message
    with pytest.raises(openai.BadRequestError, match="there is no file") as caught:
        create(client, "file-0")
    assert caught.value.param == "training_file"
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(
            model="org/model", training_file=file_id, method={"type": "dpo"}
        )
    assert caught.value.code == "method_not_available"
    with pytest.raises(openai.BadRequestError, match="line 2 is not JSON"):
        client.files.create(
            file=("bad.jsonl", io.BytesIO(b'{"prompt": "a"}\nnonsense\n')), purpose="fine-tune"
        )
    with pytest.raises(openai.NotFoundError, match="there is no job ftjob-0"):
        client.fine_tuning.jobs.retrieve("ftjob-0")
    python: Any = {"type": "python", "name": "mine", "source": "def grade(sample, item): ..."}
    with pytest.raises(openai.PermissionDeniedError, match="`code`"):
        client.fine_tuning.alpha.graders.validate(grader=python)
    stranger = OpenAI(base_url=f"{service.url}/v1", api_key="essa-wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError, match="not valid here"):
        stranger.fine_tuning.jobs.list()


def test_a_request_that_the_client_repeats_silently_makes_one_job(
    service: Service, client: OpenAI, file_id: str
) -> None:
    """The first answer is lost on its way, as on a bad network; the client tries again."""
    import httpx

    class LosesTheFirstAnswer(httpx.BaseTransport):
        def __init__(self) -> None:
            self._inner = httpx.HTTPTransport()
            self.counts: list[str] = []

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = self._inner.handle_request(request)
            self.counts.append(request.headers["x-stainless-retry-count"])
            if len(self.counts) == 1:
                answer.read()
                raise httpx.ReadTimeout("lost", request=request)
            return answer

    transport = LosesTheFirstAnswer()
    # By its annotations the library takes another copy of httpx; it runs with this one too.
    http_client: Any = httpx.Client(transport=transport)
    retrying = OpenAI(
        base_url=f"{service.url}/v1",
        api_key=client.api_key,
        max_retries=2,
        http_client=http_client,
    )
    job = create(retrying, file_id, metadata={"batch": "lost"})
    assert transport.counts == ["0", "1"]
    found = client.fine_tuning.jobs.list(metadata={"batch": "lost"})
    assert [one.id for one in found] == [job.id]


def test_events_can_be_followed_live(client: OpenAI, service: Service, file_id: str) -> None:
    job = create(client, file_id)
    service.wait_for(job.id, "succeeded")
    path = f"{service.url}/v1/fine_tuning/jobs/{job.id}/events?stream=true"
    text = service.client.get(path).text
    assert text.count("event: generation") == GENERATIONS
    assert text.rstrip().endswith('data: {"status": "succeeded"}')
