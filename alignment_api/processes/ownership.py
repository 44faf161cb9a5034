"""Check that the four top-level packages belong to this project.

`workers` and `reward` are generic names, and pip silently lets another distribution overwrite
ours.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from essa.errors import PackageShadowedError

DISTRIBUTION = "essa-service"
PACKAGES = ("essa", "workers", "reward", "alignment_api")


def check_package_owners(owners: Mapping[str, Sequence[str]] | None = None) -> None:
    """Check who owns the packages, and that all are imported from the same place.

    A checkout that is not installed has no owners; then only the place is checked.

    Args:
        owners: distributions by package name; by default those installed.
    Raises:
        PackageShadowedError: another distribution also owns one of the names, or a package is
            imported from elsewhere.
    """
    if owners is None:
        owners = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        foreign = sorted(set(owners.get(package, ())) - {DISTRIBUTION})
        if foreign:
            raise PackageShadowedError(
                f"the package `{package}` belongs to {DISTRIBUTION} but also to "
                f"{', '.join(foreign)}; use an environment without {foreign[0]}, then install "
                f"{DISTRIBUTION} again",
                package=package,
            )
    _check_places()


def _check_places() -> None:
    root = Path(__file__).resolve().parents[2]
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise PackageShadowedError(
                f"the package `{package}` is not found beside {root}; install {DISTRIBUTION}"
            )
        found = Path(spec.origin).resolve().parents[1]
        if found != root:
            raise PackageShadowedError(
                f"the package `{package}` is found in {found}, not in {root}; take {found} off "
                "PYTHONPATH",
                package=package,
            )
