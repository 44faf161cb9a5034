"""Model servers on a machine with GPUs: they hold slots as jobs do. The servers are scripted."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from alignment_api.inference import gpus, launch
from tests.integration.api_harness import wait_until
from tests.integration.api_inference_bench import SERVER, bench, is_gone, pids


@pytest.fixture(autouse=True)
def cuda_build(monkeypatch):
    """As where vLLM's CUDA wheel is installed and the driver shows two GPUs."""
    monkeypatch.setattr(gpus, "is_cpu_build", lambda: False)
    monkeypatch.setattr(launch, "_program", lambda: SERVER)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")


def _visible(process: int) -> str:
    variables = dict(
        pair.split("=", 1)
        for pair in Path(f"/proc/{process}/environ").read_text().split("\0")
        if "=" in pair
    )
    return variables["CUDA_VISIBLE_DEVICES"]


def test_a_server_takes_a_gpu_that_no_job_holds_and_keeps_it_from_jobs(tmp_path):
    with bench(tmp_path, inference_command=None, engine_slots=2) as it:
        job = it.service.submit(name="slow")
        it.service.wait_for(job, "running")
        assert it.said("hello")
        assert _visible(pids(it.base)[0][0]) == "6"
        assert it.service.app.state.queue.free_slots == 0
        # Idle, it gives way to the next job.
        second = it.service.submit(name="slow")
        it.service.wait_for(second, "running")
        wait_until(lambda: is_gone(pids(it.base)[0]), "the server to be gone")
        with pytest.raises(openai.InternalServerError, match="all 2 GPUs are held") as caught:
            it.said("hello again")
        assert caught.value.status_code == 503
        it.service.client.post(f"/v1/fine_tuning/jobs/{second}/cancel")
        it.service.wait_for(second, "cancelled")
        wait_until(lambda: it.service.app.state.queue.free_slots == 1, "its slot")
        assert it.said("and again")


def test_a_service_that_sees_no_gpu_says_where_models_can_be_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with (
        bench(tmp_path, inference_command=None) as it,
        pytest.raises(openai.APIStatusError, match=r"sees no GPU.*essa export"),
    ):
        it.said("hello")


def test_gpus_of_a_cluster_are_left_alone_unless_the_service_is_given_its_own(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("ESSA_RAY_ADDRESS", "head:6379")
    with bench(tmp_path, inference_command=None) as it:
        assert it.said("hello")
        assert _visible(pids(it.base)[0][0]) == "4,6"
