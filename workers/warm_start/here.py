"""Training a warm start in this process; an out-of-memory error names the settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from essa.number_format import Activations
from essa.ports import Say
from essa.spec.model import LoraSpec, SftSpec
from workers.machine.out_of_memory import named_memory
from workers.warm_start.pairs import SftPair
from workers.warm_start.sft import train_lora


def train_named(
    model_folder: str | Path,
    pairs: Sequence[SftPair],
    lora: LoraSpec,
    sft: SftSpec,
    seed: int,
    out_dir: Path,
    progress: Say,
    training: Activations,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Run `train_lora` in this process.

    Raises:
        TrainerError: memory ran out; names the settings.
    """
    with named_memory("the warm start", memory_fix(sft), "warm_start.sft.batch_size"):
        train_lora(
            model_folder,
            pairs,
            lora,
            sft,
            seed,
            out_dir,
            progress,
            training=training,
            should_stop=should_stop,
        )


def memory_fix(sft: SftSpec) -> str:
    """Return what to change if memory runs out."""
    return (
        f"lower warm_start.sft.batch_size, now {sft.batch_size}, or warm_start.sft.max_length, now "
        f"{sft.max_length}"
    )
