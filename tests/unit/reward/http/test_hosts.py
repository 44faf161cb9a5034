"""Which servers a reward may call."""

from __future__ import annotations

from ipaddress import ip_address

import httpx
import pytest

from reward.errors import RewardConfigError
from reward.http.hosts import HostGuard
from reward.resources import RewardPolicy

PUBLIC = "93.184.215.14"


def guard(*hosts: str, private: bool = False, at: tuple[str, ...] = (PUBLIC,)) -> HostGuard:
    policy = RewardPolicy(allowed_hosts=hosts, allow_private_hosts=private)
    return HostGuard(policy, "reward.url", lambda host, port: at)


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("scores.example.org", "https://scores.example.org/v1"),
        ("scores.example.org", "http://scores.example.org:9000"),
        ("Scores.Example.org", "https://SCORES.example.ORG./"),
        ("scores.example.org:9000", "http://scores.example.org:9000"),
        ("scores.example.org:443", "https://scores.example.org"),
        ("*.example.org", "https://a.b.example.org"),
        ("*.example.org:8443", "https://a.example.org:8443"),
        ("bücher.example", "https://xn--bcher-kva.example"),
        (PUBLIC, f"http://{PUBLIC}"),
        ("2606:4700::1111", "http://[2606:4700:0::1111]:80"),
        ("[2606:4700::1111]:80", "http://[2606:4700::1111]"),
    ],
)
def test_a_host_on_the_list_is_allowed(entry: str, url: str) -> None:
    guard("other.example", entry).check(httpx.URL(url))


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("scores.example.org", "https://evil.example"),
        ("scores.example.org", "https://scores.example.org.evil.example"),
        ("scores.example.org", "https://xscores.example.org"),
        ("scores.example.org:9000", "http://scores.example.org:9001"),
        ("scores.example.org:443", "http://scores.example.org"),
        ("*.example.org", "https://example.org"),
        ("*.example.org", "https://evilexample.org"),
        ("*.example.org:8443", "https://a.example.org"),
    ],
)
def test_a_host_off_the_list_is_refused_and_named_with_the_operators_setting(
    entry: str, url: str
) -> None:
    with pytest.raises(RewardConfigError, match="ESSA_REWARD_HOSTS") as caught:
        guard(entry).check(httpx.URL(url))
    assert httpx.URL(url).host in str(caught.value)
    assert caught.value.detail == {"field": "reward.url"}


def test_an_empty_list_allows_nothing() -> None:
    with pytest.raises(RewardConfigError, match=r"example\.org:80; .* ESSA_REWARD_HOSTS"):
        guard().check(httpx.URL("http://example.org"))


@pytest.mark.parametrize(
    "url", ["ftp://scores.example.org", "file:///etc/passwd", "http://me:pw@scores.example.org"]
)
def test_only_plain_web_urls_are_allowed(url: str) -> None:
    with pytest.raises(RewardConfigError, match="not a plain http or https URL") as caught:
        guard("scores.example.org").check(httpx.URL(url))
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("entry", ["http://x.org", "*", "*.", "", "a b", "a.*.org", "u@x.org"])
def test_an_entry_that_is_no_host_is_named(entry: str) -> None:
    with pytest.raises(RewardConfigError, match="ESSA_REWARD_HOSTS has"):
        guard("fine.example", entry)


PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2001:0:53aa:64c::f5ff:fffe",
    "fd00::1",
    "fec0::1",
]
NEVER = [
    "169.254.169.254",
    "169.254.170.2",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "fe80::1",
    "fe80::1%1",
    "fd00:ec2::254",
    "100.100.100.200",
    "168.63.129.16",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_at_a_private_address_needs_the_operators_consent(address: str) -> None:
    url = httpx.URL("https://scores.example.org")
    with pytest.raises(RewardConfigError, match=r"private address.*ESSA_REWARD_PRIVATE_HOSTS"):
        guard("scores.example.org", at=(address,)).addresses(url)
    allowed = guard("scores.example.org", private=True, at=(address,)).addresses(url)
    assert allowed == [str(ip_address(address))]


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("private", [False, True])
def test_link_local_and_metadata_addresses_are_refused_whatever_is_allowed(
    address: str, private: bool
) -> None:
    with pytest.raises(RewardConfigError, match="no reward may call it"):
        guard("scores.example.org", private=private, at=(address,)).addresses(
            httpx.URL("https://scores.example.org")
        )


def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    with pytest.raises(RewardConfigError, match=r"10\.0\.0\.1"):
        guard("scores.example.org", at=(PUBLIC, "10.0.0.1")).addresses(
            httpx.URL("https://scores.example.org")
        )


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "a.localhost", "10.0.0.1"])
def test_an_address_in_the_url_is_refused_without_asking_a_name_server(host: str) -> None:
    with pytest.raises(RewardConfigError, match="ESSA_REWARD_PRIVATE_HOSTS"):
        guard("127.0.0.1", "::1", "localhost", "a.localhost", "10.0.0.1", at=()).check(
            httpx.URL(f"http://{host}:9000")
        )


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1"])
def test_other_ways_to_write_loopback_are_seen_through_once_resolved(host: str) -> None:
    policy = RewardPolicy(allowed_hosts=(host,))
    with pytest.raises(RewardConfigError, match="private address"):
        HostGuard(policy, "reward.url").addresses(httpx.URL(f"http://{host}"))
