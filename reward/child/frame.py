"""Messages between a reward and its children: four bytes of length, then JSON."""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Callable
from typing import Any

HEADER = struct.Struct(">I")
MAX_BYTES = 64 * 2**20
"""Longest message; a longer one from a child is treated as garbage."""
CHUNK_BYTES = 65_536
WATCH_S = 0.1
"""Interval at which a waiting channel checks its child."""


class ChannelClosed(Exception):
    """The other end is gone, or sent something that is no message."""


class ChannelTimeout(Exception):
    """The other end did not answer in time."""


def pack(message: Any) -> bytes:
    """Return the bytes of one message.

    Raises:
        ValueError: JSON cannot carry the message, or the message is too long.
    """
    try:
        body = json.dumps(message).encode()
    except (TypeError, RecursionError) as error:
        raise ValueError(f"JSON cannot carry it: {error}") from error
    if len(body) > MAX_BYTES:
        raise ValueError(f"it has {len(body)} bytes; {MAX_BYTES} are the most")
    return HEADER.pack(len(body)) + body


def unpack(body: bytes) -> Any:
    """Return the message in these bytes.

    Raises:
        ChannelClosed: the bytes hold no message.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ChannelClosed(f"sent something that is no message: {error}") from error


def read_message(fd: int) -> Any:
    """Wait for one message on a blocking pipe.

    Raises:
        ChannelClosed: the pipe ended.
    """
    (length,) = HEADER.unpack(_read(fd, HEADER.size))
    return unpack(_read(fd, length))


def write_message(fd: int, message: Any) -> None:
    """Write one message to a blocking pipe."""
    left = memoryview(pack(message))
    while left:
        left = left[os.write(fd, left) :]


class Channel:
    """The service's end of a child's pipes. Both are made non-blocking.

    Args:
        write_fd: descriptor of the pipe to the child.
        read_fd: descriptor of the pipe from the child.
        watch: called every `WATCH_S` seconds while waiting; raises to end the waiting.
    """

    def __init__(self, write_fd: int, read_fd: int, watch: Callable[[], None]) -> None:
        self._write_fd = write_fd
        self._read_fd = read_fd
        self._watch = watch
        os.set_blocking(write_fd, False)
        os.set_blocking(read_fd, False)

    def exchange(self, packed: bytes, deadline_s: float) -> Any:
        """Send one packed message and wait for the answer.

        Args:
            deadline_s: deadline on the monotonic clock.
        Raises:
            ChannelTimeout: no answer came by the deadline.
            ChannelClosed: the child is gone or sent garbage.
        """
        left = memoryview(packed)
        while left:
            self._wait(self._write_fd, select.POLLOUT, deadline_s)
            try:
                left = left[os.write(self._write_fd, left[:CHUNK_BYTES]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise ChannelClosed("closed its end") from error
        (length,) = HEADER.unpack(self._receive(HEADER.size, deadline_s))
        if length > MAX_BYTES:
            raise ChannelClosed(f"announced a message of {length} bytes")
        return unpack(self._receive(length, deadline_s))

    def _receive(self, size: int, deadline_s: float) -> bytes:
        received = bytearray()
        while len(received) < size:
            self._wait(self._read_fd, select.POLLIN, deadline_s)
            try:
                part = os.read(self._read_fd, min(size - len(received), CHUNK_BYTES))
            except BlockingIOError:
                continue
            if not part:
                raise ChannelClosed("closed its end")
            received += part
        return bytes(received)

    def _wait(self, fd: int, event: int, deadline_s: float) -> None:
        poll = select.poll()
        poll.register(fd, event)
        while True:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise ChannelTimeout
            if poll.poll(min(left_s, WATCH_S) * 1000):
                return
            self._watch()


def _read(fd: int, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = os.read(fd, min(size - len(received), CHUNK_BYTES))
        if not part:
            raise ChannelClosed("closed its end")
        received += part
    return bytes(received)
