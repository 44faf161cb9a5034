"""IFEval: does an answer follow instructions that a program can check?

25 kinds of instruction, each with arguments of its own: at least 300 words, no comma, a postscript
that starts with P.S. Verdicts agree with those of the official program, oddities included; if a
check differs, on purpose or by necessity, its docstring says so.

Source:
    Zhou et al. (2023), Instruction-Following Evaluation for Large Language Models,
    arXiv:2311.07911, Table 1 and Section 2.
"""

from __future__ import annotations

from reward.ifeval.registry import INSTRUCTIONS
from reward.ifeval.verdict import follow, verdicts

KNOWN_IDS = tuple(sorted(INSTRUCTIONS))
"""Every instruction that can be checked, as `family:name`."""

__all__ = ["KNOWN_IDS", "follow", "verdicts"]
