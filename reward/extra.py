"""Libraries of the optional extra `rewards`, which may not be installed."""

from __future__ import annotations

from importlib.util import find_spec

from reward.errors import RewardConfigError


def require_library(module: str, package: str, path: str, kind: str) -> None:
    """Check that a library is installed, without importing it.

    Args:
        module: name to import.
        package: name to install.
        path: path of the reward in the job.
        kind: the reward's `type`.
    Raises:
        RewardConfigError: the library is not installed; says how to install it.
    """
    if find_spec(module) is None:
        raise RewardConfigError(
            f"{path}.type is {kind}, which needs {package}; it is not installed: "
            "pip install 'essa-service[rewards]'",
            field=f"{path}.type",
        )
