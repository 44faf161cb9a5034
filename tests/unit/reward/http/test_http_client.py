"""The guarded client against real local servers."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from email.utils import formatdate
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest

from reward.errors import RewardCallError, RewardConfigError, RewardError
from reward.http.client import GuardedClient
from reward.http.exchange import Endpoint, Exchange, Message
from reward.http.hosts import HostGuard, resolve
from reward.http.retry import LONGEST_PAUSE_S, is_worth_a_retry, pause_s, retry_after_s
from reward.http.transport import PinnedTransport
from reward.resources import RewardPolicy
from reward.spec.external import HttpSpec
from tests.contract.scoring_server import Answer, Received, ScoringServer, running_server

Serve = Callable[..., ScoringServer]
KEY = "sk-very-secret"


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda *given, **named: stack.enter_context(running_server(*given, **named))


@pytest.fixture
def client() -> Iterator[Callable[..., GuardedClient]]:
    with ExitStack() as stack:

        def build(
            url: str,
            hosts: Sequence[str] = ("127.0.0.1",),
            resolver: Any = resolve,
            max_reply_bytes: int = 1000,
            **limits: Any,
        ) -> GuardedClient:
            endpoint = Endpoint(
                url,
                "reward.url",
                secret=KEY,
                credentials=lambda _: {"Authorization": f"Bearer {KEY}"},
                max_reply_bytes=max_reply_bytes,
            )
            policy = RewardPolicy(allowed_hosts=tuple(hosts), allow_private_hosts=True)
            spec = HttpSpec(**{"max_retries": 0, "timeout_s": 10.0, **limits})
            built = GuardedClient(endpoint, spec, "reward", policy, resolver)
            stack.callback(built.close)
            return built

        yield build


def one_after_another(*answers: Answer) -> Callable[[Received], Answer]:
    left = iter(answers)
    return lambda _: next(left)


def only(outcomes: list[bytes | RewardError]) -> bytes:
    (outcome,) = outcomes
    assert isinstance(outcome, bytes), outcome
    return outcome


def failure(outcomes: list[bytes | RewardError]) -> str:
    (outcome,) = outcomes
    assert isinstance(outcome, RewardError), outcome
    return outcome.message


def test_answers_come_in_the_order_of_the_messages(serve: Serve, client: Any) -> None:
    server = serve(lambda request: Answer(request.body.upper()))
    messages = [Message(f"m{number}".encode()) for number in range(20)]
    answers = client(server.url, concurrency=3).post_all(messages)
    assert answers == [f"M{number}".encode() for number in range(20)]


def test_building_a_client_starts_no_thread_and_asks_no_server(client: Any) -> None:
    before = threading.active_count()
    built = client("http://127.0.0.1:1/")
    assert built.post_all([]) == []
    assert threading.active_count() == before


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again_and_counted(
    serve: Serve, client: Any, status: int
) -> None:
    server = serve(one_after_another(Answer(b"busy", status), Answer(b"done")))
    built = client(server.url, max_retries=2)
    assert only(built.post_all([Message(b"x")])) == b"done"
    assert built.counts == (2, 1)


@pytest.mark.parametrize("status", [400, 401, 404, 408, 422])
def test_a_fault_of_the_request_is_not_tried_again(serve: Serve, client: Any, status: int) -> None:
    server = serve(lambda _: Answer(b"no such model", status))
    built = client(server.url, max_retries=3)
    message = failure(built.post_all([Message(b"x")]))
    assert f"127.0.0.1:{server.port} answered with status {status}: 'no such model'" in message
    assert len(server.received) == 1


def test_retries_end_and_the_last_failure_is_told(serve: Serve, client: Any) -> None:
    server = serve(lambda _: Answer(b"down", 502))
    built = client(server.url, max_retries=1)
    message = failure(built.post_all([Message(b"x")]))
    assert "status 502: 'down' (tried 2 times)" in message
    assert built.counts == (2, 1)


def test_retry_after_is_kept(serve: Serve, client: Any) -> None:
    server = serve(one_after_another(Answer(b"", 429, {"Retry-After": "2"}), Answer(b"done")))
    started_s = time.monotonic()
    assert only(client(server.url, max_retries=1).post_all([Message(b"x")])) == b"done"
    assert time.monotonic() - started_s >= 2


def test_a_retry_after_is_read_as_seconds_or_date_and_bounded() -> None:
    assert retry_after_s("7") == 7
    assert retry_after_s(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=5)
    assert retry_after_s(formatdate(time.time() - 30, usegmt=True)) == 0
    assert retry_after_s("soon") is None
    assert retry_after_s(None) is None
    assert pause_s(0, 3600.0) == LONGEST_PAUSE_S


def test_pauses_double_and_differ() -> None:
    pauses = [[pause_s(attempt, None) for _ in range(50)] for attempt in range(3)]
    for attempt, drawn in enumerate(pauses):
        assert 0.25 * 2**attempt <= min(drawn) < max(drawn) <= 0.5 * 2**attempt
    assert pause_s(60, None) == LONGEST_PAUSE_S
    assert not is_worth_a_retry(404)


def test_a_server_that_is_not_there_is_a_failure_after_retries(client: Any) -> None:
    built = client("http://127.0.0.1:1/", max_retries=1)
    message = failure(built.post_all([Message(b"x")]))
    assert "127.0.0.1:1 was lost or not reached: ConnectError" in message
    assert built.counts == (2, 1)


@pytest.mark.parametrize("drip_after", [0, 60], ids=["head", "body"])
def test_a_slow_drip_ends_at_the_timeout(serve: Serve, client: Any, drip_after: int) -> None:
    server = serve(lambda _: Answer(b"x" * 900, drip_after=drip_after))
    started_s = time.monotonic()
    message = failure(client(server.url, timeout_s=0.5).post_all([Message(b"x")]))
    assert time.monotonic() - started_s < 4
    assert "no whole answer within 0.5 s; raise reward.timeout_s" in message


def test_a_silent_server_is_tried_again_after_the_timeout(serve: Serve, client: Any) -> None:
    release = threading.Event()
    calls = iter([lambda: release.wait(20), lambda: None])

    def answer(_: Received) -> Answer:
        next(calls)()
        return Answer(b"done")

    built = client(serve(answer).url, timeout_s=0.5, max_retries=1)
    assert only(built.post_all([Message(b"x")])) == b"done"
    assert built.counts == (2, 1)
    release.set()


def test_a_name_server_that_hangs_ends_at_the_timeout(client: Any) -> None:
    release = threading.Event()

    def resolver(host: str, port: int) -> list[str]:
        release.wait(20)
        return ["127.0.0.1"]

    built = client("http://scores.test:1", ("scores.test",), resolver, timeout_s=0.3)
    started_s = time.monotonic()
    assert "no whole answer within 0.3 s" in failure(built.post_all([Message(b"x")]))
    built.close()
    assert time.monotonic() - started_s < 4
    release.set()


def test_an_oversized_answer_is_given_up(serve: Serve, client: Any) -> None:
    server = serve(lambda _: Answer(b"x" * 1001))
    message = failure(client(server.url, max_retries=2).post_all([Message(b"x")]))
    assert "more than 1000 bytes" in message
    assert len(server.received) == 1


def test_a_compressed_answer_is_refused_unread(serve: Serve, client: Any) -> None:
    server = serve(lambda _: Answer(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}))
    assert "encoding 'gzip'" in failure(client(server.url).post_all([Message(b"x")]))


# Redirects


def redirect(target: str, status: int = 307) -> Answer:
    return Answer(b"", status, {"Location": target})


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_within_the_server_keeps_body_and_credentials(
    serve: Serve, client: Any, status: int
) -> None:
    def answer(request: Received) -> Answer:
        return redirect("/b", status) if request.path == "/a" else Answer(request.body)

    server = serve(answer)
    assert only(client(f"{server.url}/a").post_all([Message(b"x")])) == b"x"
    assert [request.path for request in server.received] == ["/a", "/b"]
    assert server.received[1].headers["authorization"] == f"Bearer {KEY}"


def test_a_redirect_to_another_host_gets_no_credentials(serve: Serve, client: Any) -> None:
    there = serve(lambda request: Answer(request.body))
    here = serve(lambda _: redirect(f"http://other.test:{there.port}/"))
    built = client(here.url, ("127.0.0.1", "other.test"), lambda host, port: ["127.0.0.1"])
    assert only(built.post_all([Message(b"x")])) == b"x"
    assert "authorization" in here.received[0].headers
    assert "authorization" not in there.received[0].headers
    assert there.received[0].headers["host"] == f"other.test:{there.port}"


def test_a_redirect_to_a_host_off_the_list_is_refused(serve: Serve, client: Any) -> None:
    there = serve(lambda _: Answer(b"stolen"))
    here = serve(lambda _: redirect(f"http://localhost:{there.port}/"))
    message = failure(client(here.url).post_all([Message(b"x")]))
    assert "does not allow calls to localhost" in message
    assert "ESSA_REWARD_HOSTS" in message
    assert there.received == []


class LoopbackIsPublic(HostGuard):
    """Lets the first server be called: a test cannot have one at a public address."""

    def addresses(self, url: httpx.URL) -> list[str]:
        return ["127.0.0.1"] if url.host == "outside.test" else super().addresses(url)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("10.0.0.1", "private address"),
        ("127.0.0.1", "private address"),
        ("::ffff:192.168.0.1", "private address"),
        ("169.254.169.254", "no reward may call it"),
    ],
)
def test_a_redirect_to_a_private_address_is_refused(
    serve: Serve, address: str, reason: str
) -> None:
    server = serve(lambda _: redirect("http://inside.test/"))
    policy = RewardPolicy(allowed_hosts=("outside.test", "inside.test"))
    guard = LoopbackIsPublic(policy, "reward.url", lambda host, port: [address])
    exchange = Exchange(Endpoint(f"http://outside.test:{server.port}", "reward.url"), 10.0, "")

    async def post() -> None:
        transport = PinnedTransport(guard)
        try:
            await exchange.post(transport, Message(b"x"))
        finally:
            await transport.aclose()

    with pytest.raises(RewardConfigError, match=reason) as caught:
        asyncio.run(post())
    assert f"inside.test is at {ip_address(address)}" in str(caught.value)
    assert len(server.received) == 1


def test_more_than_three_redirects_are_a_failure(serve: Serve, client: Any) -> None:
    server = serve(lambda _: redirect("/again"))
    message = failure(client(server.url, max_retries=2).post_all([Message(b"x")]))
    assert "redirects more than 3 times; set reward.url" in message
    assert len(server.received) == 4


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_would_drop_the_body_names_its_target(
    serve: Serve, client: Any, status: int
) -> None:
    server = serve(lambda _: redirect("/new", status))
    message = failure(client(server.url).post_all([Message(b"x")]))
    assert f"status {status} to '/new'; set reward.url" in message


# Addresses


def test_a_name_that_moves_to_another_address_is_refused_at_its_next_request(
    serve: Serve, client: Any
) -> None:
    server = serve(lambda _: Answer(b"done", headers={"Connection": "close"}))
    addresses = iter([["127.0.0.1"], ["169.254.169.254"]])
    built = client(
        f"http://scores.test:{server.port}", ("scores.test",), lambda host, port: next(addresses)
    )
    assert only(built.post_all([Message(b"x")])) == b"done"
    assert "169.254.169.254" in failure(built.post_all([Message(b"x")]))


def test_the_connection_goes_to_the_address_that_was_checked(serve: Serve, client: Any) -> None:
    server = serve(lambda _: Answer(b"done"))
    asked = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    # Nobody else knows this name: a second look at it would fail.
    built = client(f"http://scores.test:{server.port}", ("scores.test",), resolver)
    assert only(built.post_all([Message(b"x")])) == b"done"
    assert asked == [("scores.test", server.port)]
    assert server.received[0].headers["host"] == f"scores.test:{server.port}"


def test_the_next_address_is_tried_where_one_is_not_reached(serve: Serve, client: Any) -> None:
    server = serve(lambda _: Answer(b"done"))
    built = client(
        f"http://scores.test:{server.port}",
        ("scores.test",),
        lambda host, port: ["127.0.0.2", "127.0.0.1"],
    )
    assert only(built.post_all([Message(b"x")])) == b"done"
    assert built.counts == (1, 0)


def test_a_name_without_address_is_a_failure(client: Any) -> None:
    def resolver(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    built = client("http://scores.test", ("scores.test",), resolver)
    assert "no such name" in failure(built.post_all([Message(b"x")]))


def test_a_host_off_the_list_is_refused_when_built(client: Any) -> None:
    with pytest.raises(RewardConfigError, match=r"reward\.url: .*evil\.example:443") as caught:
        client("https://evil.example")
    assert "ESSA_REWARD_HOSTS" in str(caught.value)


def test_proxies_of_the_environment_are_not_used(
    serve: Serve, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server = serve(lambda _: Answer(b"done"))
    assert only(client(server.url).post_all([Message(b"x")])) == b"done"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_is_verified_against_the_name_and_not_the_address(
    serve: Serve, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "certificate.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 "
        f"-subj /CN=scores.test -addext subjectAltName=DNS:scores.test "
        f"-keyout {file} -out {tmp_path / 'public.pem'}",
        shell=True,
        check=True,
        capture_output=True,
    )
    file.write_bytes(file.read_bytes() + (tmp_path / "public.pem").read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "public.pem"))
    server = serve(lambda _: Answer(b"done"), certificate=file)

    def post(name: str) -> list[bytes | RewardError]:
        url = f"https://{name}:{server.port}"
        return client(url, (name,), lambda host, port: ["127.0.0.1"]).post_all([Message(b"x")])

    assert only(post("scores.test")) == b"done"
    assert "certificate verify failed" in failure(post("other.test"))


# Threads, secrets, the end


def test_all_callers_together_stay_within_the_concurrency(serve: Serve, client: Any) -> None:
    def answer(request: Received) -> Answer:
        time.sleep(0.02)
        return Answer(request.body)

    server = serve(answer)
    built = client(server.url, concurrency=3)
    wrong: list[Any] = []

    def call(name: str) -> None:
        messages = [Message(f"{name}{number}".encode()) for number in range(10)]
        answers = built.post_all(messages)
        wrong.extend(a for a, m in zip(answers, messages, strict=True) if a != m.body)

    callers = [threading.Thread(target=call, args=(name,)) for name in "abcd"]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert wrong == []
    assert 2 <= server.most_at_once <= 3
    assert built.counts == (40, 0)


def test_a_secret_is_in_no_message_and_no_repr(serve: Serve, client: Any) -> None:
    answers = [
        Answer(f"{'x' * 150} bad key {KEY}".encode(), 401),
        redirect(f"http://{KEY}.test/"),
        redirect(f"/?key={KEY}", 302),
    ]
    server = serve(one_after_another(*answers))
    built = client(server.url)
    for _ in answers:
        message = failure(built.post_all([Message(b"x")]))
        assert KEY not in message
        assert KEY[:8] not in message
    shown = repr(built) + repr(vars(built)) + repr(Endpoint("http://x", "x", secret=KEY))
    assert KEY not in shown


def test_closing_gives_up_what_is_under_way(serve: Serve, client: Any) -> None:
    arrived, release = threading.Event(), threading.Event()

    def answer(_: Received) -> Answer:
        arrived.set()
        release.wait(20)
        return Answer(b"late")

    built = client(serve(answer).url, timeout_s=60)
    outcomes: list[Any] = []
    caller = threading.Thread(target=lambda: outcomes.extend(built.post_all([Message(b"x")] * 3)))
    caller.start()
    assert arrived.wait(10)
    started_s = time.monotonic()
    built.close()
    caller.join(10)
    assert time.monotonic() - started_s < 5
    assert [type(outcome) for outcome in outcomes] == [RewardCallError] * 3
    assert "was closed" in outcomes[0].message
    release.set()


def test_a_client_frees_its_thread_when_closed_and_opens_again(serve: Serve, client: Any) -> None:
    server = serve(lambda _: Answer(b"done"))
    built = client(server.url)
    assert only(built.post_all([Message(b"x")])) == b"done"
    built.close()
    built.close()
    assert not any(thread.name == "reward-http" for thread in threading.enumerate())
    assert only(built.post_all([Message(b"x")])) == b"done"
