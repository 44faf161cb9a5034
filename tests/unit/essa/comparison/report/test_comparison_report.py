"""The report of a comparison: HTML that stands alone, Markdown with the same tables, blanks."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from essa.comparison.curves import Band
from essa.comparison.differences import differences
from essa.comparison.history import read_history
from essa.comparison.report.blocks import Figure, Table
from essa.comparison.report.figures import all_figures
from essa.comparison.report.report import Surroundings, html_report, markdown_report
from essa.comparison.report.svg_chart import draw, ticks
from essa.comparison.report.tables import all_tables, target_table
from essa.comparison.report.wording import over_seeds, score, seconds
from essa.comparison.spec import ComparisonSpec, planned_runs, rotated, validate_comparison
from essa.comparison.summary import Summary, summarize
from essa.spec.grpo import GrpoSpec
from tests.comparison_runs import given_run, making_run, validation
from tests.narrowing import of_kind

HOSTILE = "<img src=x onerror=alert(1)>"
AROUND = Surroundings(
    command="essa compare report out",
    versions={"numpy": "2.0"},
    data={"train: a.jsonl": "0" * 64},
    notes=("essa, seed 1 has not ended.",),
    extra=(Table("Drift", ("arm", "KL"), (("essa", "0.1"),)),),
)


def specification(**changes) -> ComparisonSpec:
    job = {
        "model": {"path": "org/model"},
        "data": {"train": {"path": "a.jsonl"}},
        "reward": {"type": "sentiment"},
    }
    arms = {"essa": {}, "grpo": {"method": {"type": "grpo", "group_size": 4}}}
    usual = {"name": f"odd {HOSTILE}", "job": job, "arms": arms, "reference": "grpo"}
    return validate_comparison({**usual, "seeds": [0, 1], **changes})


@pytest.fixture
def summary() -> Summary:
    runs = [
        read_history("essa", 0, making_run()),
        read_history("grpo", 0, given_run(0.3, 0.4, 0.75)),
        read_history("grpo", 1, given_run(0.3, 0.6)),
        read_history("essa", 1, [validation(0, 0.2, 6.0)]),
    ]
    return summarize(runs, ("essa", "grpo"), "grpo")


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str | None] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href", "action")]
        self.outside += [name for name, _ in attrs if name.startswith("on") or name == "style"]


def test_the_page_stands_alone_and_says_everything_twice(summary):
    page = html_report(specification(), summary, AROUND)
    parser = _Parser()
    parser.feed(page)
    assert parser.outside == []
    assert {"script", "link", "img", "iframe"}.isdisjoint(parser.tags)
    assert "&lt;img src=x" in page
    assert parser.tags.count("svg") == parser.tags.count("details") == 4
    assert page.count('role="img"') == page.count("<desc id=") == 4
    assert "url(" not in page
    assert "@import" not in page
    assert "prefers-color-scheme: dark" in page
    # Every chart and every table of results names the command that makes it.
    assert page.count("essa compare report out") >= 12
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_markdown_has_the_same_tables_as_the_page(summary):
    text = markdown_report(specification(), summary, AROUND)
    for title in (
        "Time to target", "Time to target by seed", "Validation over tokens", "Test scores",
        "Whole runs", "Where the time went", "Warm starts", "Answers and training", "Runs", "Drift",
        "What each arm has different", "The shared job, resolved", "Data", "Versions",
    ):  # fmt: skip
        assert f"\n## {title}\n" in text, title
    # essa reaches 0.75 with the 0.8 at 20 s of its own, grpo at 45 s; seed 1 is not there yet.
    assert "| essa | 1 of 2 | 20.0 s; 2.25× | 40.0 s; 2.25× | 2,000; 2.25× |" in text
    assert "| essa | 1 | 0.600 | not yet |" in text
    assert "| grpo | method.group\\_size |  | 4 |" in text
    assert "<img" not in text
    assert "| 0 | essa | 10.0 s | 20.0 s | 1,000 | 50 |" in text
    assert "essa, seed 1 has not ended." in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_a_comparison_without_any_event_has_a_report_without_numbers():
    runs = [read_history(arm, 0, []) for arm in ("essa", "grpo")]
    empty = summarize(runs, ("essa", "grpo"), "grpo")
    assert all_figures(empty) == []
    assert [table.title for table in all_tables(empty)] == ["Runs"]
    assert "0 of 4 runs have ended" in html_report(specification(), empty, AROUND)


def test_what_is_not_known_is_blank_and_not_reached_is_said():
    runs = [
        read_history("essa", 0, making_run()[:-1]),
        read_history("grpo", 0, given_run(0.3, 0.95)),
    ]
    table = target_table(summarize(runs, ("essa", "grpo"), "grpo"))
    assert table.rows[0] == ("essa", "0 of 1", "not yet", "", "", "")
    runs[0] = read_history("essa", 0, making_run())
    table = target_table(summarize(runs, ("essa", "grpo"), "grpo"))
    assert table.rows[0] == ("essa", "0 of 1", "not reached", "", "", "")
    assert (score(None), seconds(float("nan")), over_seeds(None, score)) == ("", "", "")


@pytest.mark.parametrize(
    ("low", "high"), [(0, 47.3), (0, 1), (0.31, 0.32), (0, 0), (0.7, 0.7), (0, 3e9), (-5, 5)]
)
def test_ticks_are_few_round_and_around_the_range(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 14
    assert found[0] <= low + 1e-9
    assert found[-1] >= high - 1e-9
    steps = {round(b - a, 9) for a, b in pairwise(found)}
    assert len(steps) == 1


def test_curves_are_drawn_as_steps_inside_the_picture():
    band = Band((0.0, 10.0), (0.2, 0.6), (0.1, 0.5), (0.3, 0.7))
    table = Table("t", ("arm", "tokens"), ())
    figure = Figure(
        "A & B", "tokens", "d", {"<arm>": band, "flat": Band((5.0,), (0.4,), (0.4,), (0.4,))}, table
    )
    root = ElementTree.fromstring(draw(figure, "f"))
    line = next(part for part in root if part.get("class") == "line a1" and part.tag == "polyline")
    points = [tuple(map(float, point.split(","))) for point in line.get("points", "").split()]
    assert len(points) == 3
    (first, corner, last) = points
    # It holds its value and then rises at one place.
    assert corner == (last[0], first[1])
    for part in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(part.get(name, 0)) <= 720
    # One point without a spread has no band.
    assert [part.get("class") for part in root if part.tag == "polygon"] == ["band a1"]
    assert root.findtext("title") == "A & B"


def test_a_report_names_files_and_not_the_folders_of_the_machine_that_made_it():
    data = {name: {"path": f"/home/somebody/{name}.jsonl"} for name in ("train", "validation")}
    job = specification().job
    prompt = {"type": "text", "template": "/think {prompt}"}
    spec = specification(job={**job, "data": {**job["data"], **data, "prompt": prompt}})
    for write in (markdown_report, html_report):
        text = write(spec, summarize((), tuple(spec.arms), spec.reference, None), AROUND)
        assert "train.jsonl" in text
        assert "somebody" not in text
        assert "/think {prompt}" in text


def test_differences_are_setting_by_setting():
    shared = {"a": {"type": "x", "k": 1}, "b": [1, 2], "c": None}
    other = {"a": {"type": "y", "m": 2}, "b": [1, 2], "c": None}
    assert differences(shared, other) == {
        "a.k": ("1", ""), "a.m": ("", "2"), "a.type": ('"x"', '"y"'),
    }  # fmt: skip


def test_the_arms_rotate_over_the_seeds_and_the_first_makes_the_warm_start():
    spec = specification(seeds=[5, 6, 7])
    assert [(run.arm, run.seed, run.warm_start_of) for run in planned_runs(spec)] == [
        ("essa", 5, None), ("grpo", 5, "essa"),
        ("grpo", 6, None), ("essa", 6, "grpo"),
        ("essa", 7, None), ("grpo", 7, "essa"),
    ]  # fmt: skip
    assert rotated(["a", "b", "c"], 4) == ["b", "c", "a"]
    run = planned_runs(spec)[1]
    assert (run.spec.seed, of_kind(GrpoSpec, run.spec.method).group_size) == (5, 4)
    # Who makes the warm start has as much of a budget left for itself as the others.
    assert all(run.spec.budget.after_warm_start for run in planned_runs(spec))


def test_a_preset_of_an_arm_is_not_hidden_by_the_defaults_of_the_job():
    arms = {"tuned": {}, "paper": {"method": {"preset": "paper"}}}
    job = {**specification().job, "method": {"type": "grpo"}, "batch_size": 64}
    spec = specification(job=job, arms=arms, reference="tuned", seeds=[0])
    methods = {run.arm: of_kind(GrpoSpec, run.spec.method) for run in planned_runs(spec)}
    found = {arm: method.learning_rate for arm, method in methods.items()}
    assert found == {"tuned": 3e-3, "paper": 1e-5}
