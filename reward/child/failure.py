"""One line about an exception in a child."""

from __future__ import annotations

import traceback

MAX_CHARS = 500


def describe(error: BaseException, filename: str | None) -> str:
    """Return the last line of the traceback, and where in the user's file it happened.

    Args:
        filename: of the code that is not ours; None where all of it is.
    """
    try:
        text = traceback.format_exception_only(error)[-1].strip().splitlines()[-1]
    # The text of an exception comes from the same code that raised it.
    except Exception:
        text = type(error).__name__
    lines = [
        number
        for frame, number in traceback.walk_tb(error.__traceback__)
        if filename is not None and frame.f_code.co_filename == filename
    ]
    where = f" (line {lines[-1]} of {filename})" if lines else ""
    return text[:MAX_CHARS] + where
