"""Ranks and scaling from PEFT's adapter_config.json, and the options that are refused."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from essa.errors import AdapterError

# Options under which a module adds something other than scaling * B @ A to its plain base layer.
_UNSUPPORTED = (
    "use_dora",
    "lora_bias",
    "modules_to_save",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
)
# Initialisations that change the base weights, so the stored factors do not fit the original base.
_BASE_CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse any configuration that is not plain LoRA.

    Raises:
        AdapterError: an option is not supported; the message names it and its value.
    """
    kind = config.get("peft_type")
    if kind != "LORA":
        raise AdapterError(f"peft_type is {kind!r}; only LORA adapters have singular values")
    for option in _UNSUPPORTED:
        if config.get(option):
            raise AdapterError(
                f"adapter_config.json has {option}={config[option]!r}; only plain LoRA on linear "
                "layers can be searched: train the warm start without it"
            )
    if config.get("bias", "none") != "none":
        raise AdapterError(f"adapter_config.json has bias={config['bias']!r}; train with 'none'")
    initial = config.get("init_lora_weights")
    if isinstance(initial, str) and initial.lower().startswith(_BASE_CHANGING):
        raise AdapterError(
            f"adapter_config.json has init_lora_weights={initial!r}, which changes the base "
            "weights; convert the adapter to plain LoRA (save_pretrained with "
            "path_initial_model_for_weight_conversion)"
        )
    _check_numbers(config)


def _check_numbers(config: Mapping[str, Any]) -> None:
    ranks = [config.get("r"), *_patterns(config, "rank_pattern").values()]
    if not all(isinstance(rank, int) and rank > 0 for rank in ranks):
        raise AdapterError(f"adapter_config.json has rank {ranks}; expected positive integers")
    alphas = [config.get("lora_alpha"), *_patterns(config, "alpha_pattern").values()]
    for alpha in alphas:
        if not isinstance(alpha, int | float) or not math.isfinite(alpha) or alpha == 0:
            raise AdapterError(
                f"adapter_config.json has lora_alpha {alpha!r}; expected a non-zero number"
            )


def largest_rank(config: Mapping[str, Any]) -> int:
    """Return the largest rank that any module may have.

    Raises:
        KeyError: the configuration has no `r`.
    """
    return max([config["r"], *_patterns(config, "rank_pattern").values()])


def module_rank(config: Mapping[str, Any], name: str) -> int:
    """Return the rank of a module: that of rank_pattern if it matches, else r."""
    return int(_lookup(_patterns(config, "rank_pattern"), name, config["r"]))


def module_scaling(config: Mapping[str, Any], name: str) -> float:
    """Return the factor on B @ A: alpha / r, or alpha / sqrt(r) with rsLoRA (arXiv:2312.03732)."""
    alpha = float(_lookup(_patterns(config, "alpha_pattern"), name, config["lora_alpha"]))
    rank = module_rank(config, name)
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _patterns(config: Mapping[str, Any], option: str) -> Mapping[str, Any]:
    return config.get(option) or {}


def _lookup(patterns: Mapping[str, Any], name: str, default: Any) -> Any:
    # PEFT matches a pattern, a regular expression, with the end of the name; the first match wins.
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return value
    return default
