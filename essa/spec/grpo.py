"""The baseline: policy gradients on the warm-start adapter, by TRL's GRPOTrainer.

GRPO: Shao et al. (2024), DeepSeekMath, arXiv:2402.03300. The paper of ESSA (arXiv:2507.04453)
compares with it; its appendix names the learning rate, the batch and the mini-batch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from essa.spec.base import SettingError
from essa.spec.engine import Precision
from essa.spec.method_base import BaseMethodSpec, Moved, Training
from essa.spec.search import SearchSpec
from essa.types import is_dict

if TYPE_CHECKING:
    from essa.number_format import Activations
    from essa.spec.job import AlignmentJobSpec

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]

OptimizerName = Literal[
    "adamw",
    "adamw_8bit",
    "paged_adamw_8bit",
    "lion",
    "lion_8bit",
    "sgd",
    "adamp",
    "exadam",
    "apollo",
    "apollo_mini",
]

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"learning_rate": 1e-5, "mini_batch": 64},
    "tuned": {},
}
"""What a preset gives to the settings that are not written out."""


_BASE_PRECISION = {
    "auto": Precision.BF16,
    "fp32": Precision.FP32,
    "bf16": Precision.BF16,
    "int8": Precision.INT8,
    "nf4": Precision.INT4,
}
_TRAINED = {
    "lora": "all weights of the adapter",
    "singular_values": "the singular values of the adapter's A and B, whose singular vectors stay",
}


class GrpoSpec(BaseMethodSpec):
    """Train the warm-start adapter by group-relative policy gradients.

    `batch_size` counts prompts per step, `budget.generations` steps (rounds of rollouts). Prompts,
    reward, validation, test and the rule for the result are those of an evolution job; `search` is
    not read. The reward must score every completion for itself.
    """

    trains = True
    needs_score_each = True
    tags = ("grpo", "trl")

    type: Literal["grpo"] = "grpo"
    preset: Literal["tuned", "paper"] = "tuned"
    """Defaults of what is not written out. `tuned`: learning rate 3e-3, the best of a sweep on
    SmolLM2-135M (docs/BASELINE.md); larger models want less. `paper`: learning rate 1e-5,
    mini-batch 64, as in the paper of ESSA, for a batch of 512 completions."""
    parameters: Literal["lora", "singular_values"] = "lora"
    """`lora`: all weights of the adapter. `singular_values`: only those of its factors, whose
    singular vectors stay (SVD-GRPO, the control that separates optimiser from search space)."""
    group_size: int = Field(default=8, ge=2)
    """Completions sampled for each prompt (G); the advantage compares them."""
    mini_batch: int | None = Field(default=None, ge=1)
    """Completions per optimiser step; None takes all of a step's, one update."""
    iterations: int = Field(default=1, ge=1)
    """Passes over the completions of one step."""
    micro_batch: int = Field(default=16, ge=1)
    """Completions per forward and backward pass: memory against speed."""
    learning_rate: Positive = 3e-3
    optimizer: OptimizerName = "adamw"
    """8-bit ones are bitsandbytes'; lion, adamp and exadam pytorch-optimizer's. `apollo` has a step
    size for every channel of a factor, `apollo_mini` one for a factor, from gradients projected to
    rank 1."""
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    max_grad_norm: Positive = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_frac: Share = 0.0
    """Share of all optimiser steps over which the learning rate rises to its value."""
    kl_coefficient: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Weight of the KL divergence to the warm start."""
    clip: Positive = 0.2
    """Probability ratios are clipped to 1 - clip and 1 + clip."""
    clip_high: Positive | None = None
    """Upper clip where it differs."""
    loss: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "dapo"
    """How token losses are averaged, as TRL names it."""
    scale_advantages: Literal["group", "batch", "none"] = "group"
    """Divide advantages by the standard deviation of the group, of the batch, or not at all. With
    `none` the estimator is that of REINFORCE leave-one-out up to the factor G / (G - 1)."""
    temperature: Positive = 1.0
    """Of the training rollouts; validation and test decode as `rollout` says."""
    precision: Literal["auto", "fp32", "bf16", "int8", "nf4"] = "auto"
    """Of the frozen base that gradients go through; int8 and nf4 are bitsandbytes' (QLoRA). `auto`
    is bf16, or fp32 where the machine would emulate bf16. The adapter is float32. Rollouts come
    from the engines, at `engine.precision`."""
    gradient_checkpointing: bool = False
    """Compute activations twice to keep fewer."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if is_dict(given):
            return PRESETS.get(str(given.get("preset", "tuned")), {}) | given
        return given

    def check(self, job: AlignmentJobSpec) -> None:
        super().check(job)
        completions = self.completions(job)
        mini = self.mini_batch or completions
        micro = min(self.micro_batch, mini)
        for name, size, whole, of in (
            ("mini_batch", mini, completions, "batch_size x method.group_size"),
            ("micro_batch", micro, mini, "method.mini_batch"),
        ):
            if whole % size:
                raise SettingError(
                    f"method.{name}",
                    size,
                    f"does not divide the {whole} completions of {of}; set it to "
                    f"{math.gcd(size, whole)}",
                )

    def moved(self, search: SearchSpec) -> Moved:
        # `search` is not read: all singular values of both factors.
        return Moved("weights" if self.parameters == "lora" else "factors", 1.0)

    def moves_weights(self, search: SearchSpec) -> bool:
        # The trainer hands back whole adapters.
        return True

    def completions(self, job: AlignmentJobSpec) -> int:
        return job.batch_size * self.group_size

    def training(self, job: AlignmentJobSpec) -> Training:
        return Training(
            precision=_BASE_PRECISION[self.precision],
            optimizer=self.optimizer,
            completions=min(self.micro_batch, self.mini_batch or self.completions(job)),
            # The KL divergence needs a reference, which is one more adapter.
            adapters=2 if self.kl_coefficient else 1,
        )

    def settled(self, training: Activations) -> Self:
        if self.precision != "auto":
            return self
        return self.model_copy(update={"precision": "bf16" if training == "bfloat16" else "fp32"})

    def made_how(self, job: AlignmentJobSpec) -> str:
        return (
            "by policy gradients after a short warm start: GRPO, as TRL's GRPOTrainer does it "
            f"({self.optimizer}, {self.group_size} completions a prompt), trained "
            f"{_TRAINED[self.parameters]}."
        )

    def ran_on(self, precision: Precision) -> str:
        return f"Rollouts ran on {precision}, gradients went through {self.precision}"
