"""The process in which a warm start trains on a GPU: a Ray actor."""

from __future__ import annotations

import queue
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from essa.errors import TrainerError
from essa.number_format import Activations
from essa.spec.model import LoraSpec, SftSpec
from workers.machine.gpu_memory import await_free_memory
from workers.warm_start.pairs import SftPair

NEWS_S = 1.0
"""Longest wait for progress to report."""


@dataclass(frozen=True)
class Trained:
    """An adapter's files by name, and progress that was not reported yet."""

    files: dict[str, bytes]
    told: list[tuple[Any, ...]]


class LoraTrainerActor:
    """Trains one adapter; accepts two calls at once, so that its progress can be queried."""

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()

    def train(
        self,
        model_folder: str,
        pairs: Sequence[SftPair],
        lora: LoraSpec,
        sft: SftSpec,
        seed: int,
        training: Activations,
    ) -> Trained:
        """Train, and return the adapter's files.

        Raises:
            TrainerError: the base is not on this machine, or memory ran out.
            AdapterError: the adapter does not fit the model, or training diverged.
        """
        # Imported here: the job's process imports this module even on clusters without GPUs.
        from workers.warm_start.here import train_named

        if not Path(model_folder).is_dir():
            raise TrainerError(
                f"machine {socket.gethostname()} has no folder {model_folder}, on which the warm "
                "start is to be trained. Keep ESSA_HOME, HF_HOME and your own models on storage "
                "that all machines of the cluster have at the same path"
            )
        await_free_memory()
        with TemporaryDirectory(prefix="essa-warm-start-") as folder:
            out = Path(folder) / "adapter"
            train_named(model_folder, pairs, lora, sft, seed, out, self._tell, training=training)
            files = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
            return Trained(files, self._rest())

    def _tell(
        self,
        text: str,
        done: int | None = None,
        total: int | None = None,
        eta_s: float | None = None,
    ) -> None:
        self._news.put((text, done, total, eta_s))

    def news(self) -> list[tuple[Any, ...]]:
        """Return the progress since the last call, as arguments of `Say`, oldest first."""
        try:
            return [self._news.get(timeout=NEWS_S), *self._rest()]
        except queue.Empty:
            return []

    def _rest(self) -> list[tuple[Any, ...]]:
        told = []
        while not self._news.empty():
            told.append(self._news.get())
        return told
