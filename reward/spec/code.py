"""Rewards that run code of the user."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from reward.spec.model import RewardSpecModel

MAX_SOURCE_CHARS = 262_144


class PythonSpec(RewardSpecModel):
    """What a Python function of the user returns.

    Takes files written for TRL, verl and OpenAI's graders as they are. The function runs in child
    processes, with the limits below, and only where the operator of the service allows it.
    """

    type: Literal["python"] = "python"
    source: str | None = Field(default=None, min_length=1, max_length=MAX_SOURCE_CHARS)
    """Text of the Python file. Give this or `path`."""
    path: str | None = Field(default=None, min_length=1)
    """A Python file on the server. It is read when the job starts."""
    function: str | None = Field(default=None, min_length=1)
    """Name of the function. Not needed where the file has one function of a known form, or one
    named `compute_score` or `grade`."""
    style: Literal["auto", "trl", "verl", "openai"] = "auto"
    """How the function is called. `trl`: `f(prompts, completions, **columns)` with lists, for the
    whole batch; returns a list of numbers, None for what it does not score. `verl`:
    `f(data_source, solution_str, ground_truth, extra_info)` for each answer; returns a number, or
    a dictionary with `score`. `openai`: `f(sample, item)` for each answer; returns a number.
    `auto` tells by the names of the parameters."""
    timeout_s: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    """Longest time one item may take. A call for a whole batch has this time for each of its items,
    but not above a minute, or this where it is more; where that is not enough, the items are
    scored one at a time."""
    cpu_s: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    """Most processor time one item may take, all threads together."""
    memory_mb: int = Field(default=1024, ge=64)
    """Most address space of a process. Libraries such as torch need several thousand."""
    output_bytes: int = Field(default=16_384, ge=0)
    """What is kept of the text that one item prints; the rest is dropped."""
    max_processes: int = Field(default=32, ge=0)
    """Most processes that the function may have started at once."""
    max_retries: int = Field(default=1, ge=0)
    """How often an item is tried again whose process died. Not after an exception or a limit."""

    @model_validator(mode="after")
    def _one_source(self) -> PythonSpec:
        if (self.source is None) == (self.path is None):
            given = "neither" if self.source is None else "both"
            raise ValueError(f"give `source` or `path`, one of them; given: {given}")
        return self
