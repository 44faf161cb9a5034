"""Scores from the user's own server.

Every request is a POST of at most `batch_size` items; the answer has the same order:

    {"version": 1, "reward": "<name>", "items": [
        {"completion": "...", "prompt": "...", "row": {...}, "messages": [{"role", "content"}]}]}

    {"scores": [0.5, null], "errors": [null, "the unit tests did not start"]}

A score is a finite number, higher is better; null is a missing score, and so is an item with an
error. `errors` may be left out. All retries of a request have the same header `Idempotency-Key`.

If a secret is given, `X-Essa-Timestamp` holds the time of sending in seconds since 1970, and
`X-Essa-Signature` the result of `sign`. To verify a request, the server

1. refuses a timestamp more than, say, five minutes from its own clock, since it may be a replay;
2. computes `sign(secret, timestamp, body)` over the body as received, before parsing the JSON;
3. compares both signatures with `hmac.compare_digest`, and answers 401 if they differ.

A server that must not score an item twice also remembers the idempotency keys of those minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, cast

from reward.base import NaN, Reward, RewardResult, text_fault
from reward.column import read_column, unusable
from reward.errors import RewardCallError, RewardError, RewardParseError
from reward.http.client import GuardedClient
from reward.http.exchange import Endpoint, Message
from reward.http.secret import read_secret
from reward.resources import RewardResources
from reward.sample import Sample
from reward.spec.external import RemoteSpec

VERSION = 1


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a request.

    Args:
        secret: the secret that both sides know.
        timestamp: the value of `X-Essa-Timestamp`.
        body: body of the request, as sent.
    Returns:
        HMAC-SHA256 of the timestamp, a full stop and the body, as 64 hexadecimal digits.
    """
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Remote(Reward[RemoteSpec]):
    """The scores that a server returns for batches of completions.

    An entry that is not a finite number is a missing score. If an answer does not have one score
    per item, all items of its request are missing.
    """

    def __init__(
        self, spec: RemoteSpec, path: str = "reward", resources: RewardResources | None = None
    ) -> None:
        super().__init__(spec, path, resources)
        policy = self.resources.policy
        secret = None
        if spec.secret is not None:
            secret = read_secret(policy, spec.secret, f"{path}.secret")
        self._endpoint = Endpoint(
            spec.url,
            f"{path}.url",
            secret=secret,
            credentials=lambda body: {} if secret is None else _signature(secret, body),
        )
        self._client = GuardedClient(self._endpoint, spec, path, policy)

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._row(columns)

    def close(self) -> None:
        self._client.close()

    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        items = [self._item(sample) for sample in samples]
        sendable = [item for item in items if isinstance(item, str)]
        size = self.spec.batch_size
        batches = [sendable[start : start + size] for start in range(0, len(sendable), size)]
        answers = self._client.post_all([self._message(batch) for batch in batches])
        scored = iter(
            result
            for batch, answer in zip(batches, answers, strict=True)
            for result in self._results(answer, len(batch))
        )
        return [
            next(scored) if isinstance(item, str) else RewardResult(NaN, error=item.message)
            for item in items
        ]

    def _message(self, items: Sequence[str]) -> Message:
        name = json.dumps(self.spec.name)
        body = f'{{"version": {VERSION}, "reward": {name}, "items": [{", ".join(items)}]}}'
        # Half a surrogate pair, which is not text, becomes a question mark.
        return Message(body.encode(errors="replace"), {"Idempotency-Key": uuid.uuid4().hex})

    def _item(self, sample: Sample) -> str | RewardError:
        """Return the JSON of one sample, encoded alone so that a bad one cannot spoil its batch."""
        fault = text_fault(self.path, sample)
        if fault is not None:
            return RewardParseError(fault)
        try:
            row = self._row(sample.columns)
        except RewardError as error:
            return error
        messages = _json([dict(message) for message in sample.messages])
        return (
            f'{{"completion": {_json(sample.completion)}, "prompt": {_json(sample.prompt)}, '
            f'"row": {row}, "messages": {messages}}}'
        )

    def _row(self, columns: Mapping[str, Any]) -> str:
        setting = f"{self.path}.columns"
        names = columns if self.spec.columns is None else self.spec.columns
        members: list[str] = []
        for name in names:
            # `read_column` refuses null, which is valid in a column that exists.
            value = columns[name] if name in columns else read_column(columns, name, setting)
            try:
                members.append(f"{_json(str(name))}: {_json(value)}")
            except (TypeError, ValueError, RecursionError) as error:
                raise unusable(columns, name, setting, "not JSON") from error
        return "{" + ", ".join(members) + "}"

    def _results(self, answer: bytes | RewardError, size: int) -> list[RewardResult]:
        try:
            if isinstance(answer, RewardError):
                raise answer
            scores, errors = self._lists(answer, size)
        except RewardError as error:
            return [RewardResult(NaN, error=error.message)] * size
        return [self._result(score, error) for score, error in zip(scores, errors, strict=True)]

    def _lists(self, answer: bytes, size: int) -> tuple[list[Any], list[Any]]:
        try:
            body = json.loads(answer)
            scores, errors = body["scores"], body.get("errors")
        # A value error covers malformed JSON and integers with too many digits.
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            text = self._endpoint.quote(answer.decode(errors="replace"))
            raise RewardCallError(
                f"{self.path}.url: the answer is not a JSON object with `scores`: {text}"
            ) from error
        errors = [None] * size if errors is None else errors
        return self._entries("scores", scores, size), self._entries("errors", errors, size)

    def _entries(self, name: str, given: Any, size: int) -> list[Any]:
        if isinstance(given, list):
            entries = cast("list[Any]", given)
            if len(entries) == size:
                return entries
            there = f"{len(entries)} long"
        else:
            there = type(given).__name__
        raise RewardCallError(
            f"{self.path}.url: `{name}` must be a list with one entry for each of "
            f"{size} items, it is {there}"
        )

    def _result(self, score: Any, error: Any) -> RewardResult:
        value = _finite(score)
        if error is None and value is not None:
            return RewardResult(value)
        given = self._endpoint.quote(score if isinstance(score, str) else repr(score))
        reason = f"the score is {given}" if error is None else self._endpoint.quote(str(error))
        return RewardResult(NaN, error=f"{self.path}: the server gave no score: {reason}")


def _signature(secret: str, body: bytes) -> dict[str, str]:
    timestamp = str(int(time.time()))
    return {"X-Essa-Timestamp": timestamp, "X-Essa-Signature": sign(secret, timestamp, body)}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _finite(score: Any) -> float | None:
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None
    try:
        value = float(score)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None
