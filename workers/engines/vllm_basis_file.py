"""The safetensors file that carries bases from the engine's process to vLLM's workers."""

from __future__ import annotations

import json

import numpy as np

from essa.parametrize.engine_basis import EngineBasis, ModuleBasis

_NAMES = "modules"


def write_basis(basis: EngineBasis, path: str) -> None:
    """Write the modules of a basis, in order."""
    from safetensors.numpy import save_file

    tensors: dict[str, np.ndarray] = {}
    for position, module in enumerate(basis.modules):
        tensors[f"{position}.shrink"] = np.ascontiguousarray(module.shrink)
        tensors[f"{position}.expand"] = np.ascontiguousarray(module.expand)
        if module.core is not None:
            tensors[f"{position}.core"] = np.ascontiguousarray(module.core)
    names = json.dumps([module.name for module in basis.modules]).encode()
    tensors[_NAMES] = np.frombuffer(names, dtype=np.uint8).copy()
    save_file(tensors, path)


def read_basis(path: str) -> list[ModuleBasis]:
    """Read the modules that `write_basis` wrote."""
    from safetensors.numpy import load_file

    tensors = load_file(path)
    names = json.loads(tensors[_NAMES].tobytes())
    return [
        ModuleBasis(
            name,
            tensors[f"{position}.shrink"],
            tensors.get(f"{position}.core"),
            tensors[f"{position}.expand"],
        )
        for position, name in enumerate(names)
    ]
