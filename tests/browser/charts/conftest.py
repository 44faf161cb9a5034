"""One service with charted jobs for all tests of charts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.browsing import BrowserPage
from tests.browser.charts.charted import CONSTRAINED, JOB_COMMAND, finished, let_go, submit
from tests.integration.api_harness import Service, running_service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("home")
    unlimited = 1_000_000
    with running_service(
        home, job_command=JOB_COMMAND, auth="off", requests_per_minute=unlimited
    ) as running:
        yield running


@pytest.fixture
def dashboard(service: Service, browser: Browser) -> Iterator[BrowserPage]:
    page = BrowserPage(browser, service.url)
    yield page
    problems = page.problems
    page.close()
    assert problems == []


@pytest.fixture(scope="session")
def constrained(service: Service) -> str:
    return finished(service, name="constrained", **CONSTRAINED)


@pytest.fixture(scope="session")
def plain(service: Service) -> str:
    return finished(service, name="plain", seed=1)


@pytest.fixture(scope="session")
def trained(service: Service) -> str:
    method = {"type": "grpo", "group_size": 8, "kl_coefficient": 0.01}
    return finished(service, name="trained", method=method)


@pytest.fixture
def live(service: Service) -> Iterator[str]:
    """A job that stands still after some generations until its run folder has a file `go`."""
    job_id = submit(service, name="live")
    yield job_id
    let_go(service, job_id)
