"""Secrets of the operator."""

from __future__ import annotations

from reward.errors import RewardConfigError
from reward.resources import RewardPolicy


def read_secret(policy: RewardPolicy, name: str, setting: str) -> str:
    """Return a secret of the operator.

    Args:
        policy: permissions and secrets given by the operator.
        name: name of the secret.
        setting: the full name of the setting that holds `name`, for the message.
    Raises:
        RewardConfigError: there is no such secret, or it is not valid in a header.
    """
    secret = policy.secrets.get(name, "")
    # The HTTP library would quote an invalid secret in its error message.
    if secret and secret.isascii() and secret.isprintable() and secret == secret.strip():
        return secret
    fault = "has white space at its ends or unusual characters" if secret else "is not there"
    raise RewardConfigError(
        f"{setting} names the secret {name!r}, which {fault}; "
        f"the operator sets it with ESSA_REWARD_SECRET_{name.upper()}",
        field=setting,
    )
