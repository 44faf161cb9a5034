"""Write deploy/requirements/*.txt from pyproject.toml, for every supported Python and platform.

Versions that a lock pins stay. To change one, edit its version in the lock, or delete its lines for
the newest that fits, and run this again. `--resolve` writes nothing and asks the package index
whether each target takes each pin by its hash.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lock_closure import Closure, LockError, Release
from lock_file import LOCKS, Pin, canonical, path_of, project, read_pins, render
from lock_target import Target, marker_of
from packaging.markers import Marker
from packaging.requirements import Requirement

PROFILES = ("cpu", "gpu")
TITLES = {
    "core": "What the service and rewards need, which run without an engine.",
    "cpu": "What jobs on CPUs need besides core.txt.",
    "gpu": "What jobs on NVIDIA GPUs need besides core.txt.",
    "baseline": "What jobs by gradients need besides core.txt and the profile.",
    "unit": "What tests of the core need besides core.txt.",
    "dev": "What other tests and checks need besides core.txt and unit.txt.",
}
ASKED_AT_ONCE = 2


def main() -> int:
    """Write or check all locks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--resolve", action="store_true", help="only ask the index for every pin")
    arguments = parser.parse_args()
    try:
        return resolve() if arguments.resolve else write()
    except LockError as error:
        print(error, file=sys.stderr)
        return 1


def targets(profile: str) -> list[Target]:
    """All targets of a profile."""
    settings = project()["tool"]["locks"]
    platforms = settings[profile]["platforms"]
    return [Target(python, platform) for python in settings["pythons"] for platform in platforms]


def expanded(*extras: str) -> list[Requirement]:
    """Requirements of the core and of extras; our own name stands for the extras it names."""
    about = project()["project"]
    found = [Requirement(line) for line in about["dependencies"]]
    for extra in extras:
        for requirement in map(Requirement, about["optional-dependencies"][extra]):
            own = canonical(requirement.name) == canonical(about["name"])
            found += expanded(*requirement.extras) if own else [requirement]
    return found


def write() -> int:
    """Resolve all profiles and write their locks."""
    taken: dict[str, dict[Target, dict[str, Release]]] = {name: {} for name in LOCKS}
    for profile in PROFILES:
        closures = _closures(profile)
        for target, closure in closures.items():
            names = {lock: closure.add(_roots(lock, target)) for lock in _locks_of(profile)}
            names[profile] -= names["core"]
            names["baseline"] -= names["core"] | names[profile]
            names["unit"] -= names["core"]
            names["dev"] -= names["core"] | names["unit"]
            for lock in names:
                of_target = taken[lock].setdefault(target, {})
                for name in names[lock]:
                    _agree(of_target.setdefault(name, closure.releases[name]), closure, name)
        print(f"{profile}: {len(closures)} targets", flush=True)
    for lock in LOCKS:
        every = targets(lock if lock in PROFILES else "cpu")
        pins = _pins(taken[lock], every)
        path_of(lock).write_text(render(TITLES[lock], pins), encoding="utf-8")
        print(f"{lock}.txt: {len(pins)} pins")
    return 0


def _locks_of(profile: str) -> tuple[str, ...]:
    return ("core", profile, "baseline", "unit", "dev")


def _agree(release: Release, closure: Closure, name: str) -> None:
    if release.version != closure.releases[name].version:
        both = f"{release.version} and {closure.releases[name].version}"
        raise LockError(f"{name} is {both} in the two profiles; a lock of both has one version")


def _roots(lock: str, target: Target) -> list[Requirement]:
    settings = project()["tool"]["locks"]
    extras = settings[lock]["extras"]
    also = [Requirement(line) for line in settings[lock].get("also", ())]
    return [
        requirement
        for requirement in [*expanded(*extras), *also]
        if requirement.marker is None or requirement.marker.evaluate(target.environment())
    ]


def _closures(profile: str) -> dict[Target, Closure]:
    """A filled closure for each target of a profile; the first target chooses versions."""
    pins: dict[str, str] = {}
    (other,) = (name for name in PROFILES if name != profile)
    for lock in (other, *_locks_of(profile)):
        text = path_of(lock).read_text(encoding="utf-8") if path_of(lock).exists() else ""
        pins |= {canonical(pin.name): pin.version.split("+")[0] for pin in read_pins(text)}
    settings = project()["tool"]["locks"]
    closures = {
        target: Closure(
            target,
            pins,
            (*settings["left-out"], *settings[profile]["left-out"]),
            _known(profile) if target.is_linux else {},
            tuple(settings["from-source"]),
        )
        for target in targets(profile)
    }

    def fill(closure: Closure) -> None:
        for lock in _locks_of(profile):
            closure.add(_roots(lock, closure.target))

    first, *others = closures.values()
    fill(first)
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        list(pool.map(fill, others))
    return closures


def _known(profile: str) -> dict[str, Release]:
    """Releases for Linux that lie on another index, as pyproject.toml describes them."""
    return {
        name: Release(name, about["version"], tuple(about["requires"]), tuple(about["hashes"]))
        for name, about in project()["tool"]["locks"][profile].get("elsewhere", {}).items()
    }


def _pins(taken: dict[Target, dict[str, Release]], every: Sequence[Target]) -> list[Pin]:
    """One pin a version, with the hashes of all targets that take it."""
    users: dict[tuple[str, str], list[Target]] = {}
    hashes: dict[tuple[str, str], set[str]] = {}
    for target, releases in taken.items():
        for name, release in releases.items():
            key = (name, release.version)
            users.setdefault(key, []).append(target)
            hashes.setdefault(key, set()).update(release.hashes)
    return [
        Pin(
            name,
            version,
            marker_of(users[name, version], every),
            tuple(sorted(hashes[name, version])),
        )
        for name, version in sorted(users)
    ]


def resolve() -> int:
    """Ask pip for every pin on every target, by hash; prints a line a lock and target."""
    jobs = [
        (lock, target) for lock in LOCKS for target in targets(lock if lock in PROFILES else "cpu")
    ]
    faults = 0
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        for (lock, target), answer in zip(
            jobs, pool.map(lambda job: _resolve(*job), jobs), strict=True
        ):
            count, fault = answer
            where = f"{lock}.txt on {target.python} {target.platform}"
            print(f"{where}: {fault or f'{count} pins resolve'}", flush=True)
            faults += bool(fault)
    return 1 if faults else 0


def _resolve(lock: str, target: Target) -> tuple[int, str]:
    settings = project()["tool"]["locks"]
    elsewhere = settings.get(lock, {}).get("elsewhere", {}) if target.is_linux else {}
    pins = [
        pin._replace(marker="")
        for pin in read_pins(path_of(lock).read_text(encoding="utf-8"))
        if (not pin.marker or Marker(pin.marker).evaluate(target.environment()))
        and canonical(pin.name) not in elsewhere
    ]
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "asked.txt")
        asked.write_text("".join(pin.text() for pin in pins), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--no-deps"]
        command += ["--ignore-installed", "--target", folder, "--require-hashes", "-r", str(asked)]
        command += ["--only-binary=:all:", f"--no-binary={','.join(settings['from-source'])}"]
        ended = subprocess.run(
            [*command, *target.pip_options()], capture_output=True, text=True, check=False
        )
    errors = [line for line in ended.stderr.splitlines() if "ERROR" in line]
    return len(pins), " ".join(errors) if ended.returncode else ""


if __name__ == "__main__":
    sys.exit(main())
