"""What the gate refuses, from measurements alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from essa.spec import Precision
from workers.gate.verdict import (
    BASE_TOLERANCE_NATS,
    CANDIDATE_TOLERANCE_FRAC,
    Measurement,
    objections,
    rms,
    worst,
)

RIGHT = Measurement(0.001, 0.001, 0.0, (0.01, 0.02), 1.2)


def test_right_numbers_pass_in_every_format() -> None:
    assert all(objections(RIGHT, precision) == [] for precision in Precision)


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("base_nats", "the base model itself"),
        ("warm_start_nats", "the warm start"),
        ("zeroed_nats", "must be the base"),
    ],
)
@pytest.mark.parametrize("value", [1.0, float("nan"), float("inf")])
def test_a_difference_beyond_the_tolerance_is_named(precision, field, words, value) -> None:
    (found,) = objections(replace(RIGHT, **{field: value}), precision)
    assert words in found


@pytest.mark.parametrize("share", [0.6, float("nan")])
def test_each_wrong_candidate_is_named(share) -> None:
    for precision in Precision:
        (found,) = objections(replace(RIGHT, candidates=(0.01, share)), precision)
        assert "random candidate 2 is off" in found


def test_formats_are_as_strict_as_they_are_exact() -> None:
    for tolerance in (BASE_TOLERANCE_NATS, CANDIDATE_TOLERANCE_FRAC):
        assert tolerance[Precision.FP32] < tolerance[Precision.BF16]
        assert tolerance[Precision.BF16] <= tolerance[Precision.INT4] < tolerance[Precision.INT8]


def test_worst_takes_the_largest_difference_and_the_smallest_effect() -> None:
    other = Measurement(0.1, 0.0005, 0.01, (0.03, 0.005), 0.9)
    assert worst([RIGHT, other]) == Measurement(0.1, 0.001, 0.01, (0.03, 0.02), 0.9)


def test_rms_keeps_what_is_not_a_number() -> None:
    assert rms(np.array([3.0, -4.0])) == pytest.approx(np.sqrt(12.5))
    assert np.isnan(rms(np.array([0.0, np.nan])))
