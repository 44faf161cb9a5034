"""What a run recorded, on the pages that draw it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.charts.charted import chart, finished, record, table_rows
from tests.browser.charts.charted_job import GENERATIONS, POPULATION
from tests.narrowing import present

# -- search state, singular values ----------------------------------------------------------


def test_the_ladder_and_the_floor_of_reliability_are_there(dashboard, constrained):
    dashboard.open(f"/jobs/{constrained}/search")
    expect(chart(dashboard, "Split-half reliability")).to_contain_text("under the floor in")
    ladder = chart(dashboard, "Step size ladder: fitness")
    expect(ladder).to_contain_text("Chose σ = 4: the smallest that is reliable.")
    assert [row[0] for row in table_rows(ladder)] == ["0.5", "1", "2", "4", "8"]


def test_the_heat_map_reads_out_cells_of_any_generation(service, dashboard, constrained):
    dashboard.open(f"/jobs/{constrained}/values")
    figure = chart(dashboard, "Change of singular values")
    expect(figure).to_contain_text(f"Generation {GENERATIONS}:")
    slider = dashboard.page.get_by_role("slider")
    slider.focus()
    for _ in range(4):
        dashboard.page.keyboard.press("ArrowLeft")
    expect(figure).to_contain_text("Generation 20:")
    figure.locator(".chart-host").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        dashboard.page.keyboard.press(key)
    answer = record(service, constrained, "singular_values", generation=20)
    change = 100 * answer["relative_change"]["A"][1][1]
    shown = figure.locator("[aria-live]").inner_text()
    number = float(present(re.search(r"([-+]?[\d.]+) %", shown))[1])
    assert number == pytest.approx(change, abs=0.51)
    assert answer["modules"][1] in figure.locator(".heat-value").inner_text()


# -- completions ----------------------------------------------------------------------------


def test_completions_are_filtered_and_never_become_html(service, dashboard, constrained):
    dashboard.open(f"/jobs/{constrained}/completions?set=train&generation=3")
    page = dashboard.page
    expect(page.get_by_text(f"20 of {POPULATION * 4} completions")).to_be_visible()
    card = page.locator(".completion-card").first
    expect(card).to_contain_text("<script>document.title='owned'</script>")
    expect(card).to_contain_text("length")
    assert page.locator(".completion img, .completion script").count() == 0
    page.get_by_role("button", name="Show more").click()
    expect(page.get_by_text("40 of 64 completions")).to_be_visible()
    page.get_by_label("Text", exact=True).fill("quiet")
    total = record(service, constrained, "rollouts", set="train", generation=3, q="quiet")["total"]
    expect(page.get_by_text(f"of {total} completions")).to_be_visible()
    assert "q=quiet" in page.url
    assert "owned" not in page.title()


def test_a_word_diff_shows_what_changed_since_an_earlier_generation(
    service, dashboard, constrained
):
    dashboard.open(f"/jobs/{constrained}/completions?set=validation&generation=24&against=earlier")
    card = dashboard.page.locator(".completion-card").first
    expect(card).to_contain_text("Against generation 20:")
    query = {"set": "validation", "prompt": 0}
    now, before = (
        record(service, constrained, "rollouts", generation=generation, **query)["data"][0]
        for generation in (24, 20)
    )
    parts = card.locator("p.completion").last
    kept = parts.evaluate(
        "node => { const copy = node.cloneNode(true);"
        " copy.querySelectorAll('del').forEach((part) => part.remove()); return copy.textContent; }"
    )
    old = parts.evaluate(
        "node => { const copy = node.cloneNode(true);"
        " copy.querySelectorAll('ins').forEach((part) => part.remove()); return copy.textContent; }"
    )
    assert kept == now["completion"]
    assert old == before["completion"]
    dashboard.page.get_by_role("combobox", name="Word diff against").select_option("base")
    expect(card).to_contain_text("no answer of the base")


def test_the_test_set_is_compared_with_the_base(dashboard, constrained):
    dashboard.open(f"/jobs/{constrained}/completions?set=test&model=aligned&against=base")
    expect(dashboard.page.locator(".completion-card").first).to_contain_text("Against the base:")


# -- workers, compare -----------------------------------------------------------------------


def test_the_timeline_tells_how_busy_each_engine_was(service, dashboard, constrained):
    dashboard.open(f"/jobs/{constrained}/workers")
    figure = chart(dashboard, "Work items per engine")
    expect(figure).to_contain_text(re.compile(r"Engine 0: busy \d+ %.*Engine 1: busy \d+ %"))
    items = record(service, constrained, "timeline")["items"]
    assert len(table_rows(figure)) == len(items)


def test_seeds_of_one_job_are_one_band_and_every_axis_can_be_chosen(service, dashboard, plain):
    jobs = [plain, *(finished(service, name="plain", seed=seed) for seed in (2, 3))]
    other = finished(service, name="other", seed=1, batch_size=5)
    dashboard.open(f"/compare?jobs={','.join([*jobs, other])}")
    page = dashboard.page
    figure = page.locator("figure.chart")
    expect(figure).to_contain_text("plain (3 seeds)")
    for axis in ("device-seconds", "generated tokens", "scored completions", "generation"):
        page.get_by_role("combobox", name="Over").select_option(label=axis)
        expect(figure.get_by_role("heading")).to_contain_text(f"over {axis}")
    rows = table_rows(figure)
    assert len(rows) == 1 + GENERATIONS // 4
    high, low, mean = (float(cell) for cell in rows[-1][1:4])
    assert low < mean < high
    scores = page.get_by_role("region", name="Test scores").locator("tbody tr")
    expect(scores).to_have_count(4)
    expect(scores.nth(2)).to_contain_text("0.61 [0.56, 0.66]")
    page.get_by_role("button", name="Leave out other · seed 1").click()
    expect(scores).to_have_count(3)
    assert dashboard.serious_violations() == []
