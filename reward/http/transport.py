"""Connections to checked addresses only."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx

from reward.http.hosts import HostGuard, host_and_port

MAX_CONNECT_S = 10.0
"""Longest wait for one address before the next is tried."""
_RESOLVER_THREADS = 4


class PinnedTransport(httpx.AsyncBaseTransport):
    """Sends every request to an address that the guard has checked, never to a bare name.

    The connection is made to the address itself, so that a name that changes its address after
    the check, as in DNS rebinding, gains nothing. Certificates are verified against the name. If
    the operator sets `SSL_CERT_FILE`, its authorities are trusted; no other environment variable
    is read, not even those for proxies.
    """

    def __init__(self, guard: HostGuard) -> None:
        self._guard = guard
        self._resolvers = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="reward-dns")
        self._certificates = httpx.create_ssl_context()
        self._pools: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host, _ = host_and_port(request.url)
        failure = httpx.ConnectError(f"{host} has no address")
        for address in await self._addresses(request.url):
            try:
                return await self._pool(host).handle_async_request(_pinned(request, host, address))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure

    async def aclose(self) -> None:
        # No waiting: a name server that does not answer must not delay closing.
        self._resolvers.shutdown(wait=False, cancel_futures=True)
        for pool in self._pools.values():
            await pool.aclose()

    async def _addresses(self, url: httpx.URL) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._resolvers, self._guard.addresses, url)
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error

    def _pool(self, host: str) -> httpx.AsyncHTTPTransport:
        # One pool per name: a pool finds its connections by address, and a connection whose
        # certificate was verified for one name must not carry requests for another.
        if host not in self._pools:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
            self._pools[host] = httpx.AsyncHTTPTransport(verify=self._certificates, limits=limits)
        return self._pools[host]


def _pinned(request: httpx.Request, host: str, address: str) -> httpx.Request:
    # The headers already hold `Host`, taken from the name.
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )
