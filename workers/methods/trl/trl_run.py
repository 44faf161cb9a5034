"""Drive TRL's GRPOTrainer from outside: it waits for rollouts and reports its state."""

from __future__ import annotations

import os
import queue
import resource
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PrinterCallback, TrainerCallback

# TRL warns at every start that custom rollouts may change in a later release; ours is pinned.
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from workers.machine.out_of_memory import named_memory
from workers.machine.row_threads import RowThreads
from workers.methods.trl.messages import Experience, Report, TrainerBuild
from workers.methods.trl.model import load_trainable
from workers.methods.trl.optimizers import make_optimizer
from workers.methods.trl.singular_values import adapter_modules, train_singular_values

_TRAINABLE = "trainable.safetensors"
_LOGGED = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "entropy": "entropy",
    "kl": "kl",
    "clip_ratio/region_mean": "clip_ratio",
    "completions/mean_length": "mean_length",
    "completions/clipped_ratio": "unfinished_frac",
    "frac_reward_zero_std": "groups_without_signal_frac",
}
"""Reported metrics: TRL's name of each, and the name in our reports."""


class TrlRun:
    """Trains in a separate thread; `exchange` passes rollouts in and returns the next report."""

    def __init__(self, build: TrainerBuild, start_step: int) -> None:
        self._build = build
        self._step = start_step
        self._first_step = start_step
        self._to_trainer: queue.Queue[Experience] = queue.Queue()
        self._to_driver: queue.Queue[Report | BaseException] = queue.Queue()
        self._logs: list[dict[str, float]] = []
        self._is_saved = False
        self._trained_from_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="trainer", daemon=True)

    def start(self) -> Report:
        """Load the model, run to the point where rollouts are needed, and return the report."""
        self._thread.start()
        return self._next()

    def exchange(self, experience: Experience) -> Report:
        """Train on the rollouts of one round and return the report."""
        self._to_trainer.put(experience)
        return self._next()

    def _next(self) -> Report:
        news = self._to_driver.get()
        if isinstance(news, BaseException):
            raise news
        return news

    # -- in the trainer's thread ------------------------------------------------------------

    def _run(self) -> None:
        method = self._build.method
        fix = (
            f"lower method.micro_batch, now {method.micro_batch}, or set "
            "method.gradient_checkpointing"
        )
        try:
            with named_memory("the trainer", fix, "method.micro_batch"):
                self._train()
        except BaseException as error:
            self._to_driver.put(error)

    def _train(self) -> None:
        with RowThreads(self._build.threads or 1, rows=self._build.micro_batch) as apart:
            trainer = self._trainer()
            trainer.apart = apart
            resumed = None
            if self._first_step:
                updates = self._first_step * self._build.updates
                resumed = str(self._build.checkpoints / f"checkpoint-{updates}")
            trainer.train(resume_from_checkpoint=resumed)
            self._report(trainer.model, self._build.steps)

    def _trainer(self) -> _Trainer:
        build, method = self._build, self._build.method
        model = load_trainable(
            build.model_folder, build.adapter_folder, method, build.longest_tokens
        )
        settings = GRPOConfig(
            output_dir=str(build.checkpoints),
            max_steps=build.steps * build.updates,
            per_device_train_batch_size=build.micro_batch,
            gradient_accumulation_steps=build.mini_batch // build.micro_batch,
            steps_per_generation=build.completions // build.micro_batch,
            num_generations=method.group_size,
            num_iterations=method.iterations,
            max_completion_length=build.max_tokens,
            learning_rate=method.learning_rate,
            lr_scheduler_type="constant_with_warmup"
            if method.schedule == "constant"
            else method.schedule,
            warmup_steps=round(method.warmup_frac * build.steps * build.updates),
            max_grad_norm=method.max_grad_norm,
            beta=method.kl_coefficient,
            epsilon=method.clip,
            epsilon_high=method.clip_high,
            loss_type=method.loss,
            scale_rewards=method.scale_advantages,
            temperature=method.temperature,
            gradient_checkpointing=method.gradient_checkpointing,
            bf16=False,
            use_cpu=not torch.cuda.is_available(),
            shuffle_dataset=False,
            seed=build.seed,
            logging_steps=1,
            save_strategy="no",
            # The job's checkpoint may fall back to the previous one, which needs ours of that time.
            save_total_limit=3,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        exact = [(one, one.data) for one in model.parameters() if one.requires_grad]
        trainer = _Trainer(
            model=model,
            args=settings,
            reward_funcs=[_score],
            # The job provides the rounds, in its own order; TRL only counts them.
            train_dataset=Dataset.from_dict(
                {"prompt": [str(row) for row in range(build.steps * build.batch_size)]}
            ),
            processing_class=AutoTokenizer.from_pretrained(build.model_folder),
            callbacks=[_Watch(self)],
            rollout_func=self._roll_out,
        )
        # TRL rounds the adapter on a quantised base to bfloat16, which would lose small updates.
        for parameter, values in exact:
            parameter.data = values
        trainer.remove_callback(PrinterCallback)
        trainer.build = build
        if method.parameters == "singular_values":
            # Only after TRL has copied its reference, which consists of plain factors.
            train_singular_values(trainer.model)
        return trainer

    def _roll_out(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        self._report(trainer.model, self._step)
        experience = self._to_trainer.get()
        self._trained_from_s = time.monotonic()
        self._step += 1
        # TRL requires at least one token per completion; the filler is masked.
        filled = [
            completion or prompt[-1:]
            for prompt, completion in zip(
                experience.prompt_ids, experience.completion_ids, strict=True
            )
        ]
        return {
            "prompt_ids": experience.prompt_ids,
            "completion_ids": filled,
            # A completion without a score teaches nothing, and its tokens must not enter averages.
            "env_mask": [
                [int(bool(completion) and score is not None)] * len(tokens)
                for tokens, completion, score in zip(
                    filled, experience.completion_ids, experience.scores, strict=True
                )
            ],
            # Only used for corrections in TRL's own vLLM mode.
            "logprobs": None,
            "score": experience.scores,
        }

    def _report(self, model: Any, step: int) -> None:
        weights = {
            name: (_array(lora_A.weight), _array(lora_B.weight))
            for name, lora_A, lora_B in adapter_modules(model)
        }
        metrics = {
            told: float(np.mean([one[name] for one in self._logs if name in one]))
            for name, told in _LOGGED.items()
            if any(name in one for one in self._logs)
        }
        train_s = time.monotonic() - self._trained_from_s if self._logs else 0.0
        self._to_driver.put(Report(step, weights, metrics, train_s, self._is_saved, _peak_bytes()))
        self._logs, self._is_saved = [], False

    def note(self, logs: dict[str, float]) -> None:
        """Record the metrics that TRL logs after an update."""
        self._logs.append(logs)

    def wants_save(self, updates: int) -> bool:
        """Return whether a round due for a checkpoint ends with this update."""
        step, rest = divmod(updates, self._build.updates)
        return rest == 0 and (step % self._build.save_every == 0 or step == self._build.steps)

    def saved(self) -> None:
        """Record that the checkpoint of this round is on disk."""
        self._is_saved = True


class _Trainer(GRPOTrainer):
    """GRPOTrainer with optimisers by our names, and checkpoints of the trained weights only."""

    build: TrainerBuild
    apart: RowThreads
    args: Any
    model: Any
    """Trained model; never None, although transformers' declarations allow it."""

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **images: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Compute, on a CPU, only the logits of completions.

        Without Triton, TRL's own method also passes prompts through the output layer, in chunks and
        twice: nearly half of an update's time if prompts are longer than answers.
        """
        if input_ids.device.type != "cpu" or compute_aux_loss:
            return super()._get_per_token_logps_and_entropies(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size,
                compute_entropy,
                compute_aux_loss,
                **images,
            )
        weights = [one for one in model.parameters() if one.requires_grad]
        size = batch_size or len(input_ids)
        found = []
        for ids, mask in zip(input_ids.split(size), attention_mask.split(size), strict=True):

            def part(
                rows: slice, ids: torch.Tensor = ids, mask: torch.Tensor = mask
            ) -> tuple[torch.Tensor, ...]:
                return self._log_probs(model, ids[rows], mask[rows], logits_to_keep)

            found.append(self.apart.run(part, len(ids), weights))
        log_probs, entropies = (torch.cat(pieces) for pieces in zip(*found, strict=True))
        return log_probs, entropies if compute_entropy else None, None

    def _log_probs(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, kept: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-probabilities and entropies at the completions' tokens, both (rows, kept)."""
        output = model(input_ids=ids, attention_mask=mask, logits_to_keep=kept + 1)
        logits = output.logits[:, :-1].float() / self.temperature
        normalizer = logits.logsumexp(-1)
        chosen = logits.gather(-1, ids[:, -kept:, None]).squeeze(-1)
        with torch.no_grad():
            entropies = normalizer - (logits.softmax(-1) * logits).sum(-1)
        return chosen - normalizer, entropies

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        method = self.build.method
        self.optimizer = make_optimizer(
            method.optimizer,
            [one for one in self.model.parameters() if one.requires_grad],
            learning_rate=method.learning_rate,
            weight_decay=method.weight_decay,
        )
        return self.optimizer

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        trained = {
            name: value.detach().cpu().contiguous()
            for name, value in self.model.named_parameters()
            if value.requires_grad
        }
        save_file(trained, folder / _TRAINABLE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        saved = load_file(Path(resume_from_checkpoint) / _TRAINABLE)
        with torch.no_grad():
            for name, value in self.model.named_parameters():
                if value.requires_grad:
                    value.copy_(saved[name])


class _Watch(TrainerCallback):
    def __init__(self, run: TrlRun) -> None:
        self._run = run

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_save = self._run.wants_save(state.global_step)
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self._run.note(dict(logs))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._run.saved()


def _score(prompts: Any, completions: Any, score: list[float | None], **_: Any) -> Any:
    """Return the scores of the job's reward, which came with the rollouts; None is missing."""
    return score


def _array(weight: torch.Tensor) -> np.ndarray:
    return weight.detach().float().cpu().numpy().copy()


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
