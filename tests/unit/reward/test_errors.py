from __future__ import annotations

import pickle

import pytest

from reward.errors import (
    RewardCallError,
    RewardConfigError,
    RewardError,
    RewardParseError,
    RewardTimeoutError,
)

ALL = [RewardError, RewardCallError, RewardConfigError, RewardParseError, RewardTimeoutError]


@pytest.mark.parametrize("cls", ALL)
def test_errors_survive_pickling_with_their_detail(cls: type[RewardError]) -> None:
    copy = pickle.loads(pickle.dumps(cls("no column", field="reward.reference")))
    assert type(copy) is cls
    assert str(copy) == copy.message == "no column"
    assert copy.detail == {"field": "reward.reference"}


def test_every_error_is_a_reward_error_with_its_own_code() -> None:
    assert set(RewardError.__subclasses__()) == set(ALL) - {RewardError}
    assert len({cls.code for cls in ALL}) == len(ALL)
