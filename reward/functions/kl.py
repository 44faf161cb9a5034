"""How far the candidate has moved from the base model."""

from __future__ import annotations

import math

from reward.base import ItemReward
from reward.errors import RewardError
from reward.logprob import token_logprobs
from reward.sample import Need, Sample
from reward.spec import KlReward


class Kl(ItemReward[KlReward]):
    """Minus an estimate of KL(candidate || base) from the answer's own tokens, in nats per token.

    With r = log p_0(token) - log p(token), p the candidate and p_0 the base without adapter, a
    token adds -r under `k1` and exp(r) - 1 - r under `k3`; the value is minus the mean over the
    answer's tokens. `k3` is never negative, so its value is at most 0, and it scatters less.

    Both estimate the divergence only where the tokens were drawn from the candidate itself, at
    temperature 1. With greedy rollouts, or another temperature, both are biased: they then measure
    how much the candidate's own favourites have moved, which still ranks candidates.

    Source:
        J. Schulman (2020), Approximating KL Divergence, joschu.net/blog/kl-approx.html.
    """

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.LOGPROBS, Need.REFERENCE_LOGPROBS})

    def _score_item(self, sample: Sample) -> float:
        own = token_logprobs(sample, Need.LOGPROBS, self.path)
        base = token_logprobs(sample, Need.REFERENCE_LOGPROBS, self.path)
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
