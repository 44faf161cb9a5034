"""Jobs that have succeeded, put into a store with the files that a run leaves."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from alignment_api.jobs.insertion import NewJob, add_job
from alignment_api.settings import Settings
from alignment_api.store import Store
from alignment_api.store.tables import jobs
from essa.events import ResultEvent, ScoreSummary
from essa.spec import AlignmentJobSpec
from tests.integration.api_harness import job_spec


def base_folder(folder: Path, name: str = "base") -> Path:
    """A folder that is a base as far as the service looks."""
    base = folder / name
    base.mkdir(parents=True)
    config = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 512}
    (base / "config.json").write_text(json.dumps(config))
    return base


def add_finished_job(
    store: Store,
    settings: Settings,
    base: Path,
    *,
    project_id: str,
    rank: int = 8,
    suffix: str | None = None,
    **changes: Any,
) -> str:
    """Add a job that has made an adapter on `base`, and return its id."""
    spec = AlignmentJobSpec.model_validate(job_spec(settings.home, **changes))
    score = ScoreSummary(mean=0.5, ci95=(0.4, 0.6), prompts=2)
    result = ResultEvent(
        test=dict.fromkeys(("base", "warm_start", "aligned"), score),
        validation=score,
        selected_generation=1,
        generations=1,
        stop_reason="generations",
        seconds=1.0,
        tokens=1,
        adapter="",
        samples=[],
    )
    ended = {"status": "succeeded", "finished_at": time.time(), "result": result.model_dump_json()}
    # One transaction: the queue must not start it.
    with store.change() as connection:
        request = {"suffix": suffix} if suffix else {}
        job_id = add_job(connection, NewJob(spec, project_id, request=request))
        connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(**ended))
    for name in ("adapter", "warm_start"):
        write_adapter_files(settings.job_dir(job_id) / "run" / name, base, rank)
    return job_id


def write_adapter_files(folder: Path, base: Path, rank: int) -> None:
    """Files of an adapter whose weights nobody reads."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"base_model_name_or_path": str(base), "r": rank}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
