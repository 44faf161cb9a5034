"""The specification of a reward that a trained model gives."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reward.spec.model import RewardSpecModel


class RewardModelSpec(RewardSpecModel):
    """What a sequence-classification model of Hugging Face says about the answer.

    The score is `transform(scale * output + offset)`.
    """

    type: Literal["reward_model"] = "reward_model"
    model: str = Field(min_length=1)
    """A local folder or a hub name, such as `Skywork/Skywork-Reward-V2-Qwen3-0.6B`; safetensors
    weights and a tokenizer. `package:` names work too where what they hold is a classifier."""
    revision: str | None = None
    """Hub revision; ignored for local folders."""
    head: Annotated[int, Field(ge=0)] | str | None = None
    """Which output is the score: its index, or its name in the model's `id2label`. A model with
    one output needs none. Of a model that answers `score` and `rewards`, as ArmoRM does, none
    takes `score`, an index one of `rewards`."""
    reads: Literal["conversation", "answer"] = "conversation"
    """`answer` shows the model the answer alone, for classifiers of single texts."""
    precision: Literal["bf16", "fp32", "int8", "nf4"] = "bf16"
    """Of the weights; int8 and nf4 are made while loading and leave the head as it is."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU that no engine holds, else the CPU, which engines then share."""
    batch_size: int = Field(default=8, ge=1)
    """Conversations scored together."""
    max_length: int | None = Field(default=None, ge=1)
    """Tokens of a conversation; by default what the model can read. Longer ones lose the
    beginning of the prompt, never part of the answer: an answer too long by itself is a missing
    score."""
    transform: Literal["none", "sigmoid"] = "none"
    """`sigmoid` maps the score into [0, 1]."""
    scale: float = Field(default=1.0, allow_inf_nan=False)
    """Negative where a low output is good, as for a toxicity model."""
    offset: float = Field(default=0.0, allow_inf_nan=False)
    timeout_s: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    """A batch that takes longer is missing, and the model is started again."""
    trust_remote_code: bool = False
    """Run the Python code that comes with the model; the operator must allow it."""
