"""Decode tensors from safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMPY_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def decode_floats(data: bytes) -> dict[str, NDArray[np.float32]]:
    """Decode the content of a safetensors file of floats, including bfloat16, to float32.

    Raises:
        ValueError: the data is not a safetensors file, or a tensor is not floating point.
    """
    # deserialize, because safetensors.numpy cannot read bfloat16 and safetensors.torch needs torch.
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(data)
    except SafetensorError as error:
        raise ValueError(f"not a safetensors file: {error}") from error
    return {name: _to_float32(name, entry) for name, entry in entries}


def _to_float32(name: str, entry: Mapping[str, Any]) -> NDArray[np.float32]:
    if entry["dtype"] == "BF16":
        # bfloat16 is the upper half of a float32.
        flat = (np.frombuffer(entry["data"], np.uint16).astype(np.uint32) << 16).view(np.float32)
    elif entry["dtype"] in _NUMPY_DTYPES:
        flat = np.frombuffer(entry["data"], _NUMPY_DTYPES[entry["dtype"]]).astype(np.float32)
    else:
        raise ValueError(f"tensor {name} is {entry['dtype']}; expected F32, F16, BF16 or F64")
    return flat.reshape(entry["shape"])
