"""Exports over REST and by the command line: made in real processes, from a real run's folder."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from essa.spec.export import ExportFormat
from tests.narrowing import present

pytest.importorskip("torch")
pytest.importorskip("psutil")

import psutil

from alignment_api.cli.main import main
from alignment_api.exports.runner import ExportRunner
from alignment_api.exports.schemas import ExportStatus
from alignment_api.exports.shelf import SCRATCH, ExportShelf
from alignment_api.settings import Settings
from essa.records.folder import PROVENANCE_FILE as PROVENANCE
from essa.spec.export import ExportSpec
from tests.integration.api_harness import Service, running_service, wait_until
from tests.unit.workers.export.export_run import SELECTED, write_run

MERGED = {"format": "merged"}
EXACT = {"format": "merged", "precision": "fp32"}


@pytest.fixture(scope="module")
def run_dir(tiny_model, tiny_adapter, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    write_run(folder / "run", tiny_model("llama"), tiny_adapter(), cache_dir=folder / "cache")
    return folder / "run"


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("exports")) as started:
        yield started


def _finished(service: Service, run_dir: Path) -> str:
    """A job that has succeeded, with the content of a real run."""
    job_id = service.submit()
    service.wait_for(job_id, "succeeded")
    place = service.settings.job_dir(job_id) / "run"
    shutil.rmtree(place)
    shutil.copytree(run_dir, place)
    return job_id


@pytest.fixture(scope="module")
def job_id(service: Service, run_dir: Path) -> str:
    """Tests share it; each makes exports of a kind of its own."""
    return _finished(service, run_dir)


def _post(service: Service, job_id: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = service.client.post(f"/v1/fine_tuning/jobs/{job_id}/exports", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()


def _listed(service: Service, job_id: str) -> list[dict[str, Any]]:
    answer = service.client.get(f"/v1/fine_tuning/jobs/{job_id}/exports")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def _get(service: Service, job_id: str, **query: Any) -> Any:
    return service.client.get(f"/v1/fine_tuning/jobs/{job_id}/export", params=query)


def _wait(service: Service, job_id: str, export_id: str, *states: str) -> dict[str, Any]:
    def found() -> dict[str, Any]:
        return next(one for one in _listed(service, job_id) if one["id"] == export_id)

    wait_until(lambda: found()["status"] in states, f"{export_id} to be {states}")
    return found()


def test_a_merged_model_is_made_in_the_background_and_then_downloaded(service, job_id):
    refused = _get(service, job_id, **MERGED)
    assert refused.status_code == 409
    assert "POST /v1/fine_tuning/jobs" in refused.json()["error"]["message"]
    ordered = _post(service, job_id, MERGED)
    assert ordered["status"] == "queued"
    done = _wait(service, job_id, ordered["id"], "succeeded", "failed")
    assert (done["status"], done["error"]) == ("succeeded", None)
    archive = _get(service, job_id, **MERGED)
    assert archive.status_code == 200
    assert len(archive.content) == done["bytes"]
    assert f'filename="{job_id}-merged.zip"' in archive.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(archive.content)) as packed:
        assert {"README.md", "model.safetensors", "config.json"} <= set(packed.namelist())
    # Asked for again, it is not made again.
    assert _post(service, job_id, MERGED) == done
    assert done in _listed(service, job_id)


def test_a_failure_is_shown_with_its_reason_and_can_be_tried_again(service, job_id):
    path = service.settings.job_dir(job_id) / "run" / PROVENANCE
    right = path.read_text()
    wrong = json.loads(right)
    wrong["base"]["digest"] = "f" * 64
    path.write_text(json.dumps(wrong))
    ordered = _post(service, job_id, EXACT)
    failed = _wait(service, job_id, ordered["id"], "succeeded", "failed")
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "invalid_spec"
    assert "not the one that the run was made with" in failed["error"]["message"]
    refused = _get(service, job_id, **EXACT)
    assert refused.status_code == 409
    assert "not the one that the run was made with" in refused.json()["error"]["message"]
    path.write_text(right)
    assert _post(service, job_id, EXACT)["error"] is None
    done = _wait(service, job_id, ordered["id"], "succeeded", "failed")
    assert done["status"] == "succeeded"


def test_an_export_whose_process_is_killed_fails_and_leaves_no_scratch(service, job_id):
    ordered = _post(service, job_id, {"format": "quantized"})
    _export_process(job_id).send_signal(signal.SIGKILL)
    failed = _wait(service, job_id, ordered["id"], "succeeded", "failed")
    assert failed["status"] == "failed"
    assert "by signal 9" in failed["error"]["message"]
    assert not list(ExportShelf(service.settings.job_dir(job_id)).folder.glob(f"{SCRATCH}*"))


def test_exports_are_cancelled_with_the_service(run_dir, tmp_path):
    settings = Settings(home=tmp_path)
    shelf = ExportShelf(settings.job_dir("ftjob-1"))
    runner = ExportRunner(settings)
    runner.start()
    runner.order(shelf, run_dir, ExportSpec(format=ExportFormat.MERGED))
    runner.order(shelf, run_dir, ExportSpec(format=ExportFormat.QUANTIZED))
    process = _export_process("ftjob-1")
    runner.stop()
    assert not process.is_running()
    assert [one.status for one in shelf.all()] == [ExportStatus.CANCELLED] * 2
    assert "ask for it again" in present(shelf.all()[0].error).message
    assert not list(shelf.folder.glob(f"{SCRATCH}*"))


def test_what_a_killed_service_leaves_is_settled_at_the_next_start(tmp_path):
    settings = Settings(home=tmp_path)
    shelf = ExportShelf(settings.job_dir("ftjob-1"))
    shelf.put(ExportSpec(format=ExportFormat.MERGED), ExportStatus.RUNNING)
    (shelf.folder / f"{SCRATCH}merged-x").mkdir()
    runner = ExportRunner(settings)
    runner.start()
    runner.stop()
    assert [one.status for one in shelf.all()] == [ExportStatus.CANCELLED]
    assert not list(shelf.folder.glob(f"{SCRATCH}*"))


def test_a_running_job_gives_its_generations_as_adapters_and_nothing_else(service, run_dir):
    job_id = service.submit(name="slow")
    service.wait_for(job_id, "running")
    place = service.settings.job_dir(job_id) / "run"
    for name in (PROVENANCE, "basis.safetensors", "vectors"):
        wait_until(place.is_dir, "the run's folder")
        source = run_dir / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, place / name)
    try:
        assert _get(service, job_id, checkpoint=3).status_code == 200
        refused = [_get(service, job_id), _get(service, job_id, format="merged", checkpoint=3)]
        assert [answer.status_code for answer in refused] == [409, 409]
        assert "format adapter only" in refused[1].json()["error"]["message"]
        unknown = _get(service, job_id, checkpoint=99)
        assert unknown.status_code == 400
        assert unknown.json()["error"]["param"] == "checkpoint"
    finally:
        service.client.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
        service.wait_for(job_id, "cancelled")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"format": "zip"}, "format"),
        ({"format": "quantized", "precision": "bf16"}, "precision"),
        ({"format": "adapter", "precision": "int8"}, "precision"),
        ({"checkpoint": "-1"}, "checkpoint"),
        ({"generation": "1"}, "generation"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_the_envelope(service, job_id, query, param):
    for answer in (
        _get(service, job_id, **query),
        service.client.post(f"/v1/fine_tuning/jobs/{job_id}/exports", json=query),
        service.client.get(f"/v1/fine_tuning/jobs/{job_id}/model_card", params=query),
    ):
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == param


def test_the_model_card_is_markdown_and_the_one_of_the_archive(service, job_id):
    card = service.client.get(f"/v1/fine_tuning/jobs/{job_id}/model_card")
    assert card.headers["content-type"].startswith("text/markdown")
    with zipfile.ZipFile(io.BytesIO(_get(service, job_id).content)) as packed:
        assert packed.read("README.md").decode() == card.text
    int4 = {"format": "quantized", "precision": "int4"}
    other = service.client.get(f"/v1/fine_tuning/jobs/{job_id}/model_card", params=int4)
    assert "The int4 base of this export was not scored." in other.text


def test_the_api_process_needs_no_engine_for_an_adapter_or_a_card(run_dir, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom alignment_api import composition\n"
        "from essa.spec.export import ExportSpec\n"
        f"run, out = Path({str(run_dir)!r}), Path({str(tmp_path)!r})\n"
        "composition.model_card(run, ExportSpec())\n"
        "for number, spec in enumerate((ExportSpec(), ExportSpec(checkpoint=2))):\n"
        "    (out / str(number)).mkdir()\n"
        "    place = out / str(number)\n"
        "    composition.write_export(run, spec, place, cache_dir=out, progress=print)\n"
        "print([n for n in ('torch', 'ray', 'vllm', 'transformers', 'peft') if n in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_the_command_waits_for_a_merged_model_and_unpacks_it(service, job_id, tmp_path, capsys):
    target = tmp_path / "model"
    target.mkdir()
    (target / "model-00001-of-00002.safetensors").write_bytes(b"of an earlier export")
    command = ["export", job_id, "--format", "merged", "--out", str(target)]
    assert main([*command, "--server", service.url]) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*command, "--server", service.url, "--force"]) == 0
    assert [path.name for path in target.glob("*.safetensors")] == ["model.safetensors"]
    assert "merged of" in capsys.readouterr().out


def test_the_command_exports_a_runs_folder_without_the_service(run_dir, tmp_path, capsys):
    target, home = tmp_path / "adapter", ["--home", str(tmp_path / "home")]
    command = ["export", str(run_dir), "--out", str(target), *home]
    assert main([*command, "--checkpoint", str(SELECTED)]) == 0
    assert (target / "README.md").is_file()
    assert main([*command, "--checkpoint", "77", "--force"]) == 2
    assert "checkpoint is 77" in capsys.readouterr().err
    assert main(["export", str(run_dir), "--format", "pdf", "--out", str(tmp_path / "x")]) == 2
    assert "format = 'pdf'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def _export_process(job_id: str) -> psutil.Process:
    def found() -> list[psutil.Process]:
        return [
            child
            for child in psutil.Process(os.getpid()).children(recursive=True)
            if "alignment_api.exports.process" in child.cmdline()
            and any(job_id in word for word in child.cmdline())
        ]

    wait_until(lambda: bool(found()), "the export's process")
    return found()[0]
