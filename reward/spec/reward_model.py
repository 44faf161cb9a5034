"""The specification of a reward that a trained reward model computes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reward.spec.model import RewardSpecModel


class RewardModelSpec(RewardSpecModel):
    """Score that a sequence-classification model of Hugging Face gives to the answer.

    The score is `transform(scale * output + offset)`.
    """

    type: Literal["reward_model"] = "reward_model"
    model: str = Field(min_length=1)
    """Local folder or hub name, such as `Skywork/Skywork-Reward-V2-Qwen3-0.6B`, with safetensors
    weights and a tokenizer. A `package:` name works too if the package holds a classifier."""
    revision: str | None = None
    """Hub revision; ignored for local folders."""
    head: Annotated[int, Field(ge=0)] | str | None = None
    """Output that is the score: its index, or its name in the model's `id2label`. Not needed for a
    model with one output. For a model that returns `score` and `rewards`, such as ArmoRM, null
    selects `score`, and an index one of `rewards`."""
    reads: Literal["conversation", "answer"] = "conversation"
    """Text that the model reads. `answer`: the answer alone, for classifiers of single texts."""
    precision: Literal["bf16", "fp32", "int8", "nf4"] = "bf16"
    """Precision of the weights; int8 and nf4 quantize while loading and leave the head as it is."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the model. `auto` takes a GPU that no engine holds, else shares the CPU with the
    engines."""
    batch_size: int = Field(default=8, ge=1)
    """Conversations scored together."""
    max_length: int | None = Field(default=None, ge=1)
    """Longest conversation, in tokens; by default the model's own limit. Longer ones lose the
    beginning of the prompt, never part of the answer; an answer too long by itself has a missing
    score."""
    transform: Literal["none", "sigmoid"] = "none"
    """Function applied last; `sigmoid` maps the score into [0, 1]."""
    scale: float = Field(default=1.0, allow_inf_nan=False)
    """Factor on the output; negative if a low output is good, as for a toxicity model."""
    offset: float = Field(default=0.0, allow_inf_nan=False)
    timeout_s: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    """Longest time for a batch; one that takes longer is missing, and the model is restarted."""
    trust_remote_code: bool = False
    """Run the Python code that comes with the model; the operator must allow it."""
