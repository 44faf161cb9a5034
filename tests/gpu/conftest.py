"""Where the tests of this folder run, and where their figures go.

They need a CUDA device. `ESSA_GPU_REHEARSAL=1` lets them run without one, on the CPU and on a Ray
that is told of GPUs that are not there: that shows that the tests work, not that a GPU does.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gpu.gpu_bench import RESULTS, Figures, devices, is_rehearsal

_OUTCOME = pytest.StashKey[str]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here, and skip it where there is no device."""
    here = Path(__file__).parent
    own = [item for item in items if here in item.path.parents]
    for item in own:
        item.add_marker(pytest.mark.gpu)
    if own and not devices() and not is_rehearsal():
        reason = "torch sees no CUDA device; ESSA_GPU_REHEARSAL=1 rehearses on the CPU"
        for item in own:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember how a test ended, for its file of figures."""
    result = yield
    report = result.get_result()  # type: ignore[attr-defined]
    if report.when == "call" or report.outcome != "passed":
        item.stash[_OUTCOME] = report.outcome


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Numbers that a test found; written when it ends, however it ends."""
    found: Figures = {}
    began_s = time.monotonic()
    yield found
    RESULTS.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "test": request.node.nodeid,
        "outcome": request.node.stash.get(_OUTCOME, "unknown"),
        "rehearsal": is_rehearsal(),
        "devices": devices(),
        "seconds": round(time.monotonic() - began_s, 1),
        **found,
    }
    path = RESULTS / f"{request.node.name.replace('[', '-').rstrip(']')}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    if out := os.environ.get("OUT"):
        shutil.copy(path, out)
