"""Score an exported adapter with plain transformers and peft, in a process of its own.

Nothing of our engines is used: the base loads with `AutoModelForCausalLM`, the adapter with
`PeftModel.from_pretrained`, and decoding is `generate`. Compare with the score the service
reported. Last line: one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from job_runs import no_uploads
from peft import PeftModel
from transformers import AutoModelForCausalLM

from essa.data import dataset_path, load_job_data
from essa.objective.fitness import bootstrap_interval
from essa.spec.reading.file import load_job_file
from reward.registry import build_reward
from reward.sample import samples_of
from workers.prompting import PromptEncoder


def main() -> None:
    """Score the test set of a job with its exported adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True, help="job file")
    parser.add_argument("--adapter", type=Path, required=True, help="folder of the adapter")
    parser.add_argument("--base", help="model folder; default: what the adapter names")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, default=64, help="sequences decoded together")
    parser.add_argument("--threads", type=int, help="torch threads")
    parser.add_argument("--set", action="append", default=[], help="job override")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    spec = load_job_file(arguments.job, arguments.set)
    config = json.loads((arguments.adapter / "adapter_config.json").read_text())
    base = arguments.base or config["base_model_name_or_path"]
    encoder = PromptEncoder(base, spec.data.prompt)
    data = load_job_data(
        spec.data,
        seed=spec.seed,
        resolve=lambda one: dataset_path(one, no_uploads),
        render=encoder.prompt,
    )
    model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, arguments.dtype))
    model = PeftModel.from_pretrained(model, arguments.adapter).eval()
    texts = _answers(model, encoder, [row.prompt for row in data.test], spec, arguments.batch)
    results = build_reward(spec.reward).score(samples_of(texts, [row.columns for row in data.test]))
    interval = bootstrap_interval(np.array([result.value for result in results]))
    print(f"{'adapter':<50}{'dtype':>10}{'score':>9}   95 % interval")
    print(
        f"{arguments.adapter.name:<50}{arguments.dtype:>10}{interval.mean:>9.4f}   "
        f"{interval.low:.4f} to {interval.high:.4f}"
    )
    print(
        json.dumps(
            {
                "benchmark": "adapter_score",
                "dtype": arguments.dtype,
                "score": interval.mean,
                "ci95": [interval.low, interval.high],
                "prompts": len(texts),
            }
        )
    )


def _answers(
    model: Any, encoder: PromptEncoder, prompts: Sequence[str], spec: Any, batch: int
) -> list[str]:
    """Greedy answers, in order; batches of prompts of like length, padded on the left."""
    ids = [encoder.token_ids(prompt) for prompt in prompts]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    pad = encoder.tokenizer.pad_token_id or 0
    answers = [""] * len(ids)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        width = max(len(ids[index]) for index in part)
        padded = [[pad] * (width - len(ids[index])) + ids[index] for index in part]
        mask = [[0] * (width - len(ids[index])) + [1] * len(ids[index]) for index in part]
        with torch.inference_mode():
            output = model.generate(
                input_ids=torch.tensor(padded),
                attention_mask=torch.tensor(mask),
                max_new_tokens=spec.rollout.max_tokens,
                do_sample=False,
                pad_token_id=pad,
            )
        for index, tokens in zip(part, output[:, width:], strict=True):
            answers[index] = encoder.tokenizer.decode(tokens, skip_special_tokens=True)
    return answers


if __name__ == "__main__":
    main()
