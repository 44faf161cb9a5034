"""Shared values and the conventions of the whole project.

Axes in names and docstrings: N population, D search dimension, P prompts, G samples per prompt,
T tokens. A name carries its axes (`rewards_N_P`) only from two axes up.

**Fitness is maximised everywhere.** A library that minimises is negated at its adapter.
A missing score is NaN, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

EvaluationKind = Literal["ladder", "train", "validation", "test"]
"""What a population is evaluated for."""


class RenderedPrompt(NamedTuple):
    """A row as the model is given it; `messages` is empty for a plain-text prompt."""

    text: str
    messages: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Row:
    """One item of a data set.

    `prompt` is the text given to the model (templates already applied), `messages` the
    conversation behind it, empty for a plain-text prompt. `columns` is the row as the user wrote
    it: rewards read references and keywords from it. `index` is its line in the file, from 0.
    """

    index: int
    prompt: str
    columns: dict[str, Any] = field(default_factory=dict)
    messages: tuple[dict[str, str], ...] = ()

    @property
    def written(self) -> str:
        """The prompt as the user wrote it, without the chat template around it."""
        own = self.columns.get("prompt")
        if isinstance(own, str):
            return own
        return self.messages[-1]["content"] if self.messages else self.prompt


class WorkSpan(NamedTuple):
    """One work item on an engine, in seconds since its evaluation began.

    `candidates` are rows of the population, none for the base; `tokens` were generated.
    """

    engine: int
    started_s: float
    ended_s: float
    candidates: tuple[int, ...]
    tokens: int


@dataclass(frozen=True)
class Completion:
    """One rollout: what a candidate answered to a prompt.

    `token_logprobs` are the engine's natural-log probabilities of the generated tokens, present
    only where they were asked for.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    token_logprobs: tuple[float, ...] | None = None


@dataclass(frozen=True)
class PopulationScores:
    """Scores of one population: N candidates, P prompts each.

    `groups` says which prompts of the batch those are, see `essa.groups`; with one group all of it.
    `rewards_N_P` is averaged over samples per prompt; NaN marks a missing score.
    `components` holds the same array for every named component of a composite reward.
    `completions[n][p]` is the first sample. `failures` are distinct messages with their counts.
    `samples` counts all completions; `spans` says which engine did what and when.
    """

    rewards_N_P: FloatArray
    components: dict[str, FloatArray]
    completions: list[list[str]]
    prompt_tokens: int
    generated_tokens: int
    rollout_s: float
    reward_s: float
    failures: dict[str, int] = field(default_factory=dict)
    samples: int = 0
    spans: tuple[WorkSpan, ...] = ()
    groups: int = 1

    def first(self, count: int) -> PopulationScores:
        """Scores of the first `count` candidates; what was spent stays that of all."""
        return replace(
            self,
            rewards_N_P=self.rewards_N_P[:count],
            components={name: values[:count] for name, values in self.components.items()},
            completions=self.completions[:count],
        )

    def with_costs_of(self, other: PopulationScores) -> PopulationScores:
        """Return these scores with the costs and failures of another evaluation added."""
        return replace(self, **_costs((self, other)))

    @property
    def tokens(self) -> int:
        """Prompt and generated tokens together."""
        return self.prompt_tokens + self.generated_tokens


def is_dict(value: object) -> TypeGuard[dict[str, Any]]:
    """True for named values as JSON and YAML have them; `isinstance` alone leaves them untyped."""
    return isinstance(value, dict)


def is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    """True for named values of any class; `isinstance` alone leaves them untyped."""
    return isinstance(value, Mapping)


def joined_scores(parts: Sequence[PopulationScores]) -> PopulationScores:
    """Scores of several evaluations of one batch, made one after the other, as those of one.

    Args:
        parts: at least one, of the same prompts and components.
    """
    spans: list[WorkSpan] = []
    candidates, passed_s = 0, 0.0
    for part in parts:
        spans += [
            span._replace(
                started_s=passed_s + span.started_s,
                ended_s=passed_s + span.ended_s,
                candidates=tuple(candidates + one for one in span.candidates),
            )
            for span in part.spans
        ]
        candidates += len(part.rewards_N_P)
        passed_s += part.rollout_s + part.reward_s
    return PopulationScores(
        rewards_N_P=np.concatenate([part.rewards_N_P for part in parts]),
        components={
            name: np.concatenate([part.components[name] for part in parts])
            for name in parts[0].components
        },
        completions=[row for part in parts for row in part.completions],
        spans=tuple(spans),
        **_costs(parts),
    )


def _costs(parts: Sequence[PopulationScores]) -> dict[str, Any]:
    """Fields of `PopulationScores` that add up over evaluations."""
    failures: Counter[str] = Counter()
    for part in parts:
        failures.update(part.failures)
    return {
        "prompt_tokens": sum(part.prompt_tokens for part in parts),
        "generated_tokens": sum(part.generated_tokens for part in parts),
        "rollout_s": sum(part.rollout_s for part in parts),
        "reward_s": sum(part.reward_s for part in parts),
        "failures": dict(failures),
        "samples": sum(part.samples for part in parts),
    }


def describe_failures(failures: Mapping[str, int]) -> str:
    """One line for a message: every failure with its count."""
    shown = "; ".join(f"{text} (x{count})" for text, count in failures.items())
    return shown or "none recorded"
