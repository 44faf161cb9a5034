"""Event files for TensorBoard in the run's own folder, where `tensorboard --logdir` finds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alignment_api.forwarders.base import ForwardedRun, Forwarder, Value

FOLDER = "tensorboard"


class TensorboardForwarder(Forwarder):
    """One folder of event files, with the generation as step."""

    name = "tensorboard"

    def __init__(self) -> None:
        self._writer: Any = None
        self._folder = Path()
        self._config: dict[str, object] = {}

    def begin(self, run: ForwardedRun) -> None:
        """Note the folder; the file is created with the first point."""
        import tensorboardX  # noqa: F401 - imported only to fail here if it is missing

        self._folder = run.folder / FOLDER
        self._config = run.config

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add numbers, and flush them to disk."""
        writer = self._open(step)
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def finish(self, status: str, summary: Mapping[str, Value]) -> None:
        """Add the summary's numbers at the selected generation."""
        step = int(summary.get("selected_generation", 0))
        if summary:
            numbers = {name: value for name, value in summary.items() if name.startswith("test")}
            self.log(step, {name: float(value) for name, value in numbers.items()})
        if self._writer is not None:
            self._writer.close()

    def _open(self, step: int) -> Any:
        if self._writer is None:
            from tensorboardX import SummaryWriter

            is_resumed = self._folder.is_dir() and any(self._folder.iterdir())
            # Points that an earlier start wrote from this step on will be written again.
            purge_step = step if is_resumed else None
            self._writer = SummaryWriter(str(self._folder), purge_step=purge_step)
            text = json.dumps(self._config, indent=2)
            self._writer.add_text("config", f"```json\n{text}\n```", step)
        return self._writer
