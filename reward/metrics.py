"""The arithmetic of batch metrics, on plain numbers.

A metric of P answers is shared out among them as follows. Let theta be the metric, theta_without_p
the metric of all answers but the p-th. Tukey's pseudo-value of answer p is

    v_p = theta + (P - 1) * (theta - theta_without_p)

If theta is a mean, the pseudo-value is the answer's own value. Otherwise the pseudo-values average
to the bias-corrected jackknife estimate of theta, not to theta itself. The fitness of a candidate
has to be theta, so all pseudo-values are shifted by the same amount until their mean is theta:

    share_p = theta + (P - 1) * (mean_q(theta_without_q) - theta_without_p)

The shares have mean theta by construction and the spread of the pseudo-values, whose variance over
P estimates the variance of theta. So methods that treat the answers' values as a sample (halves of
the prompts, the bootstrap) work on shares to first order in 1/P. They fail for metrics that are not
smooth: leaving one answer out moves a percentile to a neighbouring value, the same for all answers
on one side of it, so shares take at most three values and an interval from them gives no more than
an order of magnitude. Theta is exact even then.

Source:
    Tukey (1958), Bias and confidence in not-quite large samples; Efron and Tibshirani (1993), An
    Introduction to the Bootstrap, chapter 11, which also shows the failure at the median.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import NamedTuple


class LabelCount(NamedTuple):
    """Counts of one class over a batch.

    Attributes:
        hits: true positives, rows of the class that got its label.
        alarms: false positives, rows of other classes that got its label.
        misses: false negatives, rows of the class that got another label, or none.
    """

    hits: float
    alarms: float
    misses: float


def mean_of(values: Sequence[float]) -> float:
    """Return the mean, independent of the order; exactly 0 if it is within rounding error of 0.

    Shares that cancel would otherwise give 1e-17 instead of 0, or -1e-17, which has no square root.
    """
    mean = math.fsum(values) / len(values)
    return 0.0 if abs(mean) < _rounding(values) else mean


def means_without_each(values: Sequence[float]) -> list[float]:
    """Return the mean without each of two or more values; 0 if within rounding error of 0."""
    total, rounding = math.fsum(values), _rounding(values)
    means = [(total - value) / (len(values) - 1) for value in values]
    return [0.0 if abs(mean) < rounding else mean for mean in means]


def shares_of(whole: float, without: Sequence[float]) -> list[float]:
    """Share a metric out among P answers; see the top of this module.

    Args:
        whole: the metric of all P answers.
        without: P values, the p-th being the metric without answer p.
    Returns:
        P shares; their mean is `whole` up to rounding.
    """
    drops = [whole - other for other in without]
    mean = math.fsum(drops) / len(drops)
    return [whole + (len(drops) - 1) * (drop - mean) for drop in drops]


def f1_of(counts: Sequence[LabelCount]) -> float:
    """Return the F1 of the classes pooled together; 0 if there is no hit."""
    hits = sum(count.hits for count in counts)
    wrong = sum(count.alarms + count.misses for count in counts)
    return 2 * hits / (2 * hits + wrong) if hits else 0.0


def macro_f1_of(counts: Sequence[LabelCount]) -> float:
    """Return the mean F1 of the classes that some row belongs to."""
    scores = [f1_of([count]) for count in counts if count.hits + count.misses]
    return math.fsum(scores) / len(scores)


def balanced_accuracy_of(counts: Sequence[LabelCount]) -> float:
    """Return the mean recall of the classes that some row belongs to."""
    recalls = [
        count.hits / (count.hits + count.misses) for count in counts if count.hits + count.misses
    ]
    return math.fsum(recalls) / len(recalls)


def percentile_of(values: Sequence[float], q: float) -> float:
    """Return the q-th percentile, interpolated linearly between order statistics as in NumPy.

    Args:
        values: at least one.
        q: in [0, 100].
    """
    return _between(sorted(values), q, skip=len(values))


def percentile_without_each(values: Sequence[float], q: float) -> list[float]:
    """Return the q-th percentile without each of two or more values in turn, sorting once."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ordered = [values[index] for index in order]
    without = [0.0] * len(values)
    for rank, index in enumerate(order):
        without[index] = _between(ordered, q, skip=rank)
    return without


def _between(ordered: Sequence[float], q: float, skip: int) -> float:
    """Return the percentile of sorted values without the one at rank `skip`, if there is one."""
    count = len(ordered) - (skip < len(ordered))
    place = q / 100 * (count - 1)
    lower = math.floor(place)
    upper = min(lower + 1, count - 1)
    low, high = (ordered[rank + (rank >= skip)] for rank in (lower, upper))
    return low + (high - low) * (place - lower) if high > low else low


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the probability that k of n samples, drawn without replacement, include a correct one.

    Args:
        n: number of samples of one prompt, at least k.
        c: number of correct samples.
        k: number of samples drawn.
    Source:
        Chen et al. (2021), arXiv:2107.03374, equation 1, the unbiased estimator.
    """
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def _rounding(values: Sequence[float]) -> float:
    return 16 * sys.float_info.epsilon * max(abs(value) for value in values)
