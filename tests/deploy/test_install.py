"""tools/make_venv.sh: which Python it takes, and what it says where something cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "make_venv.sh"
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


def make_venv(venv: Path, *locks: str, python: str) -> subprocess.CompletedProcess[str]:
    """Run the script without a package index."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    return subprocess.run(
        [SCRIPT, venv, *locks],
        env=environment | OFFLINE | {"PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )


def test_where_no_python_gets_pytorch_it_says_so_and_leaves_no_environment(tmp_path: Path) -> None:
    ended = make_venv(tmp_path / "venv", "core", "cpu", python=sys.executable)
    assert ended.returncode == 3
    assert "no torch 2.13.0+cpu for Python" in ended.stdout
    assert "trying an older Python" in ended.stdout
    assert "is the network or the package index out of reach?" in ended.stderr
    assert not (tmp_path / "venv").exists()


def test_a_name_on_the_path_that_runs_no_python_is_passed_over(tmp_path: Path) -> None:
    # As pyenv's stand-ins do for versions that are not chosen.
    stand_in = tmp_path / "python3.13"
    stand_in.write_text("#!/bin/sh\necho 'python3.13: command not found' >&2\nexit 127\n")
    stand_in.chmod(0o755)
    ended = make_venv(tmp_path / "venv", "core", "cpu", python=f"{stand_in} {sys.executable}")
    assert "command not found" not in ended.stderr
    assert f"venv with Python {sys.version.split()[0]}" in ended.stdout


def test_without_a_supported_python_it_names_the_package_to_install(tmp_path: Path) -> None:
    ended = make_venv(tmp_path / "venv", "core", python="/bin/false")
    assert ended.returncode == 1
    assert "3.11, 3.12 or 3.13" in ended.stderr
    assert "apt-get install python3-venv" in ended.stderr
    assert not (tmp_path / "venv").exists()


def test_a_package_that_cannot_be_had_is_named_with_the_reason(tmp_path: Path) -> None:
    ended = make_venv(tmp_path / "venv", "core", python=sys.executable)
    assert ended.returncode == 1
    assert "pip could not install setuptools" in ended.stderr
    assert "No matching distribution found" in ended.stderr
