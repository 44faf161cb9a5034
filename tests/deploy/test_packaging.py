"""What is in the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from alignment_api.processes.ownership import PACKAGES

ROOT = Path(__file__).resolve().parents[2]
METADATA_FILES = ("pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY_NOTICES.md")


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[PurePosixPath]:
    """Paths inside the wheel of a fresh copy, which has neither old builds nor old metadata."""
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path_factory.mktemp("source")
    for name in METADATA_FILES:
        shutil.copy(ROOT / name, source)
    # Everything that a careless package search could take along.
    for name in (*PACKAGES, "tests", "deploy", "docs", "benchmarks", "examples"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    offline = os.environ | {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    ended = subprocess.run(
        [*command, "-q", "-w", str(target), str(source)],
        capture_output=True,
        text=True,
        env=offline,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (wheel,) = target.glob("essa_service-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return [PurePosixPath(name) for name in archive.namelist()]


def test_wheel_holds_the_four_packages_and_nothing_else(wheel_names) -> None:
    top = {path.parts[0] for path in wheel_names}
    metadata = {name for name in top if name.endswith(".dist-info")}
    assert top - metadata == set(PACKAGES)
    assert len(metadata) == 1


def test_wheel_holds_every_module_of_the_packages(wheel_names) -> None:
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert modules <= {path.as_posix() for path in wheel_names}


def test_wheel_holds_the_status_page(wheel_names) -> None:
    static = ROOT / "alignment_api" / "static"
    pages = {path.as_posix() for path in static.rglob("*") if path.is_file()}
    assert pages
    assert {Path(page).relative_to(ROOT).as_posix() for page in pages} <= {
        path.as_posix() for path in wheel_names
    }


def test_wheel_carries_its_licence_and_notices(wheel_names) -> None:
    names = {path.name for path in wheel_names if path.parts[0].endswith(".dist-info")}
    assert {"LICENSE", "THIRD_PARTY_NOTICES.md", "entry_points.txt"} <= names
