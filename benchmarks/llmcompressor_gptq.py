"""Run GPTQ of the llmcompressor library, for `quantization.py --library`.

Runs in an environment of its own: no release of the library fits the versions that the service
needs. So it may import nothing of the project; what it needs comes as a JSON file.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from compressed_tensors.quantization import preset_name_to_scheme
from datasets import Dataset
from llmcompressor import oneshot  # pyright: ignore[reportMissingImports]
from llmcompressor.modifiers.gptq import GPTQModifier  # pyright: ignore[reportMissingImports]
from transformers import AutoModelForCausalLM


def main() -> None:
    """Write the checkpoint; the last line is one JSON object with the seconds it took."""
    order = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(order["threads"])
    scheme = preset_name_to_scheme(order["preset"], ["Linear"])
    if order["group_size"] is not None:
        assert scheme.weights is not None  # every preset of ours rounds them
        weights = scheme.weights.model_copy(update={"group_size": order["group_size"]})
        scheme = scheme.model_copy(update={"weights": weights})
    sequences = order["sequences"]
    model = AutoModelForCausalLM.from_pretrained(order["model"], dtype=torch.float32)
    started_s = time.monotonic()
    oneshot(
        model=model,
        dataset=Dataset.from_dict(
            {
                "input_ids": sequences,
                "attention_mask": [[1] * len(ids) for ids in sequences],
            }
        ),
        recipe=GPTQModifier(
            config_groups={"group_0": scheme},
            ignore=["lm_head"],
            # Scales of the original order, columns by falling diagonal: as in gptq.py.
            actorder="static",
            dampening_frac=order["damping"],
        ),
        num_calibration_samples=len(sequences),
        max_seq_length=max(map(len, sequences)),
        shuffle_calibration_samples=False,
    )
    seconds = time.monotonic() - started_s
    model.save_pretrained(order["out"], save_compressed=True)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
