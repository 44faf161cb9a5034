"""The usage and the cost of a judge."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

from reward.http.client import CallCounts
from reward.spec.external import JudgePricesSpec


@dataclass(frozen=True)
class JudgeUsage:
    """Usage of a judge so far.

    Attributes:
        requests: requests sent, retries included.
        retries: requests sent again after a failure.
        prompt_tokens: tokens of the prompts, as the endpoint reports them.
        completion_tokens: tokens of the replies, as the endpoint reports them.
        unmetered: answers that reported no tokens; tokens and cost do not include them.
        cost: cost of the tokens, in the currency of the prices; None if no prices are given.
    """

    requests: int
    retries: int
    prompt_tokens: int
    completion_tokens: int
    unmetered: int
    cost: float | None


class UsageMeter:
    """Adds up the usage that answers report. Safe to use from several threads."""

    def __init__(self, prices: JudgePricesSpec | None) -> None:
        self._prices = prices
        self._lock = threading.Lock()
        self._prompt = self._completion = self._unmetered = 0

    def add(self, answer: Any) -> None:
        """Count the tokens of one answer, from the `usage` in its JSON."""
        fields = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
        usage = fields.get("usage")
        reported = cast("dict[str, Any]", usage) if isinstance(usage, dict) else {}
        prompt, completion = reported.get("prompt_tokens"), reported.get("completion_tokens")
        with self._lock:
            if _is_count(prompt) and _is_count(completion):
                self._prompt += prompt
                self._completion += completion
            else:
                self._unmetered += 1

    def read(self, counts: CallCounts) -> JudgeUsage:
        """Return the usage so far; `counts` gives the requests."""
        with self._lock:
            prompt, completion, unmetered = self._prompt, self._completion, self._unmetered
        cost = None
        if self._prices is not None:
            cost = (prompt * self._prices.prompt + completion * self._prices.completion) / 1e6
        return JudgeUsage(counts.requests, counts.retries, prompt, completion, unmetered, cost)


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and value >= 0
