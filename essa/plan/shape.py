"""The sizes of a decoder that decide what it costs. Read from config.json; needs no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from essa.errors import SpecError

BITS = {"fp32": 32.0, "bf16": 16.0, "int8": 8.0, "nf4": 4.5, "int4": 4.25}
"""Of a weight in a linear layer, the scales of its group included."""


@dataclass(frozen=True)
class ModelShape:
    """A decoder of the Llama kind: grouped-query attention, gated feed-forward."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    is_tied: bool

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelShape:
        """Read config.json; `text_config` where the model has one.

        Raises:
            SpecError: a size is missing.
        """
        inner = config.get("text_config") or config

        def size(name: str, default: int | None = None) -> int:
            value = inner.get(name, default)
            if not isinstance(value, int) or value < 1:
                raise SpecError(
                    f"the model's config.json has {name}={value!r}; its cost cannot be told",
                    field="model.path",
                )
            return value

        heads = size("num_attention_heads")
        hidden = size("hidden_size")
        return cls(
            layers=size("num_hidden_layers"),
            hidden=hidden,
            intermediate=size("intermediate_size"),
            heads=heads,
            kv_heads=size("num_key_value_heads", heads),
            head_size=inner.get("head_dim") or hidden // heads,
            vocabulary=size("vocab_size"),
            is_tied=bool(
                config.get("tie_word_embeddings", inner.get("tie_word_embeddings", False))
            ),
        )

    @property
    def linear_sizes(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of the linear layers of one decoder layer."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """In the linear layers of all decoder layers."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear_sizes.values())

    @property
    def other_parameters(self) -> int:
        """Embeddings, the head where it is not tied, and norms."""
        tables = 1 if self.is_tied else 2
        return tables * self.vocabulary * self.hidden + (2 * self.layers + 1) * self.hidden

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.linear_parameters + self.other_parameters

    def weight_bytes(self, precision: str) -> float:
        """Of a base: linear layers in `precision`, the rest in 16 bits at least."""
        bits = BITS[precision]
        return (self.linear_parameters * bits + self.other_parameters * max(bits, 16)) / 8

    def kv_bytes(self, tokens: float, bytes_per_value: int = 2) -> float:
        """Of the keys and values of so many tokens."""
        return 2 * self.layers * self.kv_heads * self.head_size * bytes_per_value * tokens

    def lora_parameters(self, rank: int, modules: Sequence[str]) -> int:
        """Of an adapter on these linear layers of every decoder layer.

        Raises:
            SpecError: no such layer.
        """
        unknown = sorted(set(modules) - set(self.linear_sizes))
        if unknown:
            raise SpecError(
                f"lora.target_modules has {', '.join(unknown)}; this estimate knows "
                f"{', '.join(self.linear_sizes)}",
                field="warm_start.lora.target_modules",
            )
        return self.layers * sum(rank * sum(self.linear_sizes[name]) for name in set(modules))
