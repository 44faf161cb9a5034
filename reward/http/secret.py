"""Secrets of the operator."""

from __future__ import annotations

from reward.errors import RewardConfigError
from reward.resources import RewardPolicy


def read_secret(policy: RewardPolicy, name: str, setting: str) -> str:
    """Return the operator's secret of that name.

    Args:
        policy: of the operator.
        name: of the secret.
        setting: the full name of the setting that holds `name`, for the message.
    Raises:
        RewardConfigError: there is none, or it cannot stand in a header.
    """
    secret = policy.secrets.get(name, "")
    # The library that writes headers would quote an unfit one in its message.
    if secret and secret.isascii() and secret.isprintable() and secret == secret.strip():
        return secret
    fault = "has white space at its ends or unusual characters" if secret else "is not there"
    raise RewardConfigError(
        f"{setting} names the secret {name!r}, which {fault}; "
        f"the operator sets it with ESSA_REWARD_SECRET_{name.upper()}",
        field=setting,
    )
