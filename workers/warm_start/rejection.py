"""Selection of the samples of the base model that the warm start is trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from essa.errors import DataError
from essa.types import FloatArray


@dataclass(frozen=True)
class Selection:
    """The samples kept: `samples[i]` of prompt `prompts[i]`, prompts ascending.

    `mean_reward` is the mean over all scored samples, `kept_reward` over those kept.
    """

    prompts: NDArray[np.int64]
    samples: NDArray[np.int64]
    mean_reward: float
    kept_reward: float
    missing: int

    def __len__(self) -> int:
        """Number of samples kept."""
        return len(self.prompts)


def select_best(rewards_P_G: FloatArray, min_reward: float | None) -> Selection:
    """Keep at most one sample per prompt: its best by reward.

    With `min_reward`, the best is kept if it scores at least that; without, if it beats the mean of
    its own prompt's scored samples, so a prompt whose samples all score alike is dropped. Ties go
    to the earlier sample. Missing scores are ignored.

    Args:
        rewards_P_G: shape (P, G), higher is better; NaN is a missing score.
        min_reward: `warm_start.min_reward`.

    Raises:
        DataError: no sample is kept.
    """
    rewards = np.asarray(rewards_P_G, dtype=np.float64)
    if rewards.ndim != 2 or rewards.size == 0:
        raise DataError(
            f"rewards have shape {rewards.shape}; one row per prompt and one column per sample "
            "are needed"
        )
    finite = np.isfinite(rewards)
    if not finite.any():
        raise DataError(
            f"none of the {rewards.size} samples of the warm start could be scored; check the "
            "`reward` of the job against its data"
        )
    ranked = np.where(finite, rewards, -np.inf)
    samples = ranked.argmax(axis=1)
    best = ranked.max(axis=1)
    kept = np.flatnonzero(np.isfinite(best) & _passes(best, rewards, finite, min_reward))
    scored = rewards[finite]
    if kept.size == 0:
        raise DataError(_nothing_kept(scored, min_reward))
    return Selection(
        prompts=kept,
        samples=samples[kept],
        mean_reward=float(scored.mean()),
        kept_reward=float(best[kept].mean()),
        missing=int((~finite).sum()),
    )


def _passes(
    best: FloatArray, rewards: FloatArray, finite: NDArray[np.bool_], min_reward: float | None
) -> NDArray[np.bool_]:
    if min_reward is not None:
        return best >= min_reward
    worst = np.where(finite, rewards, np.inf).min(axis=1)
    # The best beats the mean if and only if scores differ; comparing ends avoids rounding of means.
    return best > worst


def _nothing_kept(scored: FloatArray, min_reward: float | None) -> str:
    seen = f"rewards run from {scored.min():.4g} to {scored.max():.4g}"
    if min_reward is None:
        return (
            "rejection sampling kept nothing: on every prompt all samples score the same "
            f"({seen}); raise warm_start.temperature or warm_start.samples_per_prompt, or set "
            "warm_start.min_reward"
        )
    return (
        f"rejection sampling kept nothing: no sample reaches warm_start.min_reward {min_reward:g} "
        f"({seen}); lower warm_start.min_reward, or raise warm_start.samples_per_prompt"
    )
