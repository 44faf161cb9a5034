"""The command line against a running service, and a run without one."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from alignment_api.cli.main import main
from tests.integration.api_harness import (
    SCRIPTED_JOB,
    Service,
    job_spec,
    running_service,
    wait_until,
)
from tests.integration.api_scripted_job import GENERATIONS


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("commands")) as started:
        yield started


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    spec = job_spec(tmp_path)
    spec["data"]["train"]["path"] = "prompts.jsonl"
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def test_submit_and_watch_show_the_job_to_its_result(
    service: Service, job_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["submit", str(job_file), "--watch", "--server", service.url])
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert f"generation {GENERATIONS}  best 0.400" in shown
    assert "validation after generation 4: 0.400" in shown
    assert "0.650 to 0.750" in shown
    assert "PeftModel.from_pretrained" in shown
    assert "vllm serve models/base --enable-lora --lora-modules aligned=" in shown


def test_list_cancel_and_export_work_on_submitted_jobs(
    service: Service, job_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = ["--server", service.url]
    assert main(["submit", str(job_file), *server]) == 0
    job_id = capsys.readouterr().out.strip()
    service.wait_for(job_id, "succeeded")
    slow = service.submit(name="slow")
    assert main(["cancel", slow, *server]) == 0
    assert slow in capsys.readouterr().out
    service.wait_for(slow, "cancelled")
    assert main(["watch", slow, *server]) == 1
    assert "has been cancelled" in capsys.readouterr().out
    assert main(["list", *server]) == 0
    listed = capsys.readouterr().out
    assert job_id in listed
    assert "cancelled" in listed
    target = tmp_path / "adapter"
    assert main(["export", job_id, "--out", str(target), *server]) == 0
    assert (target / "adapter_model.safetensors").read_bytes() == b"weights"


def test_export_does_not_overwrite_unless_forced(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = service.submit()
    service.wait_for(job_id, "succeeded")
    (tmp_path / "adapter_config.json").write_text("mine")
    export = ["export", job_id, "--out", str(tmp_path), "--server", service.url]
    assert main(export) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "adapter_config.json").read_text() == "mine"
    assert main([*export, "--force"]) == 0
    assert json.loads((tmp_path / "adapter_config.json").read_text())["r"] == 8


def test_a_failed_job_makes_watch_fail_with_its_reason(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = service.submit(name="known-error")
    assert main(["watch", job_id, "--server", service.url]) == 1
    assert "the engine did not start (engine_start_failed)" in capsys.readouterr().out


def test_what_the_service_refuses_is_shown_as_it_says(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", "job-0", "--server", service.url]) == 1
    assert capsys.readouterr().err == "there is no job job-0\n"


def test_an_absent_service_is_named_with_the_way_to_start_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list", "--server", "http://127.0.0.1:1"]) == 1
    assert "essa serve" in capsys.readouterr().err


def test_run_shows_a_job_without_the_service_and_keeps_engine_output_apart(
    job_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ESSA_JOB_COMMAND", " ".join(SCRIPTED_JOB))
    run_dir = tmp_path / "run"
    command = ["run", str(job_file), "--home", str(tmp_path / "home"), "--run-dir", str(run_dir)]
    assert main(command) == 0
    shown = capfd.readouterr().out
    assert f"generation {GENERATIONS}" in shown
    assert "The aligned adapter" in shown
    assert "engine chatter" not in shown
    assert "engine chatter" in (run_dir / "job.log").read_text()


def test_run_stops_on_interrupt_and_says_how_to_go_on(tmp_path: Path) -> None:
    job_file = tmp_path / "job.json"
    job_file.write_text(json.dumps(job_spec(tmp_path, name="slow")))
    run_dir = tmp_path / "run"
    program = [sys.executable, "-m", "alignment_api.cli.main"]
    process = subprocess.Popen(
        [*program, "run", str(job_file), "--run-dir", str(run_dir)],
        env=os.environ
        | {"ESSA_HOME": str(tmp_path / "home"), "ESSA_JOB_COMMAND": " ".join(SCRIPTED_JOB)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    stream = process.stdout or io.StringIO()
    reader = threading.Thread(target=lambda: lines.extend(stream))
    reader.start()
    wait_until(lambda: any("[search]" in line for line in lines), "the search to start")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 1
    reader.join()
    assert f"--run-dir {run_dir}" in lines[-1]
