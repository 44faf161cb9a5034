"""Instructions that a program can check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from reward.base import ItemReward
from reward.column import as_list, read_column, unusable
from reward.ifeval.registry import INSTRUCTIONS, argument_problem, check_library
from reward.ifeval.verdict import verdicts
from reward.sample import Sample
from reward.spec import IfevalSpec


class Ifeval(ItemReward[IfevalSpec]):
    """Share of the row's instructions that the completion follows, or 1 only if it follows all.

    A blank completion follows none. The checks of `reward.ifeval` say what each instruction
    requires.

    Source:
        Zhou et al. (2023), Instruction-Following Evaluation for Large Language Models,
        arXiv:2311.07911.
    """

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._row(columns)

    def _score_item(self, sample: Sample) -> float:
        row = self._row(sample.columns)
        followed = verdicts(row, sample.completion, loose=not self.spec.strict)
        return float(all(followed)) if self.spec.score == "all" else sum(followed) / len(followed)

    def _row(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row under the names that `reward.ifeval` reads."""
        ids = self._ids(columns)
        kwargs = self._kwargs(columns, ids)
        lacking = any(
            kind == "combination:repeat_prompt" and given.get("prompt_to_repeat") is None
            for kind, given in zip(ids, kwargs, strict=True)
        )
        prompt = self._prompt(columns) if lacking else ""
        return {"instruction_id_list": ids, "kwargs": kwargs, "prompt": prompt}

    def _ids(self, row: Mapping[str, Any]) -> list[str]:
        column, setting = self.spec.instructions, f"{self.path}.instructions"
        ids = as_list(read_column(row, column, setting))
        if not ids or not all(isinstance(kind, str) for kind in ids):
            raise unusable(row, column, setting, "not a list of instruction ids")
        unknown = [kind for kind in ids if kind not in INSTRUCTIONS]
        if unknown:
            known = ", ".join(sorted(INSTRUCTIONS))
            problem = f"unusable ({unknown[0]!r} is no instruction; known are {known})"
            raise unusable(row, column, setting, problem)
        return ids

    def _kwargs(self, row: Mapping[str, Any], ids: list[str]) -> list[Mapping[str, Any]]:
        column, setting = self.spec.kwargs, f"{self.path}.kwargs"
        given = as_list(read_column(row, column, setting))
        if given is None or len(given) != len(ids):
            problem = f"not a list of {len(ids)} objects, one for each instruction"
            raise unusable(row, column, setting, problem)
        kwargs: list[Mapping[str, Any]] = [{} if one is None else one for one in given]
        for kind, arguments in zip(ids, kwargs, strict=True):
            if not isinstance(cast(object, arguments), Mapping):
                raise unusable(row, column, setting, "not a list of objects")
            check_library(kind)
            problem = argument_problem(kind, arguments)
            if problem is not None:
                raise unusable(row, column, setting, f"unusable ({problem})")
        return kwargs

    def _prompt(self, row: Mapping[str, Any]) -> str:
        column, setting = self.spec.prompt, f"{self.path}.prompt"
        prompt = read_column(row, column, setting)
        if not isinstance(prompt, str) or not prompt.strip():
            raise unusable(row, column, setting, "not text")
        return prompt
