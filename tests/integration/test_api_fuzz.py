"""A short run of `benchmarks/api_fuzz.py`: no server error, no answer that is not declared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "api_fuzz.py"


def test_generated_requests_get_only_declared_answers() -> None:
    command = [sys.executable, str(BENCHMARK), "--cases", "150", "--seed", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-3000:]
