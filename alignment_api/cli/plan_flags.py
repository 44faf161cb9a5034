"""The flags of `essa plan`. Imported for every help text, so it imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PLAN_FLAGS: dict[str, dict[str, dict[str, Any]]] = {
    "model": {
        "--model": {
            "default": "qwen2.5-32b",
            "help": "a name (smollm2-135m, qwen2.5-7b, -32b or -72b, llama-3.1-8b), a folder with "
            "config.json, or a hub name that is on this machine (default %(default)s)",
        },
        "--precision": {
            "default": "bf16",
            "choices": ["bf16", "int8", "int4"],
            "help": "of the base under search; GRPO's is bf16 (default %(default)s)",
        },
        "--rank": {"type": int, "default": 8, "help": "of the adapter (default %(default)s)"},
        "--alpha": {
            "type": float,
            "default": 1.0,
            "help": "fraction of singular values searched (default %(default)s)",
        },
        "--modules": {
            "default": "q_proj,k_proj,v_proj,o_proj",
            "metavar": "A,B",
            "help": "adapted layers (default %(default)s)",
        },
    },
    "work": {
        "--population": {"type": int, "default": 96, "help": "candidates (default %(default)s)"},
        "--batch-size": {
            "type": int,
            "default": 100,
            "help": "prompts of a generation, for every candidate (default %(default)s)",
        },
        "--prompt-tokens": {
            "type": int, "default": 128, "help": "of a prompt (default %(default)s)",
        },
        "--max-tokens": {
            "type": int, "default": 1024, "help": "longest answer (default %(default)s)",
        },
        "--answer-tokens": {
            "type": float, "help": "mean answer (default: half of --max-tokens)",
        },
        "--length-spread": {
            "type": float,
            "default": 0.5,
            "help": "standard deviation of answers' lengths over their mean (default %(default)s)",
        },
        "--grpo-batch": {
            "type": int, "default": 512, "help": "samples of a GRPO step (default %(default)s)",
        },
        "--micro-batch": {
            "type": int,
            "default": 4,
            "help": "samples of one backward pass of GRPO (default %(default)s)",
        },
        "--optimiser": {
            "default": "adamw",
            "choices": ["adamw", "adamw_8bit", "lion", "sgd"],
            "help": "of GRPO (default %(default)s)",
        },
    },
    "machine": {
        "--device": {
            "default": "h100",
            "choices": ["h100", "h200", "a100", "cpu-core"],
            "help": "cpu-core is measured, GPUs are data sheets at half speed (default "
            "%(default)s)",
        },
        "--gpus": {
            "type": int, "default": 16, "help": "devices of the run (default %(default)s)",
        },
        "--gpu-memory-gib": {"type": float, "help": "of one device (default: the device's own)"},
        "--gpus-per-engine": {
            "type": int, "help": "tensor parallelism (default: the fewest that hold the model)",
        },
        "--sequences": {
            "type": int,
            "default": 192,
            "help": "decoded together by an engine at most (default %(default)s)",
        },
        "--tokens-per-s": {
            "type": float, "help": "measured of one engine with its batch full",
        },
        "--bandwidth": {
            "type": float,
            "default": 25.0,
            "metavar": "GB_PER_S",
            "help": "between devices, sustained by each (default %(default)s)",
        },
    },
    "simulation": {
        "--timeline": {
            "type": Path,
            "metavar": "RUN_DIR",
            "help": "take engines' speed and answers' lengths from a run's folder",
        },
        "--slowness-spread": {
            "type": float,
            "default": 0.03,
            "help": "of engines' speeds; measured between two starts (default %(default)s)",
        },
        "--stragglers": {
            "type": float,
            "default": 0.0,
            "metavar": "FRAC",
            "help": "share of engines that take twice as long (default %(default)s)",
        },
        "--failures-per-day": {
            "type": float,
            "default": 0.0,
            "help": "of one engine; its items start anew elsewhere (default %(default)s)",
        },
        "--restart-s": {
            "type": float, "default": 120.0, "help": "of a lost engine (default %(default)s)",
        },
        "--generations": {
            "type": int, "default": 3, "help": "simulated of each size (default %(default)s)",
        },
        "--seed": {"type": int, "default": 0, "help": "of the simulation (default %(default)s)"},
    },
    "output": {
        "--paper": {
            "action": "store_true",
            "help": "show the paper's 16 and 128 GPUs beside the prediction; sets model, rank, "
            "population and batch to the paper's",
        },
        "--json": {"action": "store_true", "help": "print everything as one JSON object"},
    },
}  # fmt: skip
"""Flag to argparse's options, by section of the help."""
