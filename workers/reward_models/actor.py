"""The process around one reward model: a Ray actor."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from essa.number_format import Activations
from reward.errors import RewardConfigError
from reward.machine import usable_cores
from reward.spec.reward_model import RewardModelSpec
from workers.reward_models.conversation_tokens import Turns


class RewardModelActor:
    """Owns one classifier. Construction is quick; `start` loads the model.

    Args:
        device: `cpu` or `cuda`.
        activations: number format of the values between layers; None takes the fast one there.
    """

    def __init__(
        self,
        folder: Path,
        spec: RewardModelSpec,
        device: str,
        activations: Activations | None = None,
    ) -> None:
        self._activations: Activations | None = activations
        self._folder = folder
        self._spec = spec
        self._device = device

    def start(self) -> None:
        """Load the model; returns once it can score.

        Raises:
            RewardConfigError: see `Classifier`; also if this machine does not have the folder.
        """
        if not self._folder.is_dir():
            raise RewardConfigError(
                f"machine {socket.gethostname()} has no folder {self._folder}. A reward model is "
                "read by its path: keep ESSA_HOME, HF_HOME and your own models on storage that all "
                "machines of the cluster have at the same path, or set `device` to cpu",
                field="model",
            )
        import torch

        from workers.reward_models.classifier import Classifier

        # Ray gives one thread to an actor that asks for no CPU.
        torch.set_num_threads(len(usable_cores()))
        self._classifier = Classifier(self._folder, self._spec, self._device, self._activations)

    def score(self, conversations: Sequence[Turns]) -> list[float | str]:
        """See `Classifier.score`."""
        return self._classifier.score(conversations)
