"""Supervised training of the warm-start LoRA, on the answers' tokens only."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from essa.errors import AdapterError, JobCancelledError
from essa.number_format import Activations
from essa.ports import Say
from essa.spec.model import LoraSpec, SftSpec
from reward.machine import usable_cores
from workers.warm_start.batches import IGNORED, check_pairs, collate, plan_batches
from workers.warm_start.lora_model import load_lora_model
from workers.warm_start.pairs import SftPair

if TYPE_CHECKING:
    import torch

    from workers.machine.row_threads import RowThreads

WARMUP_FRAC = 0.1
MAX_GRAD_NORM = 1.0


def train_lora(
    model_folder: str | Path,
    pairs: Sequence[SftPair],
    lora: LoraSpec,
    sft: SftSpec,
    seed: int,
    out_dir: str | Path,
    progress: Say,
    threads: int | None = None,
    training: Activations | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train a LoRA adapter and save it in PEFT's format.

    The base stays frozen in its own precision, or in float32 if the machine would emulate that
    precision; the adapter is float32. On a CPU the result is a function of the arguments and the
    number of threads. Uses a CUDA device if there is one.

    Args:
        model_folder: an unquantised base in Hugging Face format.
        pairs: training pairs.
        lora: shape of the adapter.
        sft: training settings.
        seed: seed of the initial weights and the order of pairs.
        out_dir: folder of the adapter; replaced if it exists, untouched on failure.
        progress: called with the loss after every step.
        threads: CPU threads; None takes all cores that this process may use. Each trains on its
            part of a batch, see `RowThreads`.
        training: number format that gradients are computed in; None takes the fast one here.
        should_stop: called before every step; True cancels the training.
    Returns:
        `out_dir`.
    Raises:
        DataError: no pairs, an empty one, or one longer than `sft.max_length`.
        AdapterError: the adapter does not fit the model, or training diverged.
        JobCancelledError: `should_stop` returned True.
    """
    import torch

    from workers.machine.native_format import native_training
    from workers.machine.row_threads import RowThreads

    check_pairs(pairs, sft.max_length)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = 1 if device.type == "cuda" else threads or len(usable_cores())
    with _seeded(seed), RowThreads(threads, rows=sft.batch_size) as apart:
        progress(f"loading the base for the warm start on {device}")
        longest = max(len(pair) for pair in pairs)
        training = training or native_training(device.type)
        model = load_lora_model(Path(model_folder), lora, device, longest, training)
        _train(model, pairs, sft, seed, progress, should_stop, apart)
        return _save(model, Path(out_dir))


def _train(
    model: Any,
    pairs: Sequence[SftPair],
    sft: SftSpec,
    seed: int,
    progress: Say,
    should_stop: Callable[[], bool],
    apart: RowThreads,
) -> None:
    import torch

    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=sft.learning_rate, weight_decay=0.0)
    batches = plan_batches(pairs, sft.batch_size, sft.epochs, seed)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule(len(batches)))
    model.train()
    began_s = time.monotonic()
    for step, batch in enumerate(batches, start=1):
        if should_stop():
            raise JobCancelledError(
                f"cancelled during the warm start, at step {step} of {len(batches)}"
            )
        chosen = [pairs[i] for i in batch]
        loss = _loss_apart(model, chosen, apart, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, MAX_GRAD_NORM)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        if not math.isfinite(value):
            raise AdapterError(
                f"the warm start diverged: the loss is {value} at step {step} of {len(batches)}; "
                f"lower warm_start.sft.learning_rate, now {sft.learning_rate:g}",
                field="warm_start.sft.learning_rate",
            )
        left_s = (time.monotonic() - began_s) / step * (len(batches) - step)
        progress(f"training steps, loss {value:.3f}", step, len(batches), left_s)


def answer_loss(model: Any, pairs: Sequence[SftPair]) -> torch.Tensor:
    """Return the mean cross entropy in nats over the answers' tokens of one batch."""
    return _losses(model, pairs).sum() / _answer_tokens(pairs)


def _loss_apart(
    model: Any, pairs: Sequence[SftPair], apart: RowThreads, weights: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Return `answer_loss`, computed with each part of the pairs in a thread of its own."""
    (losses,) = apart.run(lambda rows: (_losses(model, pairs[rows]),), len(pairs), weights)
    return losses.sum() / _answer_tokens(pairs)


def _answer_tokens(pairs: Sequence[SftPair]) -> int:
    return sum(len(pair.completion_ids) for pair in pairs)


def _losses(model: Any, pairs: Sequence[SftPair]) -> torch.Tensor:
    """Return the cross entropy of each pair's answer, summed over its tokens; shape (batch,)."""
    import torch

    batch = collate(pairs, model.device)
    # Padding is on the left, so the answers end together and only the tail needs logits: with a
    # large vocabulary those are most of the work. Indices rather than a slice keep the tail
    # contiguous; otherwise torch multiplies batch by batch and copies the head for each.
    width = batch.input_ids.shape[1]
    logits = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
        logits_to_keep=torch.arange(width - batch.tail - 1, width - 1, device=model.device),
    ).logits
    labels = batch.labels[:, -batch.tail :]
    losses = torch.nn.functional.cross_entropy(
        logits.float().reshape(-1, logits.shape[-1]),
        labels.reshape(-1),
        ignore_index=IGNORED,
        reduction="none",
    )
    return losses.reshape(labels.shape).sum(1)


def schedule(steps: int) -> Callable[[int], float]:
    """Return the learning-rate factor by step: a tenth linear warm-up, then linear decay to 0."""
    warmup = max(1, math.ceil(WARMUP_FRAC * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return factor


def _save(model: Any, out_dir: Path) -> Path:
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    temporary = out_dir.parent / f".{out_dir.name}-{uuid.uuid4().hex[:8]}"
    try:
        model.save_pretrained(temporary)
        if out_dir.exists():
            shutil.rmtree(out_dir)
        temporary.rename(out_dir)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return out_dir


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch for the training only."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
