"""Rewards that run the user's code."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from reward.spec.model import RewardSpecModel

MAX_SOURCE_CHARS = 262_144


class PythonSpec(RewardSpecModel):
    """Score that a Python function of the user returns.

    Files written for TRL, verl and OpenAI's graders work unchanged. The function runs in child
    processes, with the limits below, and only if the operator of the service allows it.
    """

    type: Literal["python"] = "python"
    source: str | None = Field(default=None, min_length=1, max_length=MAX_SOURCE_CHARS)
    """Text of the Python file. Give this or `path`."""
    path: str | None = Field(default=None, min_length=1)
    """Path of a Python file on the server. The file is read when the job starts."""
    function: str | None = Field(default=None, min_length=1)
    """Name of the function. Not needed if the file has a single function of a known form, or one
    named `compute_score` or `grade`."""
    style: Literal["auto", "trl", "verl", "openai"] = "auto"
    """Calling convention. `trl`: `f(prompts, completions, **columns)` with lists, for the whole
    batch; returns a list of numbers, None for an answer without a score. `verl`:
    `f(data_source, solution_str, ground_truth, extra_info)` for each answer; returns a number, or
    a dictionary with `score`. `openai`: `f(sample, item)` for each answer; returns a number.
    `auto` decides by the names of the parameters."""
    timeout_s: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    """Longest time one item may take. A call for a whole batch has this time for each of its items,
    up to a minute in total (or one item's time, if that is longer); if it still takes longer, the
    items are scored one at a time."""
    cpu_s: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    """Processor time that one item may use, all threads together."""
    memory_mb: int = Field(default=1024, ge=64)
    """Address space that a process may use, in MB. Libraries such as torch need thousands."""
    output_bytes: int = Field(default=16_384, ge=0)
    """Bytes kept of the text that one item prints; the rest is dropped."""
    max_processes: int = Field(default=32, ge=0)
    """Number of processes that the function may have running at once."""
    max_retries: int = Field(default=1, ge=0)
    """Retries of an item whose process died. Exceptions and exceeded limits are not retried."""

    @model_validator(mode="after")
    def _one_source(self) -> PythonSpec:
        if (self.source is None) == (self.path is None):
            given = "neither" if self.source is None else "both"
            raise ValueError(f"give `source` or `path`, one of them; given: {given}")
        return self
