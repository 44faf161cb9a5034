"""The baseline: policy gradients on the warm-start adapter, by TRL's GRPOTrainer.

GRPO: Shao et al. (2024), DeepSeekMath, arXiv:2402.03300. The ESSA paper (arXiv:2507.04453) compares
with GRPO and gives its learning rate, batch and mini-batch in the appendix.
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
"""Defaults of each preset for the settings that a job leaves out."""


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

    `batch_size` is the number of prompts per step, `budget.generations` the number of steps (rounds
    of rollouts). Prompts, reward, validation, test and the selection of the result are those of an
    evolution job; `search` is ignored. The reward must score every completion separately.
    """

    trains = True
    needs_score_each = True
    tags = ("grpo", "trl")

    type: Literal["grpo"] = "grpo"
    preset: Literal["tuned", "paper"] = "tuned"
    """Set of defaults for settings that are left out. `tuned`: learning rate 3e-3, the best of a
    sweep on SmolLM2-135M (docs/BASELINE.md); larger models need a lower one. `paper`: learning rate
    1e-5 and mini-batch 64, as in the ESSA paper, for a batch of 512 completions."""
    parameters: Literal["lora", "singular_values"] = "lora"
    """Trained parameters. `lora`: all weights of the adapter. `singular_values`: only the singular
    values of its factors, with fixed singular vectors (SVD-GRPO, the control that separates the
    optimiser from the search space)."""
    group_size: int = Field(default=8, ge=2)
    """Number of completions sampled for each prompt (G), which the advantage compares."""
    mini_batch: int | None = Field(default=None, ge=1)
    """Number of completions per optimiser update; None makes one update per step, over all."""
    iterations: int = Field(default=1, ge=1)
    """Number of passes over the completions of one step."""
    micro_batch: int = Field(default=16, ge=1)
    """Number of completions per forward and backward pass; trades memory for speed."""
    learning_rate: Positive = 3e-3
    optimizer: OptimizerName = "adamw"
    """Name of the optimiser. 8-bit ones come from bitsandbytes; lion, adamp and exadam from
    pytorch-optimizer. `apollo` has one step size per channel of a factor, `apollo_mini` one per
    factor, from gradients projected to rank 1."""
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    max_grad_norm: Positive = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_frac: Share = 0.0
    """Share of all optimiser updates over which the learning rate rises to its value."""
    kl_coefficient: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Weight of the KL divergence to the warm start."""
    clip: Positive = 0.2
    """Clip range of probability ratios: from 1 - clip to 1 + clip."""
    clip_high: Positive | None = None
    """Upper clip range; None takes `clip`."""
    loss: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "dapo"
    """Averaging of token losses, by TRL's name."""
    scale_advantages: Literal["group", "batch", "none"] = "group"
    """Divisor of advantages: the standard deviation of the group, that of the batch, or none. With
    `none` the estimator is REINFORCE leave-one-out up to the factor G / (G - 1)."""
    temperature: Positive = 1.0
    """Sampling temperature of training rollouts; validation and test decode as set in `rollout`."""
    precision: Literal["auto", "fp32", "bf16", "int8", "nf4"] = "auto"
    """Precision of the frozen base in training; int8 and nf4 come from bitsandbytes (QLoRA). `auto`
    is bf16, or fp32 on a machine that would emulate bf16. The adapter is float32. Engines make the
    rollouts, at `engine.precision`."""
    gradient_checkpointing: bool = False
    """Whether to recompute activations in the backward pass instead of storing them."""

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
        # `search` is ignored: all singular values of both factors are trained.
        return Moved("weights" if self.parameters == "lora" else "factors", 1.0)

    def moves_weights(self, search: SearchSpec) -> bool:
        # The trainer returns whole adapters.
        return True

    def completions(self, job: AlignmentJobSpec) -> int:
        return job.batch_size * self.group_size

    def training(self, job: AlignmentJobSpec) -> Training:
        return Training(
            precision=_BASE_PRECISION[self.precision],
            optimizer=self.optimizer,
            completions=min(self.micro_batch, self.mini_batch or self.completions(job)),
            # The KL divergence needs a reference: one more adapter.
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
