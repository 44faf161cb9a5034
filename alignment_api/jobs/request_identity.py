"""Identity of a request, as a dependency for endpoints that create something."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import Depends, Header, Request

from alignment_api.jobs.creation import MOST_KEY_CHARS, RequestIdentity


async def _identity(
    request: Request,
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=MOST_KEY_CHARS, pattern=r"^[!-~]+$")
    ] = None,
    x_stainless_retry_count: Annotated[str | None, Header()] = None,
) -> RequestIdentity:
    content = request.url.path.encode() + b"\n" + await request.body()
    retries = x_stainless_retry_count or ""
    # Compared as text: Python refuses to parse numbers with thousands of digits.
    is_retry = retries.isascii() and retries.isdigit() and retries.strip("0") != ""
    return RequestIdentity(hashlib.sha256(content).hexdigest(), idempotency_key, is_retry)


Identity = Annotated[RequestIdentity, Depends(_identity)]
