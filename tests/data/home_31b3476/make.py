"""Write a home and a run folder by the version of a checkout: `python make.py CHECKOUT PLACE`.

Both then lie in PLACE (`/srv/arithmetic` for those beside this file): `home` with a finished, a
paused and a failed job and a comparison, `run` by `essa run`. Run it with the Python of that
checkout's environment.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

CHECKOUT, PLACE = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
ROWS = {"sft": 2000, "train": 64, "validation": 16, "test": 24}
PORT = "8477"


def main() -> None:
    """Write both."""
    example = CHECKOUT / "examples" / "arithmetic"
    shutil.copytree(example / "model", PLACE / "model")
    (PLACE / "data").mkdir()
    for name, count in ROWS.items():
        lines = (example / f"{name}.jsonl").read_text().splitlines(keepends=True)
        (PLACE / "data" / f"{name}.jsonl").write_text("".join(lines[:count]))
    with subprocess.Popen(
        [*_essa("serve"), "--port", PORT], cwd=CHECKOUT, env=_environment()
    ) as it:
        with httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=60) as client:
            _fill(client)
        it.terminate()
    (PLACE / "run.json").write_text(json.dumps(job("folder", generations=2)))
    command = [*_essa("run"), str(PLACE / "run.json"), "--run-dir", str(PLACE / "run")]
    subprocess.run(command, cwd=CHECKOUT, env=_environment(), check=True)


def job(name: str, generations: int = 3, train: str = "train.jsonl") -> dict[str, Any]:
    """A job of a minute."""
    data = PLACE / "data"
    lora = {"rank": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    sft = {"learning_rate": 3e-3, "epochs": 2, "batch_size": 32, "max_length": 16}
    return {
        "name": name,
        "model": {"path": str(PLACE / "model")},
        "warm_start": {"type": "sft", "path": str(data / "sft.jsonl"), "lora": lora, "sft": sft},
        "data": {
            "train": {"path": str(data / train)},
            "validation": {"path": str(data / "validation.jsonl")},
            "test": {"path": str(data / "test.jsonl")},
            "prompt": {"type": "text", "template": "{prompt}"},
        },
        "reward": {"type": "exact_match", "reference": "answer"},
        "search": {"type": "sep_cma_es", "population": 6, "sigma_init": 0.3},
        "engine": {"kind": "transformers", "precision": "fp32", "workers": 1, "max_batch": 256},
        "rollout": {"max_tokens": 5, "temperature": 0},
        "batch_size": 8,
        "budget": {"generations": generations},
        "evaluation": {"every": 1},
    }


def _fill(client: httpx.Client) -> None:
    _until(lambda: _answers(client))
    finished = _submit(client, job("finished"))
    _until(lambda: _job(client, finished)["status"] == "succeeded")
    paused = _submit(client, job("paused", generations=500))
    _until(lambda: (_job(client, paused)["essa"]["progress"]["generation"] or 0) >= 2)
    # Its data is gone by the time it starts.
    gone = PLACE / "data" / "gone.jsonl"
    shutil.copy(PLACE / "data" / "train.jsonl", gone)
    failed = _submit(client, job("failed", train="gone.jsonl"))
    gone.unlink()
    client.post(f"/v1/fine_tuning/jobs/{paused}/pause").raise_for_status()
    _until(lambda: _job(client, failed)["status"] == "failed")
    random = {"search": {"type": "random", "population": 6, "sigma_init": 0.3}}
    comparison = {
        "name": "comparison",
        "job": job("comparison"),
        "arms": {"essa": {}, "random": random},
        "reference": "random",
        "seeds": [0],
    }
    made = client.post("/v1/comparisons", json=comparison).raise_for_status().json()
    _until(lambda: client.get(f"/v1/comparisons/{made['id']}").json()["status"] == "succeeded")


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def _submit(client: httpx.Client, body: dict[str, Any]) -> str:
    return client.post("/v1/fine_tuning/jobs", json=body).raise_for_status().json()["id"]


def _job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    return client.get(f"/v1/fine_tuning/jobs/{job_id}").json()


def _until(is_reached: Any) -> None:
    while not is_reached():
        time.sleep(0.3)


def _essa(command: str) -> list[str]:
    return [sys.executable, "-m", "alignment_api.cli.main", command]


def _environment() -> dict[str, str]:
    own = {"PYTHONPATH": str(CHECKOUT), "ESSA_HOME": str(PLACE / "home"), "ESSA_AUTH": "off"}
    return {**os.environ, **own}


if __name__ == "__main__":
    main()
