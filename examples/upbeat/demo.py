"""`make demo`: start the service, submit the upbeat job over REST, watch it, show the result.

Everything it starts ends with it, on Ctrl-C too. Writes build/demo/result.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from rich.console import Console

from alignment_api.cli.client import ApiClient
from alignment_api.cli.watching import watch_job
from alignment_api.preflight import require_machine
from alignment_api.settings import Settings
from essa.errors import MachineError
from essa.events import ResultEvent
from essa.spec import AlignmentJobSpec
from essa.spec.file import load_job_file

HERE = Path(__file__).resolve().parent
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


def main() -> int:
    """Run the demo; returns 0 if the job succeeded."""
    arguments = _arguments()
    console = Console()
    out = arguments.out.resolve()
    started_s = time.monotonic()
    job = load_job_file(arguments.job, arguments.set)
    _require_machine(job, out)
    out.mkdir(parents=True, exist_ok=True)
    # SIGTERM ends the demo as Ctrl-C does; a shell may have started it with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    server = f"http://127.0.0.1:{arguments.port or _free_port()}"
    process = _serve(server, out, job.engine.workers)
    try:
        _wait_until_up(server, process, out)
        console.print(f"service at {server}, its log in {out / 'serve.log'}")
        with ApiClient(server) as client:
            job_id = client.submit(job)["id"]
            code = watch_job(client, job_id, console)
            finished = client.job(job_id)
    except KeyboardInterrupt:
        console.print("interrupted; stopping the service")
        return 130
    finally:
        _stop(process)
    if code == 0:
        result = ResultEvent.model_validate(finished["essa"]["result"])
        _write_result(out / "result.json", job_id, result, time.monotonic() - started_s)
        console.print(f"\nfigures of this run: {out / 'result.json'}")
    return code


def _require_machine(job: AlignmentJobSpec, out: Path) -> None:
    """End at once where the service would refuse the job."""
    try:
        require_machine(job, Settings.from_environment(os.environ, home=out / "home"))
    except MachineError as error:
        print(error.message, file=sys.stderr)
        sys.exit(2)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, default=HERE / "job.yaml", help="job file to submit")
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="folder to write to")
    parser.add_argument("--port", type=int, default=0, help="port of the service; 0 takes any")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="override, e.g. seed=1"
    )
    return parser.parse_args()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _serve(server: str, out: Path, engines: int) -> subprocess.Popen[bytes]:
    port = server.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "alignment_api.cli.main", "serve", "--port", port]
    with (out / "serve.log").open("wb") as log:
        # Its own session: Ctrl-C reaches the demo alone, which then stops the service in order.
        return subprocess.Popen(
            [*command, "--home", str(out / "home")],
            # One person on one machine: no keys, and the whole machine for the one job.
            env=os.environ | {"ESSA_AUTH": "off", "ESSA_ENGINE_SLOTS": str(engines)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_until_up(server: str, process: subprocess.Popen[bytes], out: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{server}/healthz", trust_env=False, timeout=2.0).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    log = (out / "serve.log").read_text(errors="replace").strip().splitlines()
    sys.exit("the service did not start:\n" + "\n".join(log[-10:]))


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    # A second Ctrl-C must not cut this short.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _write_result(path: Path, job_id: str, result: ResultEvent, seconds: float) -> None:
    summary = {
        "job_id": job_id,
        "test": {name: score.model_dump(mode="json") for name, score in result.test.items()},
        "generations": result.generations,
        "seconds": round(seconds, 1),
        "adapter": result.adapter,
    }
    path.write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
