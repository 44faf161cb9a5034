"""Torch's out-of-memory errors, turned into an error that names the setting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from essa.errors import TrainerError

_WORDS = ("out of memory", "can't allocate memory", "not enough memory")
"""Messages of CUDA's allocator and the CPU's on Linux and Windows; only CUDA's has a class."""


@contextmanager
def named_memory(what: str, fix: str, field: str) -> Iterator[None]:
    """Raise an error of ours if memory runs out in the block.

    Args:
        what: the work that needed the memory, such as `the warm start`.
        fix: the change to make, with the present value.
        field: the setting that changes it.
    Raises:
        TrainerError: memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainerError(
            f"{what} ran out of memory ({_first_line(error)}); {fix}", field=field
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a device or the host had no memory left for a tensor."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _WORDS)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
