"""The format of a lock: a heading with a digest, then pins with markers and hashes.

Needs nothing but the standard library: an installation reads it before anything is installed.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "deploy" / "requirements"
LOCKS = ("core", "cpu", "gpu", "baseline", "unit", "dev")
_DIGEST = "# digest: "
_PIN = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;]+)(?:\s*;\s*(?P<marker>.+))?$")
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})$")


class Pin(NamedTuple):
    """One version of one package.

    Attributes:
        marker: where it is installed; empty for everywhere.
        hashes: of its files that may be installed, each `sha256:` and 64 digits.
    """

    name: str
    version: str
    marker: str = ""
    hashes: tuple[str, ...] = ()

    def text(self) -> str:
        """Its lines in a lock."""
        condition = f" ; {self.marker}" if self.marker else ""
        lines = [f"{self.name}=={self.version}{condition}", *(f"--hash={h}" for h in self.hashes)]
        return " \\\n    ".join(lines) + "\n"


def path_of(lock: str) -> Path:
    """Where a lock lies."""
    return FOLDER / f"{lock}.txt"


def read_pins(text: str) -> list[Pin]:
    """Pins of a lock, in its order.

    Raises:
        ValueError: a line is neither a pin nor a hash.
    """
    joined = re.sub(r"\\\n\s*", " ", text)
    return [_pin(line) for line in joined.splitlines() if line.strip() and line[0] != "#"]


def _pin(line: str) -> Pin:
    requirement, *options = re.split(r"\s+(?=--)", line.split("  #")[0].strip())
    found = _PIN.match(requirement)
    hashes = [_HASH.match(option) for option in options]
    if found is None or None in hashes:
        raise ValueError(f"{line!r} is no exact pin with hashes")
    digits = tuple(one[1] for one in hashes if one)
    return Pin(found["name"], found["version"], found["marker"] or "", digits)


def canonical(name: str) -> str:
    """One spelling for all that mean one package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def project() -> dict:
    """pyproject.toml of this checkout."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def render(title: str, pins: Iterable[Pin]) -> str:
    """A whole lock; the digest covers its pins and what of pyproject.toml they were made from."""
    body = "".join(pin.text() for pin in pins)
    heading = f"# {title}\n# Written by tools/write_locks.py (`make locks`); not by hand.\n"
    return f"{heading}{_DIGEST}{_digest(body)}\n{body}"


def is_current(text: str) -> bool:
    """Whether a lock was written from this pyproject.toml and is as it was written."""
    heading, _, body = text.partition(_DIGEST)
    digest, _, body = body.partition("\n")
    return bool(heading) and digest == _digest(body)


def _digest(body: str) -> str:
    whole = project()
    made_from = {
        "python": whole["project"]["requires-python"],
        "core": whole["project"]["dependencies"],
        "extras": whole["project"]["optional-dependencies"],
        "build": whole["build-system"]["requires"],
        "locks": whole["tool"]["locks"],
    }
    both = json.dumps(made_from, sort_keys=True) + body
    return hashlib.sha256(both.encode()).hexdigest()
