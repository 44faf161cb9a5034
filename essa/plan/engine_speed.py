"""Decoding speed of one engine in three numbers, whatever their source."""

from __future__ import annotations

from typing import NamedTuple


class EngineSpeed(NamedTuple):
    """A decoding step of n sequences takes `step_s + n * sequence_s`; a prompt takes extra time.

    With continuous batching, every sequence of the batch gets one token per step. Part of a step
    does not depend on n (the weights are read once), which is why small batches are slow.
    """

    step_s: float
    sequence_s: float
    prompt_s: float
    """Seconds to process one prompt, during which the rest of the batch waits."""

    def sample_s(self, sequences: int, tokens: float) -> float:
        """Return one engine's seconds per answer at a batch of `sequences` (eta in App. B)."""
        return self.prompt_s + tokens * (self.step_s / sequences + self.sequence_s)

    def tokens_per_s(self, sequences: int, tokens: float) -> float:
        """Return the tokens/s of one engine with a full batch, counting the time of prompts."""
        return tokens / self.sample_s(sequences, tokens)

    def slower(self, factor: float) -> EngineSpeed:
        """Return the speed of the same engine with all times multiplied by `factor`."""
        return EngineSpeed(*(factor * seconds for seconds in self))
