"""Memory of an engine, reckoned from the base's config.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from essa.errors import SpecError
from essa.spec.engine import Precision

_BITS = {Precision.FP32: 32.0, Precision.BF16: 16.0, Precision.INT8: 8.1, Precision.INT4: 4.3}
"""Of a weight in a linear layer, its scale included; the rest of a model has 16 at least."""


class LinearLayer(NamedTuple):
    """Width of a linear layer."""

    inputs: int
    outputs: int

    @property
    def parameters(self) -> int:
        """Weights; biases do not count here."""
        return self.inputs * self.outputs


class ModelSize(NamedTuple):
    """A decoder with grouped-query attention and a gated feed-forward."""

    layers: int
    linear: dict[str, LinearLayer]
    """Linear layers of one decoder layer."""
    key_value_width: int
    other_parameters: int
    """Embeddings and head."""

    def weight_bytes(self, precision: Precision) -> float:
        """Of the base."""
        bits = _BITS[precision]
        inside = self.layers * sum(layer.parameters for layer in self.linear.values())
        return (inside * bits + self.other_parameters * max(bits, 16.0)) / 8

    def adapter_parameters(self, rank: int, modules: Sequence[str]) -> int:
        """Weights of an adapter's factors.

        Raises:
            SpecError: a module is no linear layer of such a decoder.
        """
        unknown = sorted(set(modules) - self.linear.keys())
        if unknown:
            raise SpecError(
                f"the adapter is on {', '.join(unknown)}, whose size cannot be told from "
                "config.json; memory is not known",
                field="warm_start.lora.target_modules",
            )
        widths = sum(self.linear[name].inputs + self.linear[name].outputs for name in set(modules))
        return self.layers * rank * widths

    def cache_bytes(self, tokens: int) -> float:
        """Of the keys and values of so many tokens, in 16 bits."""
        return 2 * 2.0 * self.layers * self.key_value_width * tokens


def model_size(config: Mapping[str, Any]) -> ModelSize:
    """Read config.json; `text_config` where the model has one.

    Raises:
        SpecError: a size is missing.
    """
    inner = config.get("text_config") or config

    def size(name: str, default: int | None = None) -> int:
        value = inner.get(name, default)
        if not isinstance(value, int) or value < 1:
            raise SpecError(
                f"the model's config.json has {name}={value!r}; its memory cannot be told",
                field="model.path",
            )
        return value

    hidden, heads = size("hidden_size"), size("num_attention_heads")
    head = size("head_dim", max(1, hidden // heads))
    queries, keys = heads * head, size("num_key_value_heads", heads) * head
    wide = size("intermediate_size")
    tables = 1 if config.get("tie_word_embeddings", inner.get("tie_word_embeddings")) else 2
    return ModelSize(
        layers=size("num_hidden_layers"),
        linear={
            "q_proj": LinearLayer(hidden, queries),
            "k_proj": LinearLayer(hidden, keys),
            "v_proj": LinearLayer(hidden, keys),
            "o_proj": LinearLayer(queries, hidden),
            "gate_proj": LinearLayer(hidden, wide),
            "up_proj": LinearLayer(hidden, wide),
            "down_proj": LinearLayer(wide, hidden),
        },
        key_value_width=keys,
        other_parameters=tables * size("vocab_size") * hidden,
    )
