"""What a line of the log holds, and what it never holds."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from alignment_api.observability.context import REQUEST_ID, request_id_from
from alignment_api.observability.logs import configure_logging
from alignment_api.observability.redaction import HIDDEN, Redactor, secrets_of
from alignment_api.settings import Settings
from essa.errors import SpecError

KEY = "essa-" + "aB3_-" * 8 + "xyz"


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    kept = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = kept[0], kept[1]
    logging.captureWarnings(False)


def written(settings: Settings, job_id: str | None = None) -> tuple[io.StringIO, logging.Logger]:
    stream = io.StringIO()
    configure_logging(settings, job_id=job_id, stream=stream, environment={"HF_TOKEN": "hf_abcd"})
    return stream, logging.getLogger("alignment_api.some.module")


@pytest.mark.usefixtures("restored_logging")
def test_a_json_line_has_time_level_ids_and_values(tmp_path: Path) -> None:
    stream, logger = written(Settings(home=tmp_path, log_format="json"), job_id="ftjob-1")
    REQUEST_ID.set("req_7")
    logger.warning("lost %s", "one\u2028two\nthree", extra={"ms": 1.5})
    REQUEST_ID.set(None)
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "WARNING",
        "logger": "alignment_api.some.module",
        "message": "lost one\u2028two\nthree",
        "request_id": "req_7",
        "job_id": "ftjob-1",
        "ms": 1.5,
    }


@pytest.mark.usefixtures("restored_logging")
def test_a_text_line_ends_with_the_ids(tmp_path: Path) -> None:
    stream, logger = written(Settings(home=tmp_path, log_format="text"), job_id="ftjob-1")
    logger.info("hello")
    assert stream.getvalue().endswith("INFO alignment_api.some.module: hello job_id=ftjob-1\n")


@pytest.mark.usefixtures("restored_logging")
def test_a_pipe_gets_json_and_lines_under_the_level_are_left_out(tmp_path: Path) -> None:
    stream, logger = written(Settings.model_validate({"home": tmp_path, "log_level": "warning"}))
    logger.info("quiet")
    logger.error("loud")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["loud"]


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_are_hidden_in_messages_values_and_tracebacks(
    tmp_path: Path, form: Literal["json", "text"]
) -> None:
    secret = 'quo"ted\\secret'
    settings = Settings(home=tmp_path, log_format=form, reward_secrets={"judge": secret})
    stream, logger = written(settings)
    logger.info("sent %s with hf_abcd", {"Authorization": f"Bearer {KEY}"}, extra={"sent": secret})
    try:
        raise ValueError(f"postgresql://user:pa55word@host/db refused {secret}")
    except ValueError:
        logger.exception("failed for %s", KEY)
    text = stream.getvalue()
    for hidden in (secret, json.dumps(secret)[1:-1], KEY, KEY[10:30], "pa55word", "hf_abcd"):
        assert hidden not in text
    assert "user:" + HIDDEN + "@host/db" in text
    assert text.count(HIDDEN) >= 6 - (form == "text")  # the text form shows no extra values


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic dXNlcjpwYXNz",
        "(b'authorization', b'Bearer dXNlcjpwYXNz')",
        '{"authorization": "dXNlcjpwYXNz"}',
        "BEARER dXNlcjpwYXNz",
        "https://me:dXNlcjpwYXNz@example.org/x",
    ],
)
def test_credentials_are_hidden_in_every_form_of_a_header(text: str) -> None:
    assert "dXNlcjpwYXNz" not in Redactor().clean(text)


def test_ordinary_text_stays_as_it_is() -> None:
    for text in (
        "pip install essa-service[wandb] into /home/essa-user",
        "the bearer of bad news is at http://127.0.0.1:8400/v1, see ftjob-0123456789abcdef",
        "authorization was refused",
    ):
        assert Redactor(["ab", ""]).clean(text) == text


def test_secrets_are_found_by_the_names_of_their_variables() -> None:
    environment = {
        "WANDB_API_KEY": "1",
        "MLFLOW_TRACKING_PASSWORD": "2",
        "ESSA_REWARD_SECRET_JUDGE_URL": "3",
        "HF_TOKEN": "4",
        "TOKENIZERS_PARALLELISM": "no",
        "PATH": "no",
    }
    assert sorted(secrets_of(environment)) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("sent", ["req-1", "a.b_C-9", "x" * 64])
def test_a_sane_request_id_is_kept(sent: str) -> None:
    assert request_id_from(sent) == sent


@pytest.mark.parametrize("sent", [None, "", "x" * 65, "two words", "line\nbreak", "ü", "-x", "{}"])
def test_any_other_request_id_is_replaced(sent: str | None) -> None:
    made = request_id_from(sent)
    assert made.startswith("req_")
    assert made != request_id_from(sent)


def test_an_unknown_level_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="ESSA_LOG_LEVEL is 'LOUD'"):
        Settings.from_environment({"ESSA_LOG_LEVEL": "loud"}, home=tmp_path)


def test_logging_loads_no_web_framework() -> None:
    code = (
        "import sys, alignment_api.observability.logs\n"
        "print([name for name in ('fastapi', 'starlette', 'prometheus_client') "
        "if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
