"""How likely the base model finds the answer."""

from __future__ import annotations

import math

from reward.base import ItemReward
from reward.logprob import token_logprobs
from reward.sample import Need, Sample
from reward.spec import ReferenceLogprobReward


class ReferenceLogprob(ItemReward[ReferenceLogprobReward]):
    """Mean of log p_0(token) over the answer's tokens, in nats per token, at most 0.

    p_0 is the base model without any adapter, given the prompt and the tokens before. With
    `floor`, a token counts as no less than that, so that one rare word does not decide. The end
    token counts as one, so that no answer of a model is without tokens; where a sample carries
    none, its score is missing.
    """

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.REFERENCE_LOGPROBS})

    def _score_item(self, sample: Sample) -> float:
        logprobs = token_logprobs(sample, Need.REFERENCE_LOGPROBS, self.path)
        floor = -math.inf if self.spec.floor is None else self.spec.floor
        return math.fsum(max(logprob, floor) for logprob in logprobs) / len(logprobs)
