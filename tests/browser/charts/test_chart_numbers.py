"""The numbers behind the charts, computed by the modules that a browser loads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.browser.browsing import BrowserPage


def computed(dashboard: BrowserPage, module: str, expression: str, *values: Any) -> Any:
    """What an expression over the exports `m` of a module makes of `values`."""
    dashboard.open("/jobs")
    return dashboard.page.evaluate(
        f"async (v) => {{ const m = await import('/static/{module}'); return {expression}; }}",
        list(values),
    )


def test_quartiles_are_those_of_the_candidates_that_were_scored(dashboard):
    values = np.random.default_rng(1).normal(size=13)
    found = computed(dashboard, "job/history.js", "m.quartiles(v[0])", [*values, None])
    np.testing.assert_allclose(found, np.quantile(values, [0.25, 0.75]))
    assert computed(dashboard, "job/history.js", "m.quartiles(v[0])", [None]) == [None, None]


def test_curves_of_seeds_are_read_between_their_points_and_not_beyond(dashboard):
    x, y = [1.0, 2.0, 5.0], [0.0, 1.0, -2.0]
    inside, places = [1.0, 1.5, 2.0, 4.0, 5.0], [0.9, 1.0, 1.5, 2.0, 4.0, 5.0, 5.1]
    found = computed(
        dashboard,
        "job/compare_columns.js",
        "v[2].map((at) => m.interpolated({x: v[0], y: v[1]}, at))",
        x,
        y,
        places,
    )
    assert found[0] is None
    assert found[-1] is None
    np.testing.assert_allclose(found[1:-1], np.interp(inside, x, y))


def test_tokens_and_idle_time_come_from_work_items_that_overlap(dashboard):
    spans = [(0.0, 2.0, 100), (1.0, 3.0, 100), (5.0, 6.0, 100)]
    items = [{"started_s": start, "ended_s": end, "tokens": n} for start, end, n in spans]
    lane = computed(dashboard, "charts/lanes.js", "m.laneSummary(v[0])", items)
    assert lane == {"busy_frac": 4 / 6, "longest_gap_s": 2.0, "tokens_per_s": 75.0}
    rows = computed(dashboard, "charts/lanes.js", "m.packed(v[0]).map((row) => row.length)", items)
    assert rows == [2, 1]
    times, speeds = computed(dashboard, "job/throughput.js", "m.throughput(v[0])", items)
    width = times[1] - times[0]
    assert sum(speeds) * width == pytest.approx(300)
    assert max(speeds) == pytest.approx(100)


def test_a_generation_that_ran_twice_counts_once(dashboard):
    twice = [
        {"type": "generation", "generation": 1, "fitness": [1, 2], "mean": 1.5},
        {"type": "generation", "generation": 2, "fitness": [3, None], "mean": 3},
        {"type": "generation", "generation": 2, "fitness": [5, 6], "mean": 5.5},
        {"type": "validation", "generation": 0, "score": 0.5, "ci95": [0, 1]},
    ]
    expression = """(() => { const h = new m.History(); for (const e of v[0]) h.add(e);
      return [h.column("generation"), h.column("mean"), h.column("validation"), h.points.count,
              h.points.nearest(2, 5.9).candidate]; })()"""
    found = computed(dashboard, "job/history.js", expression, twice)
    assert found == [[0, 1, 2], [None, 1.5, 5.5], [0.5, None, None], 4, 1]
