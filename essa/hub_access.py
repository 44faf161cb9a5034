"""Find out within seconds whether a model of the hub can be fetched.

The hub's own client waits minutes for a network that silently drops its packets.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

from essa.errors import MachineError

_TIMEOUT_S = 5.0
_LONGEST_S = 10.0


def require_base(path: str) -> None:
    """Refuse a base model that is not on this machine while the hub cannot be reached.

    Args:
        path: `model.path` of a job: a folder, a name on the hub, or `package:name`.
    Raises:
        MachineError: the base model is not on this machine, and the hub does not answer.
    """
    is_folder = path.startswith((".", "/", "~")) or Path(path).is_dir()
    if not is_folder and ":" not in path and path.count("/") <= 1:
        require_hub(path)


def require_hub(name: str, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse a model that is neither in the hub's cache nor can be fetched.

    Args:
        name: `owner/name` or `name` on the hub.
        environment: variables of which `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE` and
            `XDG_CACHE_HOME` are read, as by the hub's client.
    Raises:
        MachineError: the model is not in the cache, and the hub does not answer.
    """
    if is_cached(name, environment):
        return
    known = f"model.path is '{name}', which is not in the hub's cache {hub_cache(environment)}"
    if is_offline(environment):
        raise MachineError(
            f"{known}, and HF_HUB_OFFLINE forbids to fetch it; unset it, or set model.path to a "
            "folder",
            field="model.path",
        )
    fault = hub_fault()
    if fault is not None:
        raise MachineError(
            f"{known}, and the hub cannot be reached: {fault}; connect this machine (HTTPS_PROXY "
            "names a proxy, HF_ENDPOINT another hub), or set model.path to a folder",
            field="model.path",
        )


def is_cached(name: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether any revision of the model has been fetched."""
    hub = hub_cache(environment)
    return hub is not None and any(
        hub.glob(f"models--{name.replace('/', '--')}/snapshots/*/config.json")
    )


def hub_cache(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder in which the hub's client caches models; None if the user has no home."""
    if environment.get("HF_HUB_CACHE"):
        return Path(environment["HF_HUB_CACHE"])
    if environment.get("HF_HOME"):
        return Path(environment["HF_HOME"]) / "hub"
    if environment.get("XDG_CACHE_HOME"):
        return Path(environment["XDG_CACHE_HOME"]) / "huggingface" / "hub"
    try:
        return Path.home() / ".cache" / "huggingface" / "hub"
    except RuntimeError:
        return None


def is_offline(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the hub's client is configured not to use the network."""
    return environment.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON")


def hub_fault() -> str | None:
    """Return why the hub cannot be reached; None if it answers at all, even with an error."""
    from huggingface_hub.constants import ENDPOINT

    fault = _fault(ENDPOINT)
    return None if fault is None else f"{ENDPOINT}: {fault}"


def _fault(address: str) -> str | None:
    found: list[str] = []
    # In a thread, because a DNS lookup has no timeout of its own.
    asking = threading.Thread(target=_ask, args=(address, found), daemon=True)
    asking.start()
    asking.join(_LONGEST_S)
    if asking.is_alive():
        return f"no answer within {_LONGEST_S:.0f} s"
    return found[0] if found else None


def _ask(address: str, found: list[str]) -> None:
    import httpx

    try:
        httpx.head(address, timeout=_TIMEOUT_S)
    except httpx.TimeoutException:
        found.append(f"no answer within {_TIMEOUT_S:.0f} s")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        found.append(str(error) or type(error).__name__)
