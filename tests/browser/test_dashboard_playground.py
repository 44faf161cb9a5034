"""The playground: base, warm start and aligned model side by side, on scripted model servers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.browsing import PHONE_WIDTH, BrowserPage
from tests.browser.conftest import is_refusal
from tests.integration.api_harness import wait_until
from tests.integration.api_inference_bench import Bench, bench
from tests.integration.api_scripted_model_server import ODD_TEXT

LOADING_MS = 20_000


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("inference")) as one:
        yield one


@pytest.fixture
def playground(models: Bench, browser: Browser) -> Iterator[Page]:
    page = BrowserPage(browser, models.service.url)
    yield page.open(f"/playground?job={models.job_id}")
    problems = [problem for problem in page.problems if not is_refusal(problem)]
    page.close()
    assert problems == []


def answers(page: Page) -> Locator:
    return page.get_by_role("region", name="Answer of")


def run(page: Page, prompt: str) -> None:
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_role("button", name="Run").click()


def test_the_three_models_of_a_job_answer_side_by_side(playground, models):
    expect(answers(playground)).to_have_count(3)
    run(playground, "good morning")
    texts = answers(playground)
    expect(texts.nth(0)).to_have_text("base says good morning", timeout=LOADING_MS)
    expect(texts.nth(1)).to_contain_text("warm_start")
    expect(texts.nth(2)).to_contain_text(f"{models.job_id}-aligned-")
    expect(playground.locator(".answer-column [role=status]").first).to_contain_text(
        re.compile(r"\d+ tokens, in")
    )
    assert "models=" in playground.url


def test_sampling_and_system_message_reach_the_models(playground, models):
    playground.get_by_text("Settings").click()
    playground.get_by_label("System message").fill("Be brief.")
    playground.get_by_label("Max tokens").fill("7")
    playground.get_by_label("Temperature").fill("0.5")
    playground.get_by_label("Seed").fill("3")
    run(playground, "settings")
    expect(answers(playground).first).to_contain_text("settings", timeout=LOADING_MS)
    sent = [one for one in models.log("request") if one["messages"][-1]["content"] == "settings"]
    assert {(one["max_tokens"], one["temperature"], one["seed"]) for one in sent} == {(7, 0.5, 3)}
    assert {one["messages"][0]["content"] for one in sent} == {"Be brief."}


def test_plain_text_is_sent_without_the_chat_template(playground, models):
    playground.get_by_text("Settings").click()
    playground.get_by_label("Sent as").select_option("text")
    run(playground, "Once upon")
    expect(answers(playground).first).to_have_text("base says Once upon", timeout=LOADING_MS)
    assert any(one.get("prompt") == "Once upon" for one in models.log("request"))


def test_a_stream_is_stopped(playground, models):
    run(playground, "hang")
    expect(answers(playground).first).to_contain_text("xxx", timeout=LOADING_MS)
    playground.get_by_role("button", name="Stop").click()
    expect(playground.get_by_text("Stopped.")).to_have_count(3)
    wait_until(lambda: len(models.log("broken_off")) >= 3, "the models to be told")
    expect(playground.get_by_role("button", name="Run")).to_be_enabled()
    run(playground, "again")
    expect(answers(playground).first).to_have_text("base says again", timeout=LOADING_MS)


def test_an_answer_is_text_whatever_is_in_it(playground):
    html = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    run(playground, html)
    expect(answers(playground).first).to_have_text(f"base says {html}", timeout=LOADING_MS)
    assert playground.locator("#main img, #main script").count() == 0
    assert "owned" not in playground.title()
    run(playground, "odd")
    expect(answers(playground).first).to_contain_text(ODD_TEXT[:3], timeout=LOADING_MS)
    playground.wait_for_function(
        "text => document.querySelector('.answer').textContent === text", arg=ODD_TEXT
    )


@pytest.mark.parametrize(
    ("order", "told"), [("too long", "maximum context length"), ("fail in stream", "no memory")]
)
def test_a_refusal_is_told_in_the_column_of_its_model(playground, order, told):
    run(playground, order)
    expect(playground.locator(".answer-column .field-error").first).to_contain_text(
        told, timeout=LOADING_MS
    )


def test_no_more_than_three_models_are_chosen(playground, models):
    models.add_job(models.base)
    playground.reload()
    boxes = playground.get_by_role("group", name="Models").get_by_role("checkbox")
    expect(boxes.and_(playground.locator(":checked"))).to_have_count(3)
    assert boxes.count() > 3
    expect(boxes.and_(playground.locator(":disabled"))).to_have_count(boxes.count() - 3)


def test_an_empty_prompt_is_not_sent(playground):
    playground.get_by_role("button", name="Run").click()
    expect(playground.get_by_role("alert")).to_have_text("Write a prompt first.")


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", PHONE_WIDTH)]
)
def test_the_playground_is_accessible_and_fits(models, browser, scheme, width):
    page = BrowserPage(browser, models.service.url, scheme=scheme, width=width)
    shown = page.open(f"/playground?job={models.job_id}")
    run(shown, "a" * 200)
    expect(answers(shown).first).to_contain_text("aaa", timeout=LOADING_MS)
    shown.get_by_text("Settings").click()
    assert page.serious_violations() == []
    assert page.fits_the_screen()
    page.close()
