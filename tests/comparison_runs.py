"""Scripted runs of a comparison."""

from __future__ import annotations

from typing import Any

from essa.events import (
    CompletionSample,
    Event,
    ResultEvent,
    ScoreSummary,
    StepEvent,
    ValidationEvent,
    WarmStartEvent,
)

GIB = 2**30


def warm_start(seconds: float = 10.0, tokens: int = 1000, samples: int = 50) -> WarmStartEvent:
    """A warm start that this run made."""
    return WarmStartEvent(
        kind="rejection_sampling", seconds=seconds, tokens=tokens, samples=samples
    )


def validation(
    generation: int, score: float, at_s: float | None, *, unit: int = 100, **changes: Any
) -> ValidationEvent:
    """A validation on two devices, with `unit` tokens and one sample a second."""
    spent = {}
    if at_s is not None:
        spent = {"device_s": 2 * at_s, "tokens": int(unit * at_s), "samples": int(at_s)}
    usual = {"ci95": (score - 0.1, score + 0.1), "is_best": True, "elapsed_s": at_s}
    return ValidationEvent(generation=generation, score=score, **(usual | spent | changes))


def step(number: int, at_s: float, **changes: Any) -> StepEvent:
    """A step of training, of which 2 s are rollouts and 0.5 s training."""
    usual: dict[str, Any] = {
        "fitness": [0.1, 0.2],
        "best": 0.2,
        "mean": 0.15,
        "worst": 0.1,
        "step_norm": 1.0,
        "distance": float(number),
        "missing_scores": 0,
        "generated_tokens": 40,
        "tokens_per_s": 20.0,
        "rollout_s": 2.0,
        "reward_s": 0.25,
        "train_s": 0.5,
        "coordinator_s": 0.25,
        "elapsed_s": at_s,
        "eta_s": None,
        "device_s": 2 * at_s,
        "tokens": int(100 * at_s),
        "samples": int(at_s),
        "training": {"kl": 0.01 * number},
    }
    return StepEvent(generation=number, **(usual | changes))


def result(
    aligned: float, seconds: float, *, peak: float | None = None, **changes: Any
) -> ResultEvent:
    """The end of a run with these test scores; peak in GiB."""
    scores = {
        name: ScoreSummary(
            mean=mean, ci95=(mean - 0.05, mean + 0.05), prompts=20, components={"tone": mean / 2}
        )
        for name, mean in (("base", 0.1), ("warm_start", 0.3), ("aligned", aligned))
    }
    usual: dict[str, Any] = {
        "test": scores,
        "validation": scores["aligned"],
        "selected_generation": 2,
        "generations": 2,
        "stop_reason": "generations",
        "seconds": seconds,
        "tokens": 0,
        "host_peak_bytes": None if peak is None else int(peak * GIB),
        "adapter": "adapter",
        "samples": [
            CompletionSample(prompt="p", base="b", warm_start="w", aligned="three words here")
        ],
    }
    return ResultEvent(**(usual | changes))


def making_run() -> list[Event]:
    """Makes its warm start in 10 s; validates 0.3, 0.5 and 0.8 at 15, 20 and 30 s; ends at 40 s."""
    return [
        warm_start(),
        validation(0, 0.3, 15.0),
        step(1, 19.0),
        validation(1, 0.5, 20.0),
        step(2, 29.0),
        validation(2, 0.8, 30.0),
        result(0.7, 40.0, peak=2.0, tokens=4000),
    ]


def given_run(*scores: float, step_s: float = 20.0, peak: float = 4.0) -> list[Event]:
    """Starts from an adapter; validates these scores at 5 s and then every `step_s`."""
    events: list[Event] = [
        WarmStartEvent(kind="adapter", seconds=0.1, tokens=0, samples=0),
        validation(0, scores[0], 5.0),
    ]
    for number, score in enumerate(scores[1:], start=1):
        events.append(step(number, 5.0 + step_s * number - 1))
        events.append(validation(number, score, 5.0 + step_s * number))
    end_s = 5.0 + step_s * len(scores[1:]) + 5
    return [*events, result(0.6, end_s, peak=peak, tokens=int(100 * end_s))]
