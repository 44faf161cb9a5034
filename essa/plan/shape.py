"""Sizes of a decoder that determine its cost, read from config.json without any weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from essa.errors import SpecError
from essa.spec.engine import Precision

BITS = {Precision.FP32: 32.0, Precision.BF16: 16.0, Precision.INT8: 8.1, Precision.INT4: 4.3}
"""Bits per weight of a linear layer, including scales; other weights have at least 16."""


class LinearLayer(NamedTuple):
    """Width of a linear layer."""

    inputs: int
    outputs: int

    @property
    def parameters(self) -> int:
        """Number of weights, without biases."""
        return self.inputs * self.outputs


class ModelShape(NamedTuple):
    """Shape of a decoder with grouped-query attention and gated feed-forward, like Llama, Qwen2."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_size: int
    vocabulary: int
    is_tied: bool
    """True if the head shares the embedding table."""

    @property
    def linear(self) -> dict[str, LinearLayer]:
        """Linear layers of one decoder layer."""
        queries, keys = self.heads * self.head_size, self.key_value_heads * self.head_size
        return {
            "q_proj": LinearLayer(self.hidden, queries),
            "k_proj": LinearLayer(self.hidden, keys),
            "v_proj": LinearLayer(self.hidden, keys),
            "o_proj": LinearLayer(queries, self.hidden),
            "gate_proj": LinearLayer(self.hidden, self.intermediate),
            "up_proj": LinearLayer(self.hidden, self.intermediate),
            "down_proj": LinearLayer(self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Number of weights in the linear layers of all decoder layers."""
        return self.layers * sum(layer.parameters for layer in self.linear.values())

    @property
    def parameters(self) -> int:
        """Number of weights without biases: linear layers, embeddings, an untied head and norms."""
        return self.linear_parameters + self._other_parameters

    @property
    def multiplied_parameters(self) -> int:
        """Number of weights that every token is multiplied with: linear layers and the head."""
        return self.linear_parameters + self.vocabulary * self.hidden

    def weight_bytes(self, precision: Precision) -> float:
        """Return the base's bytes: linear layers in `precision`, the rest in at least 16 bits."""
        bits = BITS[precision]
        return (self.linear_parameters * bits + self._other_parameters * max(bits, 16.0)) / 8

    def lora_parameters(self, rank: int, modules: Sequence[str]) -> int:
        """Return the number of weights of an adapter on these linear layers of all decoder layers.

        Raises:
            SpecError: a module is not a linear layer of such a decoder.
        """
        linear = self.linear
        unknown = sorted(set(modules) - linear.keys())
        if unknown:
            raise SpecError(
                f"the adapter is on {', '.join(unknown)}, whose size cannot be told from "
                f"config.json; memory is known for {', '.join(linear)}",
                field="warm_start.lora.target_modules",
            )
        widths = sum(linear[name].inputs + linear[name].outputs for name in set(modules))
        return self.layers * rank * widths

    def cache_bytes(self, tokens: float) -> float:
        """Return the bytes of the tokens' keys and values, in 16 bits."""
        return 2 * 2.0 * self.layers * self.key_value_heads * self.head_size * tokens

    @property
    def _other_parameters(self) -> int:
        tables = 1 if self.is_tied else 2
        return tables * self.vocabulary * self.hidden + (2 * self.layers + 1) * self.hidden


NAMED = {
    "smollm2-135m": ModelShape(30, 576, 1536, 9, 3, 64, 49152, True),
    "qwen2.5-7b": ModelShape(28, 3584, 18944, 28, 4, 128, 152064, False),
    "qwen2.5-math-7b": ModelShape(28, 3584, 18944, 28, 4, 128, 152064, False),
    "qwen2.5-32b": ModelShape(64, 5120, 27648, 40, 8, 128, 152064, False),
    "qwen2.5-72b": ModelShape(80, 8192, 29568, 64, 8, 128, 152064, False),
    "llama-3.1-8b": ModelShape(32, 4096, 14336, 32, 8, 128, 128256, False),
}
"""Shapes of the paper's and the demo's models, from their config.json."""


def named_shape(name: str) -> ModelShape | None:
    """Return a model's shape by name, with or without owner and `-Instruct`; None if unknown."""
    short = name.rstrip("/").rpartition("/")[2].lower()
    return NAMED.get(short.removesuffix("-instruct"))


def read_shape(config: Mapping[str, Any]) -> ModelShape:
    """Read the shape from a parsed config.json, or from its `text_config` if present.

    Raises:
        SpecError: a size is missing.
    """
    inner = config.get("text_config") or config

    def size(name: str, default: int | None = None) -> int:
        value = inner.get(name)
        # Some models write null where the default applies.
        value = default if value is None else value
        if not isinstance(value, int) or value < 1:
            raise SpecError(
                f"the model's config.json has {name}={value!r}; its memory cannot be told",
                field="model.path",
            )
        return value

    hidden, heads = size("hidden_size"), size("num_attention_heads")
    return ModelShape(
        layers=size("num_hidden_layers"),
        hidden=hidden,
        intermediate=size("intermediate_size"),
        heads=heads,
        key_value_heads=size("num_key_value_heads", heads),
        head_size=size("head_dim", max(1, hidden // heads)),
        vocabulary=size("vocab_size"),
        is_tied=bool(config.get("tie_word_embeddings", inner.get("tie_word_embeddings", False))),
    )
