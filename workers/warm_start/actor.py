"""The process in which a warm start trains on a GPU: a Ray actor."""

from __future__ import annotations

import queue
import socket
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from essa.errors import TrainerError
from essa.number_format import Activations
from essa.spec.model import LoraSpec, SftSettings
from workers.gpu_memory import await_free_memory
from workers.warm_start.pairs import SftPair

NEWS_S = 1.0
"""Longest wait for something to tell."""


class LoraTrainerActor:
    """Trains one adapter; takes two calls at once, so that it can be asked how far it is."""

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()

    def train(
        self,
        model_folder: str,
        pairs: Sequence[SftPair],
        lora: LoraSpec,
        sft: SftSettings,
        seed: int,
        training: Activations,
    ) -> dict[str, bytes]:
        """Train, and return the adapter's files by name.

        Raises:
            TrainerError: the base is not on this machine, or memory ran out.
            AdapterError: the adapter does not fit the model, or training diverged.
        """
        # Here and not above: the job's process imports this module on clusters without GPUs too.
        from workers.warm_start.training import train_named

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
            return {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}

    def _tell(self, *told: Any) -> None:
        self._news.put(told)

    def news(self) -> list[tuple[Any, ...]]:
        """What there is to tell since the last call: arguments of `Say`, oldest first."""
        told = []
        try:
            told.append(self._news.get(timeout=NEWS_S))
            while True:
                told.append(self._news.get_nowait())
        except queue.Empty:
            return told
