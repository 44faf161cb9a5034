"""Log-probabilities of an answer's tokens, with a message where a sample has none."""

from __future__ import annotations

from reward.errors import RewardError
from reward.sample import Need, Sample


def token_logprobs(sample: Sample, need: Need, path: str) -> tuple[float, ...]:
    """Return the log-probabilities that a sample carries.

    Args:
        sample: an answer that a model of the job gave.
        need: which of them.
        path: where the reward stands in the job.
    Returns:
        Natural logarithms, one per token of the answer, the end token included; at least one.
    Raises:
        RewardError: the sample has none, which is so for text that no model of the job wrote.
    """
    found = getattr(sample, need.value)
    if not found:
        what = "no token at all" if found is not None else f"no {need.value}"
        raise RewardError(
            f"{path}: the sample has {what}; this reward scores only answers that a model of the "
            "job wrote, token by token",
            field=path,
        )
    return found
