"""Completions of a project's models, asked for with OpenAI's client."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.integration.api_harness import wait_until
from tests.integration.api_inference_bench import CHAT, Bench, bench, pids
from tests.integration.api_scripted_model_server import ODD_TEXT


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """For tests that leave the server running."""
    with bench(tmp_path_factory.mktemp("inference")) as one:
        yield one


def test_base_warm_start_and_aligned_model_answer_under_their_own_names(shared):
    answers = {name: shared.ask("hi", name) for name in ("org/model", shared.warm_start)}
    answers[shared.aligned] = shared.ask("hi")
    for name, answer in answers.items():
        assert answer.model == name
    texts = [answer.choices[0].message.content for answer in answers.values()]
    assert texts[0] == "base says hi"
    assert texts[1].startswith(f"{shared.job_id}-warm_start-")
    assert texts[2].startswith(f"{shared.job_id}-aligned-")
    assert len(pids(shared.base)) == 1


def test_an_adapter_is_loaded_once_and_again_under_another_name_when_it_changes(shared):
    model = shared.add_job(shared.base)
    names = {shared.said("hi", model) for _ in range(3)}
    assert len(names) == 1
    folder = shared.service.settings.job_dir(f"ftjob-{model.split(':')[4]}") / "run" / "adapter"
    (folder / "adapter_model.safetensors").write_bytes(b"other weights")
    names.add(shared.said("hi", model))
    assert len(names) == 2
    loaded = [name for name in shared.log("adapter") if f"{name} says hi" in names]
    assert len(loaded) == len(set(loaded)) == 2


def test_a_stream_brings_the_text_whole_with_any_letter(shared):
    chunks = list(shared.ask("odd", stream=True, stream_options={"include_usage": True}))
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(texts) == ODD_TEXT
    assert len(texts) > 5
    assert {chunk.model for chunk in chunks} == {shared.aligned}
    assert chunks[-1].usage.completion_tokens == len(ODD_TEXT)
    assert shared.said("odd") == ODD_TEXT


def test_completions_answer_whole_and_as_a_stream(shared):
    given = {"model": "org/model", "prompt": "Once"}
    whole = shared.client.completions.create(**given, n=2, temperature=0.5, seed=3)
    assert [choice.text for choice in whole.choices] == ["base says Once"] * 2
    stream = shared.client.completions.create(**given, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "base says Once"
    request = shared.log("request")[-2]
    assert (request["n"], request["temperature"], request["seed"]) == (2, 0.5, 3)


def test_the_server_is_given_what_the_request_says_and_no_more(shared):
    shared.client.chat.completions.create(
        model=shared.aligned,
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "Ada"},
        ],
        max_completion_tokens=7,
        stop=["\n"],
        logprobs=True,
        top_logprobs=2,
        user="someone",
        metadata={"a": "b"},
    )
    request = shared.log("request")[-1]
    request.pop("model")
    assert request == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        ],
        "max_completion_tokens": 7,
        "n": 1,
        "stop": ["\n"],
        "stream": False,
        "logprobs": True,
        "top_logprobs": 2,
    }


def test_an_unknown_model_is_not_found(shared):
    for name in ("gpt-5", shared.aligned + ":ckpt-step-1", shared.aligned + "x", "ft:a:b:c:d"):
        with pytest.raises(openai.NotFoundError) as told:
            shared.ask("hi", name)
        assert told.value.code == "model_not_found"
        assert told.value.param == "model"
        assert name in told.value.message


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"temperature": 3}, "temperature", "set it to 2 or less"),
        ({"max_tokens": 0}, "max_tokens", "1 or more"),
        ({"max_tokens": 5000}, "max_tokens", "ESSA_INFERENCE_MAX_TOKENS = 1024"),
        ({"n": 100}, "n", "16 or less"),
        ({"messages": []}, "messages", "give 1 entry or more"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role", "'system'"),
        ({"extra_body": {"chat_template": "{{x}}"}}, "chat_template", "chat_template"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "tools"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(shared, changes, param, words):
    given = {"model": shared.aligned, "messages": [{"role": "user", "content": "hi"}]}
    with pytest.raises(openai.BadRequestError) as told:
        shared.client.chat.completions.create(**given | changes)
    assert told.value.param == param
    assert words in told.value.message


def test_text_that_is_no_unicode_is_refused(shared):
    body = {"model": "org/model", "messages": [{"role": "user", "content": "\ud800"}]}
    headers = {"Content-Type": "application/json"}
    answer = shared.service.client.post(CHAT, content=json.dumps(body), headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == "messages.0.content"


def test_what_the_model_server_refuses_is_told_as_the_client_expects_it(shared):
    with pytest.raises(openai.BadRequestError) as told:
        shared.ask("too long")
    assert told.value.code == "context_length_exceeded"
    assert "ESSA_INFERENCE_MAX_MODEL_LEN" in told.value.message
    with pytest.raises(openai.APIStatusError) as failed:
        shared.ask("fail")
    assert failed.value.status_code == 503
    assert failed.value.code == "model_server_failed"
    with pytest.raises(openai.APIError, match="no memory"):
        list(shared.ask("fail in stream", stream=True))


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_client_that_goes_away_ends_its_answer(shared, is_stream):
    before = len(shared.log("broken_off"))
    body = {"model": shared.aligned, "messages": [{"role": "user", "content": "hang"}]}
    with httpx.Client(base_url=shared.service.url, trust_env=False) as client:
        if is_stream:
            with client.stream("POST", CHAT, json=body | {"stream": True}) as answer:
                next(answer.iter_bytes())
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post(CHAT, json=body, timeout=0.5)
    wait_until(lambda: len(shared.log("broken_off")) > before, "the answer to be broken off")
    wait_until(lambda: shared.service.app.state.inference._running == 0, "nothing to run")
