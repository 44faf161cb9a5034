"""Rewards computed from the probabilities of the answer's tokens."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reward.spec.model import RewardSpecModel


class ReferenceLogprobSpec(RewardSpecModel):
    """Mean log-probability of the answer's tokens under the base model, in nats per token.

    At most 0. Costs one forward pass of the base, without adapter, over every answer.
    """

    type: Literal["reference_logprob"] = "reference_logprob"
    floor: float | None = Field(default=None, le=0, allow_inf_nan=False)
    """Smallest value that a single token can add, such as -10; by default there is no limit."""


class KlSpec(RewardSpecModel):
    """Minus the KL divergence of the candidate from the base model, in nats per token.

    Estimated from the answer's own tokens; biased with greedy rollouts. Costs one forward pass of
    the base, without adapter, over every answer.
    """

    type: Literal["kl"] = "kl"
    estimator: Literal["k1", "k3"] = "k3"
    """Estimator of the divergence. `k1`: mean log-ratio, which may have either sign; `k3`: never
    negative, with less variance."""


AnyLikelihoodSpec = ReferenceLogprobSpec | KlSpec
"""Every reward of this module, for the union in `reward.spec`."""
