"""A job by gradients has pages of its own, and none of a search's that would stand empty."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.charts.charted import chart, finished, record, table_rows
from tests.browser.charts.charted_job import GENERATIONS, PROMPTS

GROUP = 8


def tabs_of(dashboard, job_id: str) -> list[str]:
    dashboard.open(f"/jobs/{job_id}")
    bar = dashboard.page.get_by_role("navigation", name="Parts of the job")
    expect(bar.get_by_role("link", name="Events")).to_be_visible()
    return bar.get_by_role("link").all_inner_texts()


def test_its_tabs_are_those_of_a_training(dashboard, trained, plain):
    own, other = tabs_of(dashboard, trained), tabs_of(dashboard, plain)
    assert "Training" in own
    assert not {"Search", "Singular values"} & set(own)
    assert "Training" not in other
    assert {"Search", "Singular values"} < set(other)


def test_its_updates_are_drawn_step_by_step(dashboard, trained):
    dashboard.open(f"/jobs/{trained}/training")
    for title in ("Loss", "Gradient norm", "Entropy", "KL divergence", "Clipped ratios"):
        expect(chart(dashboard, title)).to_be_visible()
    rows = table_rows(chart(dashboard, "Gradient norm"))
    assert [int(row[0]) for row in rows][-1] == GENERATIONS
    expect(chart(dashboard, "KL divergence")).to_contain_text("Latest: kl 0.048")
    # Nothing was said of lengths, so there is no empty chart of them.
    assert chart(dashboard, "Answer length").count() == 0


def test_time_is_told_apart(dashboard, trained):
    dashboard.open(f"/jobs/{trained}/training")
    figure = chart(dashboard, "Seconds of a step")
    # 24 steps of 2 s rollouts, 0.2 s reward, 6 s training and 0.01 s beside.
    expect(figure).to_contain_text("so far: rollouts 24 %, reward 2.4 %, training 73 %")
    assert table_rows(figure)[-1] == [str(GENERATIONS), "2", "0.2", "6", "0.01"]


def test_points_are_prompts_and_lead_to_all_answers_of_the_step(service, dashboard, trained):
    dashboard.open(f"/jobs/{trained}/fitness")
    figure = chart(dashboard, "Fitness per generation")
    expect(figure).to_contain_text("Every prompt a point, the mean of its answers.")
    expect(figure).to_contain_text(f"{GENERATIONS * PROMPTS} prompts so far")
    host = figure.locator(".chart-host")
    host.focus()
    dashboard.page.keyboard.press("ArrowLeft")
    dashboard.page.keyboard.press("Enter")
    expect(dashboard.page.get_by_text("completions", exact=False).first).to_be_visible()
    assert "candidate=" not in dashboard.page.url
    total = record(service, trained, "rollouts", set="train", generation=3)["total"]
    assert total == GROUP * PROMPTS


@pytest.mark.parametrize("tab", ["fitness", "training", "completions", "workers", "events"])
def test_no_tab_of_it_breaks(dashboard, trained, tab):
    dashboard.open(f"/jobs/{trained}/{tab}")
    expect(dashboard.page.locator(".tab > *").first).to_be_visible()
    assert dashboard.page.locator(".tab [role=alert]").count() == 0


def test_a_training_without_a_kl_coefficient_has_no_chart_of_it(service, dashboard):
    job_id = finished(service, name="no kl", method={"type": "grpo"})
    dashboard.open(f"/jobs/{job_id}/training")
    expect(chart(dashboard, "Entropy")).to_be_visible()
    assert chart(dashboard, "KL divergence").count() == 0


def test_it_can_be_read_by_everyone_and_on_a_phone(dashboard, trained):
    dashboard.open(f"/jobs/{trained}/training")
    expect(chart(dashboard, "Loss")).to_be_visible()
    assert dashboard.serious_violations() == []
    dashboard.page.set_viewport_size({"width": 375, "height": 800})
    assert dashboard.fits_the_screen()


def test_a_search_over_all_weights_has_no_page_of_singular_values(service, dashboard):
    search = {"type": "snes", "population": 16, "target": "weights"}
    job_id = finished(service, name="weights", search=search)
    tabs = tabs_of(dashboard, job_id)
    assert "Search" in tabs
    assert "Singular values" not in tabs
