"""Scores from another model, the judge."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reward.base import NaN, Reward, RewardResult, text_fault
from reward.column import as_text, read_column, unusable
from reward.errors import RewardCallError, RewardError, RewardParseError
from reward.functions.judge_usage import JudgeUsage, UsageMeter
from reward.functions.judge_verdict import read_verdict
from reward.http.client import GuardedClient
from reward.http.exchange import Endpoint, Message
from reward.http.secret import read_secret
from reward.resources import RewardResources
from reward.sample import Sample
from reward.spec.external import JudgeSpec
from reward.spec.template import template_parts

OF_THE_SAMPLE = ("prompt", "completion")
"""Names in a template that are not columns of the row."""


class Judge(Reward[JudgeSpec]):
    """Score or label given by a model behind an OpenAI-compatible `/chat/completions`.

    In the template, `{prompt}` is what the model was asked: the text of its prompt, or of its
    conversation, with several messages one below the other as `role: text`. Completions that lead
    to the same question are judged once per batch. A reply that cannot be read is a missing score,
    whose error quotes the start of the reply.

    The endpoint is called over plain HTTP and not through the `openai` package, because every
    connection has to pass the operator's policy (`reward.http.transport`), and so that retries and
    limits are in one place.
    """

    def __init__(
        self, spec: JudgeSpec, path: str = "reward", resources: RewardResources | None = None
    ) -> None:
        super().__init__(spec, path, resources)
        policy = self.resources.policy
        key = None
        if spec.api_key is not None:
            key = read_secret(policy, spec.api_key, f"{path}.api_key")
        self._endpoint = Endpoint(
            spec.base_url.rstrip("/") + "/chat/completions",
            f"{path}.base_url",
            secret=key,
            credentials=lambda _: {} if key is None else {"Authorization": f"Bearer {key}"},
        )
        self._client = GuardedClient(self._endpoint, spec, path, policy)
        self._template = template_parts(spec.prompt)
        self._meter = UsageMeter(spec.prices)

    @property
    def usage(self) -> JudgeUsage:
        """Usage of the judge so far."""
        return self._meter.read(self._client.counts)

    def check_row(self, columns: Mapping[str, Any]) -> None:
        for _, name in self._template:
            if name is not None and name not in OF_THE_SAMPLE:
                self._column(columns, name)

    def costs(self) -> dict[str, dict[str, float | None]]:
        return {self.path: asdict(self.usage)}

    def close(self) -> None:
        self._client.close()

    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        questions = [self._question(sample) for sample in samples]
        asked = list(dict.fromkeys(one for one in questions if isinstance(one, str)))
        verdicts = dict(zip(asked, self._ask(asked), strict=True))
        return [
            verdicts[one] if isinstance(one, str) else RewardResult(NaN, error=one.message)
            for one in questions
        ]

    def _ask(self, questions: Sequence[str]) -> list[RewardResult]:
        """Ask every question `samples` times and return one result per question."""
        times = self.spec.samples
        messages = [Message(self._body(one)) for one in questions for _ in range(times)]
        marks = [self._mark(answer) for answer in self._client.post_all(messages)]
        return [_mean(marks[start : start + times]) for start in range(0, len(marks), times)]

    def _question(self, sample: Sample) -> str | RewardError:
        fault = text_fault(self.path, sample)
        if fault is not None:
            return RewardParseError(fault)
        given = {"completion": sample.completion, "prompt": _asked(sample)}
        try:
            return "".join(
                literal + ("" if name is None else self._value(given, sample.columns, name))
                for literal, name in self._template
            )
        except RewardError as error:
            return error

    def _value(self, given: Mapping[str, str], columns: Mapping[str, Any], name: str) -> str:
        return given[name] if name in given else self._column(columns, name)

    def _column(self, columns: Mapping[str, Any], name: str) -> str:
        setting = f"{self.path}.prompt"
        text = as_text(read_column(columns, name, setting))
        if text is None:
            raise unusable(columns, name, setting, "neither text nor a number")
        return text

    def _body(self, question: str) -> bytes:
        system = [] if self.spec.system is None else [_message("system", self.spec.system)]
        body = {
            "model": self.spec.model,
            "messages": [*system, _message("user", question)],
            "temperature": self.spec.temperature,
            "max_tokens": self.spec.max_tokens,
            **self.spec.extra,
        }
        kept = {name: value for name, value in body.items() if value is not None}
        # Half a surrogate pair, which is not text, becomes a question mark.
        return json.dumps(kept, ensure_ascii=False).encode(errors="replace")

    def _mark(self, answer: bytes | RewardError) -> float | RewardError:
        if isinstance(answer, RewardError):
            return answer
        try:
            reply, is_cut = self._reply(answer)
        except RewardError as error:
            return error
        try:
            return read_verdict(reply, self.spec.parse)
        except RewardError as error:
            cut = f"; it was cut, raise {self.path}.max_tokens" if is_cut else ""
            return RewardParseError(
                f"{self.path}.parse: the reply cannot be read: {error.message}{cut}: "
                f"{self._endpoint.quote(reply)}",
                field=f"{self.path}.parse",
            )

    def _reply(self, answer: bytes) -> tuple[str, bool]:
        """Return the text of the reply and whether the token limit cut it. Counts the tokens."""
        body: Any = None
        # A value error covers malformed JSON and integers with too many digits.
        with contextlib.suppress(ValueError, RecursionError):
            body = json.loads(answer)
        self._meter.add(body)
        try:
            choice = body["choices"][0]
            # Null if the limit cut the judge off while it was still reasoning.
            reply, finish = choice["message"]["content"] or "", choice.get("finish_reason")
        except (LookupError, TypeError, AttributeError):
            reply, finish = None, None
        if not isinstance(reply, str):
            text = self._endpoint.quote(answer.decode(errors="replace"))
            raise RewardCallError(f"{self.path}.base_url: not a chat completion: {text}")
        return reply, finish == "length"


def _asked(sample: Sample) -> str:
    messages = sample.messages
    if not messages:
        return sample.prompt
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _mean(marks: Sequence[float | RewardError]) -> RewardResult:
    known = [mark for mark in marks if not isinstance(mark, RewardError)]
    if known:
        return RewardResult(sum(known) / len(known))
    return RewardResult(NaN, error=next(str(mark) for mark in marks))
