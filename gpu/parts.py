"""Cut large files into parts that fit through a narrow door, and put them together again.

    python gpu/parts.py split build/gpu/wheels/vllm-*.whl
    python3 gpu/parts.py join
    python3 gpu/parts.py show

`split` writes build/gpu/parts/ and `parts.json`, `join` makes the wheels of them again in
build/gpu/wheels/. `parts.json` holds size and SHA-256 of every file and every part before anything
travels. `join` checks each part when it meets it, takes what is there, and can be called again as
more arrive.
Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "gpu"
MANIFEST = Path(__file__).with_name("parts.json")
PART_BYTES = 56 * 2**20
_CHUNK = 2**20


def main() -> int:
    """Split, join or show; returns 0 if nothing is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("split", "join", "show"))
    parser.add_argument("files", nargs="*", type=Path, help="files to split")
    parser.add_argument("--parts", type=Path, default=BUILD / "parts")
    parser.add_argument("--wheels", type=Path, default=BUILD / "wheels")
    parser.add_argument("--manifest", type=Path, default=MANIFEST)
    parser.add_argument("--keep", action="store_true", help="keep parts that were joined")
    given = parser.parse_args()
    if given.what == "split":
        manifest = _read(given.manifest) if given.manifest.exists() else {}
        manifest |= {file.name: split(file, given.parts) for file in given.files}
        given.manifest.write_text(json.dumps(manifest, indent=1) + "\n")
        return show(manifest, given.parts, given.wheels)
    if given.what == "join":
        for name, entry in _read(given.manifest).items():
            join(name, entry, given.parts, given.wheels, keep=given.keep)
    return show(_read(given.manifest), given.parts, given.wheels)


def split(file: Path, folder: Path) -> dict[str, Any]:
    """Write a file's parts; returns its entry of the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    with file.open("rb") as source:
        while content := source.read(PART_BYTES):
            name = f"{file.name}.{len(parts):03d}"
            (folder / name).write_bytes(content)
            parts.append(
                {
                    "name": name,
                    "bytes": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
            )
    return {"bytes": file.stat().st_size, "sha256": _sha256(file), "parts": parts}


def join(name: str, entry: dict[str, Any], parts: Path, wheels: Path, *, keep: bool) -> bool:
    """Add the parts that are there to what was joined so far; True when the file is whole.

    A part that is not what the manifest says is refused, and so is a file that is not.
    """
    wheels.mkdir(parents=True, exist_ok=True)
    whole, growing = wheels / name, wheels / f"{name}.part"
    if whole.exists() and whole.stat().st_size == entry["bytes"]:
        return True
    done = growing.stat().st_size if growing.exists() else 0
    start = 0
    with growing.open("ab") as target:
        for part in entry["parts"]:
            end = start + part["bytes"]
            if done < end:
                file = parts / part["name"]
                if done != start:  # a joining that was cut short
                    target.truncate(start)
                if not file.exists():
                    return False
                content = file.read_bytes()
                if hashlib.sha256(content).hexdigest() != part["sha256"]:
                    sys.exit(f"{file} is not the part that {MANIFEST.name} names; bring it again")
                target.write(content)
                target.flush()
                done = end
                if not keep:
                    file.unlink()
            start = end
    if _sha256(growing) != entry["sha256"]:
        growing.unlink()
        sys.exit(f"{name} was joined to something else than {MANIFEST.name} names; begin again")
    growing.rename(whole)
    return True


def show(manifest: dict[str, Any], parts: Path, wheels: Path) -> int:
    """Print what is whole and which parts are missing; 0 where all files are whole."""
    missing = 0
    for name, entry in manifest.items():
        if (wheels / name).exists():
            print(f"whole     {entry['bytes'] / 2**20:8.1f} MiB  {name}")
            continue
        growing = wheels / f"{name}.part"
        done = growing.stat().st_size if growing.exists() else 0
        start = 0
        for part in entry["parts"]:
            start += part["bytes"]
            if done < start:
                is_here = (parts / part["name"]).exists()
                missing += not is_here
                word = "here" if is_here else "missing"
                print(f"{word:9} {part['bytes'] / 2**20:8.1f} MiB  {part['name']}")
    return min(missing, 1)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while content := source.read(_CHUNK):
            digest.update(content)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
