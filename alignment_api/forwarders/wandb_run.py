"""Weights & Biases; WANDB_API_KEY, WANDB_BASE_URL and WANDB_MODE set its credentials, server and
mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alignment_api.forwarders.base import ForwardedRun, Forwarder, Value
from essa.spec.integrations import WandbRunSpec

_BAD_ENDS = ("failed", "cancelled")


class WandbForwarder(Forwarder):
    """One W&B run, with the generation as its step."""

    name = "wandb"

    def __init__(self, spec: WandbRunSpec) -> None:
        self._spec = spec
        self._run: Any = None

    def begin(self, run: ForwardedRun) -> None:
        """Open or resume the run whose id is the job's."""
        import wandb  # pyright: ignore[reportMissingImports]

        run.folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            id=run.id,
            resume="allow",
            project=self._spec.project,
            entity=self._spec.entity,
            name=self._spec.name or run.spec.name,
            tags=list(self._spec.tags),
            job_type="align",
            config=run.config,
            dir=str(run.folder),
            # The job's log and the service's git repository are not sent.
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add numbers; W&B merges those of one step."""
        self._run.log(dict(values), step=step)

    def finish(self, status: str, summary: Mapping[str, Value]) -> None:
        """Set the summary and wait until everything is sent."""
        self._run.summary.update({**summary, "status": status})
        self._run.finish(exit_code=int(status in _BAD_ENDS))
