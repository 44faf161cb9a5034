"""Every error the reward package raises on purpose.

RewardError
├── RewardConfigError    a reward cannot be used as configured, or not with these rows
├── RewardTimeoutError   scoring one completion took longer than its limit
├── RewardCallError      a server could not be reached, or its answer was unusable
└── RewardParseError     a value could not be read as the type that the reward needs

The package stands alone, so this tree has its own root. Each class takes one message and keyword
details, so the default pickling works across processes. A message says what happened, the
offending value and the setting that changes it.
"""

from __future__ import annotations

from typing import Any, ClassVar


class RewardError(Exception):
    """Base of all errors raised on purpose by `reward`."""

    code: ClassVar[str] = "reward_error"

    def __init__(self, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail

    def __str__(self) -> str:
        return self.message


class RewardConfigError(RewardError):
    """The reward does not fit the data. `field` in the detail names the setting."""

    code = "invalid_reward"


class RewardTimeoutError(RewardError):
    """One completion could not be scored in time."""

    code = "reward_timeout"


class RewardCallError(RewardError):
    """A scoring server could not be reached, or its answer was unusable."""

    code = "reward_call_failed"


class RewardParseError(RewardError):
    """A value cannot be read, such as a reference without any number."""

    code = "reward_unreadable"
