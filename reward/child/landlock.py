"""Landlock: a process gives up rights, without being root.

Source:
    Linux kernel documentation, "Landlock: unprivileged access control"; the numbers are those of
    `linux/landlock.h`, and the system calls have the same numbers on every architecture we run on.
"""

from __future__ import annotations

import ctypes
import os
import struct

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_FOR_VERSION = 1
_RULE_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES = 38

_WRITE_FILE = 1 << 1
# WRITE_FILE, then removing and creating every kind of file: bits 4 to 12.
_WRITE = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))
_MOVE_BETWEEN_FOLDERS = 1 << 13  # from version 2
_TRUNCATE = 1 << 14  # from version 3
_TCP = 0b11  # bind and connect, from version 4
_OUTSIDE = 0b11  # abstract Unix sockets and signals, from version 6


def confine(folder: str) -> str | None:
    """Restrict this process and all its children: they may write only beneath `folder`, use no TCP,
    and neither signal processes outside nor read their memory or environment.

    Returns:
        None, or a note on what the kernel cannot forbid.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_FOR_VERSION)
    if version < 1:
        return "Landlock is not available, so it can write wherever the service can"
    rights = _WRITE | (_MOVE_BETWEEN_FOLDERS if version >= 2 else 0)
    rights |= _TRUNCATE if version >= 3 else 0
    attributes = [rights, _TCP if version >= 4 else 0, _OUTSIDE if version >= 6 else 0]
    # Older kernels know a shorter structure.
    size = 8 * (1 + (version >= 4) + (version >= 6))
    packed = struct.pack("=QQQ", *attributes)[:size]
    ruleset = libc.syscall(_CREATE_RULESET, packed, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return f"Landlock refused the rules ({os.strerror(ctypes.get_errno())})"
    try:
        _allow(libc, ruleset, folder, rights)
        _allow(libc, ruleset, os.devnull, _WRITE_FILE | (rights & _TRUNCATE))
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        if libc.syscall(_RESTRICT_SELF, ruleset, 0) < 0:
            return f"Landlock could not be switched on ({os.strerror(ctypes.get_errno())})"
    finally:
        os.close(ruleset)
    return None if version >= 6 else f"Landlock has version {version}, which guards less than 6"


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, fd)
        libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(fd)
