"""Write the dashboard's templates from the example jobs: `python examples/make_templates.py`.

A template has everything of its job but paths, which mean nothing on another machine. Where the
example's data is small and committed, its folder holds links to the samples that the dashboard can
upload: the package has the files, which a link out of it would not reach.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

EXAMPLES = Path(__file__).resolve().parent
TARGET = EXAMPLES.parent / "alignment_api" / "static" / "templates"
SETS = ("train", "validation", "test")


class Example(NamedTuple):
    """One entry of the gallery."""

    name: str
    title: str
    about: str
    needs: str
    samples_of: str | None = None
    """Folder of examples whose data comes along."""
    job_of: str | None = None
    """Folder of the example whose job it is; None is the one of its own name."""
    changes: Mapping[str, Any] = MappingProxyType({})
    """What it has different from that job, section by section; None takes a section out."""


GALLERY = (
    Example(
        "upbeat",
        "Upbeat voice",
        "Cheerful answers that still name what was asked about, from prompts and a reward alone.",
        "SmolLM2-135M; two cores, minutes. Sample data comes with it.",
        "upbeat",
    ),
    Example(
        "upbeat-grpo",
        "Upbeat voice by GRPO",
        "The same task by policy gradients, to know what they cost and reach on it.",
        "SmolLM2-135M and the extra baseline; two cores, minutes. Sample data comes with it.",
        "upbeat",
        "upbeat",
        {
            "name": "upbeat-grpo",
            "method": {"type": "grpo", "group_size": 4},
            "search": None,
            "batch_size": 16,
            "budget": {"generations": 12, "target_score": 1.4},
        },
    ),
    Example(
        "constrained",
        "Constrained",
        "Sentiment is maximised while topic, fluency and length are held at thresholds.",
        "SmolLM2-135M; two cores, minutes. Sample data comes with it.",
        "upbeat",
    ),
    Example(
        "ifeval",
        "Instruction following",
        "The share of a prompt's instructions that a program finds followed, as in IFEval.",
        "SmolLM2-135M; two cores, an hour. Make the data with examples/ifeval/make_data.py.",
    ),
    Example(
        "gsm8k",
        "School mathematics",
        "Right final numbers on GSM8K, at the paper's setting for a 7B model.",
        "GPUs. Make the data with examples/gsm8k/prepare.py.",
    ),
)


def template(example: Example) -> dict[str, Any]:
    """What the dashboard reads."""
    folder = EXAMPLES / (example.job_of or example.name)
    written = yaml.safe_load((folder / "job.yaml").read_text(encoding="utf-8"))
    spec = {name: value for name, value in (written | example.changes).items() if value is not None}
    for name in SETS:
        del spec["data"][name]
    if spec["warm_start"].get("path"):
        del spec["warm_start"]["path"]
    samples = {} if example.samples_of is None else {name: _sample(example, name) for name in SETS}
    return {**_card(example), "spec": spec, "samples": samples}


def texts() -> dict[str, str]:
    """Every file of the gallery by its name, without the samples."""
    found = {f"{example.name}.json": template(example) for example in GALLERY}
    found["index.json"] = {"data": [_card(example) for example in GALLERY]}
    return {name: json.dumps(value, indent=2) + "\n" for name, value in found.items()}


def samples() -> dict[str, Path]:
    """The link to each sample in its example."""
    return {
        _sample(example, name): EXAMPLES / example.samples_of / f"{name}.jsonl"
        for example in GALLERY
        if example.samples_of is not None
        for name in SETS
    }


def _card(example: Example) -> dict[str, Any]:
    return {name: getattr(example, name) for name in ("name", "title", "about", "needs")}


def _sample(example: Example, name: str) -> str:
    return f"{example.samples_of}-{name}.jsonl"


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    for name, text in texts().items():
        (TARGET / name).write_text(text, encoding="utf-8")
