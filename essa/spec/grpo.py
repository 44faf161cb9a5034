"""The baseline: policy gradients on the warm-start adapter, by TRL's GRPOTrainer.

GRPO: Shao et al. (2024), DeepSeekMath, arXiv:2402.03300. The paper of ESSA (arXiv:2507.04453)
compares with it; its appendix names the learning rate, the batch and the mini-batch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from essa.spec.base import SpecModel
from essa.types import is_dict

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


class GrpoSpec(SpecModel):
    """Train the warm-start adapter by group-relative policy gradients.

    `batch_size` counts prompts per step, `budget.generations` steps (rounds of rollouts). Prompts,
    reward, validation, test and the rule for the result are those of an evolution job; `search` is
    not read. The reward must score every completion for itself.
    """

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
