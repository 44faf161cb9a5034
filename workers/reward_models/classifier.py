"""A sequence-classification model that scores conversations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from essa.number_format import Activations
from essa.spec.engine import Precision
from reward.errors import RewardConfigError, RewardError
from reward.spec.reward_model import RewardModelSpec
from workers.engines.transformers_loading import precision_arguments
from workers.machine.native_format import native_activations
from workers.reward_models.conversation_tokens import ConversationTokens, Turns
from workers.reward_models.head import find_head

_PRECISIONS = {
    "bf16": Precision.BF16,
    "fp32": Precision.FP32,
    "int8": Precision.INT8,
    "nf4": Precision.INT4,
}


class Classifier:
    """Scores batches of conversations in one forward pass each. Used by one thread at a time.

    A score depends on its neighbours through rounding only.

    Args:
        folder: model and tokenizer in Hugging Face format.
        device: `cpu` or `cuda`.
        activations: number format of the values between layers; None takes the fast one here.
    Raises:
        RewardConfigError: the model is no classifier with a trained head, does not load, or does
            not have the requested output.
    """

    def __init__(
        self,
        folder: Path,
        spec: RewardModelSpec,
        device: str,
        activations: Activations | None = None,
    ) -> None:
        self._device = torch.device(device)
        try:
            self._model = _load_model(folder, spec, self._device, activations)
            tokenizer = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=spec.trust_remote_code
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            raise RewardConfigError(
                f"transformers could not load {spec.model} as a reward model in {spec.precision}: "
                f"{error}",
                field="model",
            ) from error
        self._config = self._model.config.get_text_config()
        self._config.use_cache = False
        pad = getattr(self._config, "pad_token_id", None)
        self._has_own_padding = pad is not None and pad >= 0
        limits = (
            spec.max_length,
            getattr(self._config, "max_position_embeddings", None),
            tokenizer.model_max_length,
        )
        self._tokens = ConversationTokens(tokenizer, min(limit for limit in limits if limit))
        probe = tokenizer("yes")["input_ids"] or [0]
        self._head = find_head(self._forward([probe]), self._model.config.id2label, spec.head)

    def score(self, conversations: Sequence[Turns]) -> list[float | str]:
        """Score one batch. A conversation that cannot be read has a message in its place."""
        rows = [self._readable(turns) for turns in conversations]
        scores = iter(self._scores([row for row in rows if not isinstance(row, str)]))
        return [row if isinstance(row, str) else next(scores) for row in rows]

    def _scores(self, rows: Sequence[Sequence[int]]) -> list[float] | list[str]:
        if not rows:
            return []
        try:
            return self._head.of(self._forward(rows))
        # The boundary of one batch: memory that was too little for it may suffice for the next.
        except Exception as error:
            return [f"the reward model failed: {type(error).__name__}: {error}"] * len(rows)

    def _readable(self, turns: Turns) -> list[int] | str:
        try:
            return self._tokens.encode(turns)
        except RewardError as error:
            return error.message
        # A chat template may raise anything, and does so for this conversation only.
        except Exception as error:
            return f"the reward model's chat template refuses the conversation: {error}"

    @torch.inference_mode()
    def _forward(self, rows: Sequence[Sequence[int]]) -> Any:
        pad = self._pad_id(rows)
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), pad)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        return self._model(input_ids=ids.to(self._device), attention_mask=mask.to(self._device))

    def _pad_id(self, rows: Sequence[Sequence[int]]) -> int:
        """Return the token that pads rows.

        Decoders read the score at the last token other than the `pad_token_id` of the model's
        configuration. If the configuration has none, each batch takes a token in which none of its
        texts ends. The tokenizer's padding, often the end token, would move the score to the token
        before it.
        """
        if not self._has_own_padding:
            ends = {row[-1] for row in rows}
            self._config.pad_token_id = next(id for id in range(len(ends) + 1) if id not in ends)
        return self._config.pad_token_id


def _load_model(
    folder: Path, spec: RewardModelSpec, device: torch.device, activations: Activations | None
) -> Any:
    code = {"trust_remote_code": spec.trust_remote_code}
    config = AutoConfig.from_pretrained(folder, **code)
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(
            "its weights are quantised already; `precision` is made while loading from bf16 or fp32"
        )
    precision = _PRECISIONS[spec.precision]
    activations = activations or native_activations(precision, device.type)
    arguments = precision_arguments(precision, device, activations)
    if "quantization_config" in arguments:
        arguments["quantization_config"].llm_int8_skip_modules = _head_modules(config, code)
    model, loaded = AutoModelForSequenceClassification.from_pretrained(
        folder, config=config, output_loading_info=True, **arguments, **code
    )
    if loaded["missing_keys"]:
        # transformers would initialise them at random.
        raise ValueError(
            f"it holds no weights for {', '.join(sorted(loaded['missing_keys'])[:4])}: it was not "
            "trained as a classifier, or needs its own code (`trust_remote_code`)"
        )
    if precision is Precision.BF16 and activations == "float32":
        model = model.float()
    return model.eval().requires_grad_(False)


def _head_modules(config: Any, code: dict[str, bool]) -> list[str]:
    """Return the names of the modules outside the trunk: tiny, and they compute the score."""
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config, **code)
    return [name for name, _ in model.named_children() if name != model.base_model_prefix]
