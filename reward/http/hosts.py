"""The servers that a reward may call."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

import httpx

from reward.errors import RewardConfigError
from reward.resources import RewardPolicy

Resolver = Callable[[str, int], Sequence[str]]
"""Function from a host name and a port to addresses as text; raises OSError. May block."""

Address = IPv4Address | IPv6Address

HOSTS_SETTING = "ESSA_REWARD_HOSTS"
PRIVATE_SETTING = "ESSA_REWARD_PRIVATE_HOSTS"

_PORTS = {"http": 80, "https": 443}
_GLOBAL_V6 = ip_network("2000::/3")
# Metadata services besides the link-local ones. They give the machine's credentials to any caller.
_METADATA = {
    ip_address(text)
    for text in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
}
# Networks whose last 32 bits are an IPv4 address: mapped, compatible and NAT64.
_V4_INSIDE = tuple(ip_network(text) for text in ("::ffff:0:0/96", "::/96", "64:ff9b::/96"))


def resolve(host: str, port: int) -> list[str]:
    """Ask the system for the addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class HostGuard:
    """The operator's policy, applied to URLs and to the addresses they lead to.

    An entry of `allowed_hosts` without a port allows all ports of its host; `*.example.org` allows
    the names under `example.org`, not that name itself.

    Args:
        policy: permissions given by the operator.
        setting: the full name of the setting that holds the URL, for messages.
        resolver: function from a name to addresses.
    Raises:
        RewardConfigError: an entry of the policy is not a host.
    """

    def __init__(self, policy: RewardPolicy, setting: str, resolver: Resolver = resolve) -> None:
        self._setting = setting
        self._resolver = resolver
        self._allow_private = policy.allow_private_hosts
        self._entries = [_entry(text) for text in policy.allowed_hosts]

    def check(self, url: httpx.URL) -> None:
        """Check a URL without resolving its host.

        Raises:
            RewardConfigError: the operator does not allow this host.
        """
        host, port = host_and_port(url)
        if url.scheme not in _PORTS or not host or url.userinfo:
            raise self._refused(f"{url.scheme}://{host} is not a plain http or https URL")
        if not any(entry.matches(host, port) for entry in self._entries):
            raise self._refused(
                f"the operator does not allow calls to {host}:{port}; "
                f"they would add it to {HOSTS_SETTING}"
            )
        literal = _literal(host)
        if literal is not None:
            self._check_address(host, literal)

    def addresses(self, url: httpx.URL) -> list[str]:
        """Return the addresses of the URL's host, all of them checked. May block.

        Raises:
            RewardConfigError: the operator does not allow the host or one of its addresses.
            OSError: the name does not resolve.
        """
        self.check(url)
        host, port = host_and_port(url)
        try:
            found = [ip_address(text) for text in self._resolver(host, port)]
        except UnicodeError as error:
            raise OSError(f"{host} is not a host name: {error}") from error
        # One bad address rules out the host: an honest name does not mix good and bad ones.
        for address in found:
            self._check_address(host, address)
        return [str(address) for address in found]

    def _check_address(self, host: str, address: Address) -> None:
        innermost = _innermost(address)
        where = host if host == str(address) else f"{host} is at {address}, which"
        if _is_never_called(innermost):
            raise self._refused(
                f"{where} is a link-local, multicast or metadata address; no reward may call it"
            )
        if not self._allow_private and not _is_public(innermost):
            raise self._refused(
                f"{where} is a private address; the operator allows those with {PRIVATE_SETTING}=1"
            )

    def _refused(self, problem: str) -> RewardConfigError:
        return RewardConfigError(f"{self._setting}: {problem}", field=self._setting)


def host_and_port(url: httpx.URL) -> tuple[str, int]:
    """Return the host, in lower case and ASCII, and the port of a URL."""
    return _normal(url.raw_host.decode("ascii")), url.port or _PORTS.get(url.scheme, 0)


class _Entry(NamedTuple):
    host: str
    port: int | None

    def matches(self, host: str, port: int) -> bool:
        if self.port not in (None, port):
            return False
        if self.host.startswith("*."):
            return host.endswith(self.host[1:])
        return host == self.host


def _entry(text: str) -> _Entry:
    bare_v6 = text.count(":") > 1 and not text.startswith("[")
    try:
        # Without a scheme, so that :80 and :443 are kept.
        url = httpx.URL(f"//[{text}]" if bare_v6 else f"//{text}")
        host, port = _normal(url.raw_host.decode("ascii")), url.port
    except (httpx.InvalidURL, ValueError):
        host, port = "", None
    if not host.strip("*.") or any(mark in text for mark in "/@?#% ") or "*" in host[1:]:
        raise RewardConfigError(
            f"{HOSTS_SETTING} has {text!r}, which is not a host; the operator writes "
            "scores.example.org, localhost:9000 or *.example.org",
            field=HOSTS_SETTING,
        )
    return _Entry(host, port)


def _normal(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        return host.lower().rstrip(".")


def _literal(host: str) -> Address | None:
    """Return the address that a host denotes without any name server; None if there is none."""
    if host == "localhost" or host.endswith(".localhost"):
        return ip_address("127.0.0.1")
    try:
        return ip_address(host)
    except ValueError:
        return None


def _innermost(address: Address) -> Address:
    """Return the address that packets reach: the IPv4 address if an IPv6 address wraps one."""
    if isinstance(address, IPv4Address):
        return address
    tunnelled = address.sixtofour or (address.teredo[1] if address.teredo else None)
    if tunnelled is not None:
        return tunnelled
    plain = IPv6Address(int(address))
    wraps = any(plain in network for network in _V4_INSIDE) and int(plain) > 1
    return IPv4Address(int(plain) & 0xFFFFFFFF) if wraps else plain


def _is_never_called(address: Address) -> bool:
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address in _METADATA
    )


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_V6:
        return False
    return address.is_global
