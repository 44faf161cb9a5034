"""Make slow exports one after another, each in its own process."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from alignment_api.exports.schemas import Export, ExportFailure, ExportStatus
from alignment_api.exports.shelf import FOLDER, ExportShelf
from alignment_api.processes.child import JobChild
from alignment_api.processes.devices import Share
from alignment_api.settings import Settings
from essa.spec.export import ExportSpec

logger = logging.getLogger(__name__)

_INTERRUPTED = ExportFailure(
    code="export_interrupted",
    message="the service stopped before this export was done; ask for it again",
)


class _Order(NamedTuple):
    shelf: ExportShelf
    run_dir: Path
    spec: ExportSpec


class ExportRunner:
    """A thread that makes the ordered exports. Its methods are thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._orders: queue.Queue[_Order | None] = queue.Queue()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="exports", daemon=True)

    def start(self) -> None:
        """Settle orders that an earlier service left unfinished, and start the thread."""
        for folder in self._settings.home.glob(f"jobs/*/{FOLDER}"):
            shelf = ExportShelf(folder.parent)
            shelf.drop_scratch()
            for record in shelf.all():
                if record.status.is_working:
                    shelf.put(record.spec, ExportStatus.CANCELLED, _INTERRUPTED)
        self._thread.start()

    def stop(self) -> None:
        """Cancel the running export and all waiting ones. Blocking."""
        self._stopping.set()
        self._orders.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def order(self, shelf: ExportShelf, run_dir: Path, spec: ExportSpec) -> Export:
        """Make an export in the background; return a finished, running or waiting one as it is."""
        with self._lock:
            found = shelf.find(spec)
            if found is not None and (
                found.status.is_working or found.status is ExportStatus.SUCCEEDED
            ):
                return found
            record = shelf.put(spec, ExportStatus.QUEUED)
            self._orders.put(_Order(shelf, run_dir, spec))
            return record

    def _loop(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                self._make(order)
            except Exception as error:
                # The thread must outlive a full disk.
                logger.exception("the export %s of %s failed", order.spec, order.run_dir)
                failure = ExportFailure(code="export_failed", message=f"the export failed: {error}")
                self._put(order, ExportStatus.FAILED, failure)

    def _make(self, order: _Order) -> None:
        if self._stopping.is_set():
            self._put(order, ExportStatus.CANCELLED, _INTERRUPTED)
            return
        shelf, spec = order.shelf, order.spec
        logger.info("export %s of %s starts", spec, order.run_dir)
        self._put(order, ExportStatus.RUNNING)
        shelf.failure(spec).unlink(missing_ok=True)
        child = JobChild(self._argv(order), shelf.log(spec), Share())
        try:
            while child.exit_status(self._settings.poll_s) is None:
                if self._stopping.is_set():
                    child.stop(self._settings.shutdown_grace_s)
                    self._put(order, ExportStatus.CANCELLED, _INTERRUPTED)
                    return
        finally:
            child.kill()
            shelf.drop_scratch(spec.key)
        status = child.exit_status()
        if status == 0:
            self._put(order, ExportStatus.SUCCEEDED)
        else:
            self._put(order, ExportStatus.FAILED, _failure(order, status))

    def _put(
        self, order: _Order, status: ExportStatus, failure: ExportFailure | None = None
    ) -> None:
        with self._lock:
            order.shelf.put(order.spec, status, failure)
        logger.info("export %s of %s is %s", order.spec, order.run_dir, status)

    def _argv(self, order: _Order) -> list[str]:
        shelf, spec = order.shelf, order.spec
        return [
            *(sys.executable, "-m", "alignment_api.exports.process"),
            *(str(order.run_dir), str(shelf.archive(spec))),
            *("--spec", spec.model_dump_json()),
            *("--cache-dir", str(self._settings.cache_dir)),
            *("--failure", str(shelf.failure(spec))),
            *("--parent", str(os.getpid())),
        ]


def _failure(order: _Order, status: int | None) -> ExportFailure:
    try:
        return ExportFailure.model_validate_json(order.shelf.failure(order.spec).read_bytes())
    except (OSError, ValidationError):
        log = order.shelf.log(order.spec)
        how = f"by signal {-status}" if status is not None and status < 0 else f"with {status}"
        hint = " (perhaps out of memory)" if status == -9 else ""
        return ExportFailure(
            code="export_process_ended",
            message=f"the export's process ended {how}{hint}; its log is {log}",
        )
