"""Libraries of the extra `rewards`, which an installation may lack."""

from __future__ import annotations

from importlib.util import find_spec

from reward.errors import RewardConfigError


def require_library(module: str, package: str, path: str, kind: str) -> None:
    """Check that a library is there, without loading it.

    Args:
        module: name to import.
        package: name to install.
        path: where the reward stands in the job.
        kind: the reward's `type`.
    Raises:
        RewardConfigError: it is not installed; says how to install it.
    """
    if find_spec(module) is None:
        raise RewardConfigError(
            f"{path}.type is {kind}, which needs {package}; it is not installed: "
            "pip install 'essa-service[rewards]'",
            field=f"{path}.type",
        )
