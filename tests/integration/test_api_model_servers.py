"""When model servers start, stop, crash and make room for each other."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import openai
import pytest

from alignment_api.auth.keys import KeyRepository
from alignment_api.settings import Settings
from alignment_api.store import Store
from tests.integration.api_finished_jobs import add_finished_job, base_folder
from tests.integration.api_harness import free_port, serve_process, wait_until
from tests.integration.api_inference_bench import CHAT, SERVER, bench, is_gone, pids


def test_a_request_beyond_the_limit_is_told_to_come_back(tmp_path):
    with bench(tmp_path, inference_requests=1) as one:
        with one.ask("hang", stream=True) as stream:
            next(iter(stream))
            with pytest.raises(openai.RateLimitError) as told:
                one.ask("hi")
            assert told.value.response.headers["retry-after"] == "1"
        wait_until(lambda: one.service.app.state.inference._running == 0, "the stream to end")
        assert one.said("hi").endswith("says hi")


def test_an_idle_server_stops_with_all_it_has_started_and_comes_back_when_asked(tmp_path):
    with bench(tmp_path, inference_idle_s=0.3) as one:
        one.said("hi")
        (first,) = pids(one.base)
        wait_until(lambda: is_gone(first), "the server to stop")
        assert one.said("hi").endswith("says hi")
        assert len(pids(one.base)) == 2


def test_a_server_that_answers_for_long_is_not_idle(tmp_path):
    with bench(tmp_path, inference_idle_s=0.2) as one, one.ask("hang", stream=True) as stream:
        chunks = iter(stream)
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            next(chunks)
        assert len(pids(one.base)) == 1


def test_a_crash_is_told_to_the_request_under_way_and_the_next_one_starts_the_server(tmp_path):
    with bench(tmp_path) as one:
        with pytest.raises(openai.InternalServerError) as told:
            one.ask("crash")
        assert told.value.code == "model_server_failed"
        assert "about to crash" in told.value.message
        assert "ended with status 3" in told.value.message
        assert one.said("hi").endswith("says hi")
        with pytest.raises(openai.APIError, match="ended with status 3"):
            list(one.ask("crash in stream", stream=True))
        assert one.said("hi").endswith("says hi")
        # One that dies while nobody asks.
        os.kill(pids(one.base)[-1][0], signal.SIGKILL)
        wait_until(lambda: is_gone(pids(one.base)[-1]), "what it has started to end")
        assert one.said("hi").endswith("says hi")
        assert len(pids(one.base)) == 4


def test_a_server_whose_engine_is_dead_is_started_again_before_it_is_asked(tmp_path):
    with bench(tmp_path) as one:
        one.said("hi")
        (one.base / "dead").touch()
        threading.Timer(1.0, (one.base / "dead").unlink).start()
        assert one.said("hi").endswith("says hi")
        assert len(pids(one.base)) == 2
        assert is_gone(pids(one.base)[0])


def test_a_server_that_does_not_start_says_why_and_is_tried_again(tmp_path):
    with bench(tmp_path, inference_start_s=4.0) as one:
        (one.base / "refuse").touch()
        with pytest.raises(openai.InternalServerError, match="no room on this device"):
            one.ask("hi")
        (one.base / "refuse").unlink()
        (one.base / "wait").touch()
        with pytest.raises(openai.InternalServerError, match="ESSA_INFERENCE_START_S = 4 s"):
            one.ask("hi")
        wait_until(lambda: is_gone(pids(one.base)[0]), "the slow server to be stopped")
        (one.base / "wait").unlink()
        assert one.said("hi").endswith("says hi")


def test_requests_that_wait_for_a_start_share_it(tmp_path):
    with bench(tmp_path) as one:
        (one.base / "wait").touch()
        texts: list[str] = []
        names = ("org/model", one.warm_start, one.aligned)
        threads = [
            threading.Thread(target=lambda name=name: texts.append(one.said("hi", name)))
            for name in names
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: bool(pids(one.base)), "the server to be started")
        (one.base / "wait").unlink()
        for thread in threads:
            thread.join()
        assert len(set(texts)) == 3
        assert len(pids(one.base)) == 1


def test_another_base_takes_the_place_of_an_idle_one_and_waits_for_a_busy_one(tmp_path):
    with bench(tmp_path) as one:
        other = base_folder(tmp_path, "other")
        model = one.add_job(other, model={"path": "org/other"})
        one.said("hi")
        assert one.said("hi", model).endswith("says hi")
        assert is_gone(pids(one.base)[0])

        texts: list[str] = []
        with one.ask("hang", model, stream=True) as stream:
            next(iter(stream))
            asking = threading.Thread(target=lambda: texts.append(one.said("hi")))
            asking.start()
            time.sleep(0.5)
            assert len(pids(one.base)) == 1
        asking.join()
        assert texts[0].endswith("says hi")
        assert is_gone(pids(other)[0])


def test_two_bases_stay_where_two_servers_may_run(tmp_path):
    with bench(tmp_path, inference_servers=2) as one:
        other = base_folder(tmp_path, "other")
        model = one.add_job(other, model={"path": "org/other"})
        for _ in range(2):
            one.said("hi")
            one.said("hi", model)
        assert len(pids(one.base)) == len(pids(other)) == 1


def test_an_adapter_of_a_higher_rank_gets_a_server_that_takes_it(tmp_path):
    with bench(tmp_path) as one:
        one.said("hi")
        model = one.add_job(one.base, rank=100)
        assert one.said("hi", model).endswith("says hi")
        one.said("hi")
        ranks = [
            arguments[arguments.index("--max-lora-rank") + 1] for arguments in one.log("arguments")
        ]
        assert ranks == ["16", "128"]


def test_a_model_server_sees_no_setting_of_the_service(tmp_path, monkeypatch):
    monkeypatch.setenv("ESSA_REWARD_SECRET_JUDGE", "hidden")
    with bench(tmp_path, inference_args=("--quantization", "x"), inference_cores=3) as one:
        one.said("hi")
        (environment,) = one.log("environment")
        assert not [name for name in environment if name.startswith("ESSA_")]
        assert environment["OMP_NUM_THREADS"] == "3"
        (arguments,) = one.log("arguments")
        assert arguments[-2:] == ["--quantization", "x"]
        assert arguments[arguments.index("--max-model-len") + 1] == "512"
        socket = Path(arguments[arguments.index("--uds") + 1])
        assert socket.parent.stat().st_mode & 0o077 == 0


def test_everything_ends_when_the_service_is_killed(tmp_path):
    base = base_folder(tmp_path)
    settings = Settings(home=tmp_path / "home")
    command = {"ESSA_INFERENCE_COMMAND": " ".join(SERVER)}
    with serve_process(settings.home, free_port(), **command) as (process, service):
        store = Store(settings.store_url, is_migrating=False)
        project_id = KeyRepository(store).ensure_project()
        add_finished_job(store, settings, base, project_id=project_id)
        store.close()
        body = {"model": "org/model", "messages": [{"role": "user", "content": "hi"}]}
        assert service.client.post(CHAT, json=body, timeout=60).status_code == 200
        (started,) = pids(base)
        assert not is_gone(started)
        process.kill()
        wait_until(lambda: is_gone(started), "the model server to end", 20)


def test_a_service_that_stops_ends_open_answers(tmp_path):
    with bench(tmp_path) as one:
        stream = iter(one.ask("hang", stream=True))
        next(stream)
        one.service.app.state.closing.set()
        with pytest.raises(openai.APIError):
            list(stream)
        wait_until(lambda: is_gone(pids(one.base)[0]), "the model server to end")


def test_inference_can_be_turned_off(tmp_path):
    with bench(tmp_path, inference="off") as one:
        with pytest.raises(openai.BadRequestError, match="ESSA_INFERENCE"):
            one.ask("hi")
        assert not pids(one.base)
