"""Rewards computed from the probabilities of the answer's tokens."""

from __future__ import annotations

import math

from reward.base import ItemReward
from reward.errors import RewardError
from reward.sample import Need, Sample
from reward.spec import KlSpec, ReferenceLogprobSpec


class ReferenceLogprob(ItemReward[ReferenceLogprobSpec]):
    """Mean of log p_0(token) over the answer's tokens, in nats per token, at most 0.

    p_0 is the base model without any adapter, given the prompt and the preceding tokens. With
    `floor`, no token counts less than that, so that one rare word does not decide. The end token is
    included, so every answer that a model wrote has tokens; a sample without any has a missing
    score.
    """

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.REFERENCE_LOGPROBS})

    def _score_item(self, sample: Sample) -> float:
        logprobs = _token_logprobs(sample, Need.REFERENCE_LOGPROBS, self.path)
        floor = -math.inf if self.spec.floor is None else self.spec.floor
        return math.fsum(max(logprob, floor) for logprob in logprobs) / len(logprobs)


class Kl(ItemReward[KlSpec]):
    """Minus an estimate of KL(candidate || base) from the answer's own tokens, in nats per token.

    With r = log p_0(token) - log p(token), p the candidate and p_0 the base without adapter, a
    token adds -r under `k1` and exp(r) - 1 - r under `k3`; the value is minus the mean over the
    answer's tokens. `k3` is never negative, so its value is at most 0, and it has less variance.

    Both estimate the divergence only if the tokens were sampled from the candidate itself, at
    temperature 1. With greedy rollouts, or another temperature, both are biased: they then measure
    how far the candidate's preferred tokens have moved, which still ranks candidates.

    Source:
        J. Schulman (2020), Approximating KL Divergence, joschu.net/blog/kl-approx.html.
    """

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.LOGPROBS, Need.REFERENCE_LOGPROBS})

    def _score_item(self, sample: Sample) -> float:
        own = _token_logprobs(sample, Need.LOGPROBS, self.path)
        base = _token_logprobs(sample, Need.REFERENCE_LOGPROBS, self.path)
        if len(own) != len(base):
            raise RewardError(
                f"{self.path}: {len(own)} tokens have a log-probability under the candidate and "
                f"{len(base)} under the base",
                field=self.path,
            )
        ratios = [other - mine for mine, other in zip(own, base, strict=True)]
        try:
            return -math.fsum(self._term(ratio) for ratio in ratios) / len(ratios)
        except OverflowError as error:
            raise RewardError(
                f"{self.path}: the base finds a token e^{max(ratios):.0f} times likelier than the "
                f"candidate, which k3 has no number for; set {self.path}.estimator to k1",
                field=f"{self.path}.estimator",
            ) from error

    def _term(self, ratio: float) -> float:
        return -ratio if self.spec.estimator == "k1" else math.expm1(ratio) - ratio


def _token_logprobs(sample: Sample, need: Need, path: str) -> tuple[float, ...]:
    """Return the log-probabilities that a sample carries.

    Args:
        sample: an answer that a model of the job gave.
        need: the kind of log-probabilities.
        path: path of the reward in the job.
    Returns:
        Natural logarithms, one per token of the answer, the end token included; at least one.
    Raises:
        RewardError: the sample has none, as for text that no model of the job wrote.
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
