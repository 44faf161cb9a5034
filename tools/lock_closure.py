"""Everything that some requirements need on one target, each in one version.

pip answers what a release asks for and which file a target takes; which of that is needed is walked
here, because pip evaluates markers for the Python it runs in, whatever `--python-version` says. A
version that is not pinned yet is the newest one that all who ask for it at that time take. There is
no backtracking: a conflict is an error that names both sides.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from lock_file import ROOT, canonical
from lock_target import Target
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

_ANSWERS = ROOT / "build" / "locks"
"""What pip answered about pinned releases, which do not change: a file a target, and one for files
that every target takes."""


class LockError(Exception):
    """No lock can be written; says what stands against it."""


class Release(NamedTuple):
    """A release as one target takes it.

    Attributes:
        name: as its authors spell it.
        requires: its requirements, extras among them.
        is_for_all: whether every target takes the same file.
    """

    name: str
    version: str
    requires: tuple[str, ...]
    hashes: tuple[str, ...]
    is_for_all: bool = False


class Answers:
    """Releases by pip's requirement line, kept in a file."""

    def __init__(self, name: str) -> None:
        self._path = _ANSWERS / f"{name}.json"
        self.releases = json.loads(self._path.read_text()) if self._path.exists() else {}

    def save(self) -> None:
        """Write them down."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(f".{threading.get_ident()}")
        new.write_text(json.dumps(self.releases))
        new.replace(self._path)


@dataclass
class Closure:
    """Releases by canonical name, for one target.

    Attributes:
        pins: versions by canonical name; what is chosen here is added.
        left_out: patterns of canonical names that are not followed.
        known: releases that pip is not asked about.
        from_source: names that have no wheel, whose source is taken.
    """

    target: Target
    pins: dict[str, str]
    left_out: tuple[str, ...]
    known: Mapping[str, Release]
    from_source: tuple[str, ...]
    releases: dict[str, Release] = field(default_factory=dict)
    _asked: dict[str, list[tuple[Requirement, str]]] = field(default_factory=dict)

    def add(self, requirements: Iterable[Requirement]) -> set[str]:
        """Follow requirements to the end; returns the canonical names of all that they need."""
        pending = [(requirement, "pyproject.toml") for requirement in requirements]
        needed: dict[str, set[str]] = {}
        while pending:
            names = self._note(pending)
            self._look_up(names)
            pending = [pair for name in names for pair in self._needs(name, needed)]
        self._check(needed)
        return set(needed)

    def _note(self, pairs: list[tuple[Requirement, str]]) -> dict[str, set[str]]:
        """Remember who asks for what; returns names with the extras that are asked for."""
        names: dict[str, set[str]] = {}
        for requirement, by in pairs:
            name = canonical(requirement.name)
            self._asked.setdefault(name, []).append((requirement, by))
            names.setdefault(name, set()).update({"", *requirement.extras})
        self._wanted = names
        return names

    def _needs(self, name: str, needed: dict[str, set[str]]) -> Iterable[tuple[Requirement, str]]:
        seen = needed.setdefault(name, set())
        new = self._wanted[name] - seen
        seen |= new
        for line in self.releases[name].requires:
            requirement = Requirement(line)
            if any(fnmatch(canonical(requirement.name), one) for one in self.left_out):
                continue
            marker = requirement.marker
            if any(marker is None or marker.evaluate(self.target.environment(e)) for e in new):
                yield requirement, name

    def _look_up(self, names: Iterable[str]) -> None:
        own, common = Answers(f"{self.target.python}-{self.target.platform}"), Answers("any")
        lines = []
        for name in sorted(set(names) - self.releases.keys()):
            line = self._line(name)
            if name in self.known:
                self.releases[name] = self.known[name]
            elif line in own.releases or line in common.releases:
                self.releases[name] = Release(*(own.releases | common.releases)[line])
            else:
                lines.append(line)
        for release in self._ask_pip(lines) if lines else ():
            name = canonical(release.name)
            self.releases[name] = release
            self.pins[name] = release.version
            (common if release.is_for_all else own).releases[self._line(name)] = release
        if lines:
            own.save()
            common.save()

    def _line(self, name: str) -> str:
        if name in self.pins:
            # Three: `==2.13.0` would also take a build such as 2.13.0+cpu.
            return f"{name}==={self.pins[name]}"
        wanted = SpecifierSet()
        for requirement, _ in self._asked[name]:
            wanted &= requirement.specifier
        return f"{name}{wanted}"

    def _ask_pip(self, lines: list[str]) -> Iterable[Release]:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.json")
            command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--no-deps"]
            command += ["--ignore-installed", "--target", folder, "--report", str(report)]
            command += ["--only-binary=:all:", f"--no-binary={','.join(self.from_source)}"]
            ended = subprocess.run(
                [*command, *self.target.pip_options(), *lines],
                capture_output=True,
                text=True,
                check=False,
            )
            if ended.returncode:
                errors = [line for line in ended.stderr.splitlines() if "ERROR" in line]
                raise LockError(f"{self.target}: {' '.join(lines)}: {' '.join(errors)}")
            for item in json.loads(report.read_text())["install"]:
                about, file = item["metadata"], item["download_info"]
                digest = f"sha256:{file['archive_info']['hashes']['sha256']}"
                requires = tuple(about.get("requires_dist", ()))
                # A wheel of another kind is one of several; a limit of Pythons is each target's.
                is_for_all = file["url"].endswith(("-none-any.whl", ".tar.gz")) and (
                    "<" not in about.get("requires_python", "")
                )
                yield Release(about["name"], about["version"], requires, (digest,), is_for_all)

    def _check(self, needed: Iterable[str]) -> None:
        faults = [
            f"{name} {self.releases[name].version} is pinned, {by} asks for {requirement}"
            for name in sorted(needed)
            for requirement, by in self._asked[name]
            if not requirement.specifier.contains(self.releases[name].version, prereleases=True)
        ]
        if faults:
            raise LockError(f"{self.target}: " + "; ".join(faults))
