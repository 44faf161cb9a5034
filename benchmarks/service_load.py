"""What watchers cost: a running job watched by 200 people, and the service read 20 times a second.

`essa serve` runs a real job. Blocks of generations without watchers take turns with blocks that are
watched; the job's throughput is compared turn by turn. Readers ask for the job, the list of jobs,
its events and its generations in turn. All viewers of a block come at once and are sent the job's
history: the reads of those seconds are shown apart.

Engines have the first core, watchers and readers run in this process on the last one, beside the
service: what is measured includes the cost of 200 clients on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from populations import CACHE
from report import print_json, print_table, ratio, shown_ratio

from essa.spec.reading.file import load_job_file

JOB = Path(__file__).parents[1] / "examples" / "upbeat" / "job.yaml"
READS = ("", "/events?limit=50", "/generations")
START_TIMEOUT_S = 60.0
POLL_S = 0.5
OPENING_S = 5.0
"""Of a watched block, in which its viewers connect and catch up."""


@dataclass
class Seen:
    """What clients saw.

    Attributes:
        latencies_s: of the reads, by what was read, those while viewers connect apart.
        statuses: answers that were not 200.
        events: messages that watchers received.
    """

    latencies_s: dict[str, list[float]] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    events: int = 0


def main() -> None:
    """Run the job, watch it in turns, print what it cost."""
    arguments = _arguments()
    with TemporaryDirectory() as folder:
        process, server, key = _serve(Path(folder))
        try:
            seen, generations = asyncio.run(_measure(server, key, arguments))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    _print(seen, generations, arguments)


def _serve(home: Path) -> tuple[subprocess.Popen[bytes], str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (home / "cache").symlink_to(CACHE.resolve())
    environment = os.environ | {"ESSA_HOME": str(home), "ESSA_REQUESTS_PER_MINUTE": "100000"}
    essa = [sys.executable, "-m", "alignment_api.cli.main"]
    adding = [*essa, "keys", "add", "load"]
    key = subprocess.run(adding, env=environment, check=True, capture_output=True, text=True)
    process = subprocess.Popen([*essa, "serve", "--port", str(port)], env=environment)
    server = f"http://127.0.0.1:{port}"
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            httpx.get(f"{server}/healthz", trust_env=False).raise_for_status()
            return process, server, key.stdout.strip()
        except httpx.HTTPError:
            time.sleep(0.2)
    sys.exit("the service did not start")


async def _measure(
    server: str, key: str, arguments: argparse.Namespace
) -> tuple[Seen, list[dict[str, Any]]]:
    """Submit the job and watch it in turns; the finished generations with `is_watched`."""
    seen = Seen()
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=server, headers=headers, trust_env=False) as client:
        client.timeout = httpx.Timeout(60.0)
        job_id = await _submit(client, arguments)
        path = f"/v1/fine_tuning/jobs/{job_id}"
        await _until_generation(client, path, 1)
        marks = []
        for turn in range(arguments.turns):
            for is_watched in (False, True):
                done = 1 + (2 * turn + is_watched + 1) * arguments.block
                work = asyncio.create_task(_until_generation(client, path, done))
                tasks = _clients(server, key, path, seen, arguments) if is_watched else []
                marks.append((is_watched, await work))
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        rows = (await client.get(f"{path}/generations", params={"limit": 1000})).json()["data"]
        await client.post(f"{path}/cancel")
    return seen, _labelled(rows, marks)


def _labelled(rows: list[dict[str, Any]], marks: list[tuple[bool, int]]) -> list[dict[str, Any]]:
    """Give each generation the block it fell into; the first of a block saw both states."""
    found, first = [], 2
    for block, (is_watched, last) in enumerate(marks):
        inside = [row for row in rows if first < row["generation"] <= last]
        found += [{**row, "block": block, "is_watched": is_watched} for row in inside]
        first = last
    return found


async def _submit(client: httpx.AsyncClient, arguments: argparse.Namespace) -> str:
    generations = 1 + 2 * arguments.turns * arguments.block + 2
    spec = load_job_file(
        JOB,
        [
            f"budget={{generations: {generations}}}",
            "search.sigma_init=3.0",
            "engine.workers=1",
            "evaluation.every=1000",
            "data.validation.limit=20",
            "warm_start.max_prompts=40",
        ],
    )
    answer = await client.post("/v1/fine_tuning/jobs", json=spec.model_dump(mode="json"))
    if not answer.is_success:
        sys.exit(answer.text)
    return answer.json()["id"]


async def _until_generation(client: httpx.AsyncClient, path: str, generation: int) -> int:
    while True:
        job = (await client.get(path)).json()
        if job["status"] in ("failed", "cancelled", "succeeded"):
            sys.exit(f"the job has {job['status']}: {json.dumps(job['error'])}")
        done = job["essa"]["progress"]["generation"] or 0
        if done >= generation:
            return done
        await asyncio.sleep(POLL_S)


def _clients(
    server: str, key: str, path: str, seen: Seen, arguments: argparse.Namespace
) -> list[asyncio.Task[None]]:
    watchers = [
        asyncio.create_task(_watch(server, key, path, seen)) for _ in range(arguments.viewers)
    ]
    return [*watchers, asyncio.create_task(_read(server, key, path, seen, arguments.reads_per_s))]


async def _watch(server: str, key: str, path: str, seen: Seen) -> None:
    """One viewer of the event stream, on a bare connection: clients must not be the load."""
    host, port = server.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        lines = [
            f"GET {path}/events HTTP/1.1",
            f"Host: {host}",
            f"Authorization: Bearer {key}",
            "Accept: text/event-stream",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        while line := await reader.readline():
            seen.events += line.startswith(b"event:")
    finally:
        writer.close()


async def _read(server: str, key: str, path: str, seen: Seen, reads_per_s: float) -> None:
    """Read at a steady rate, whether or not earlier reads have been answered."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=server, headers=headers, trust_env=False) as client:
        client.timeout = httpx.Timeout(60.0)
        running: set[asyncio.Task[None]] = set()
        paths = [path + part for part in READS] + ["/v1/fine_tuning/jobs"]
        number, began_s = 0, time.perf_counter()
        while True:
            kind = number % len(paths)
            name = ("job", "events", "generations", "list")[kind]
            if time.perf_counter() - began_s < OPENING_S:
                name += ", viewers opening"
            task = asyncio.create_task(_one_read(client, paths[kind], name, seen))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
            await asyncio.sleep(1 / reads_per_s)


async def _one_read(client: httpx.AsyncClient, path: str, name: str, seen: Seen) -> None:
    began_s = time.perf_counter()
    answer = await client.get(path)
    seen.latencies_s.setdefault(name, []).append(time.perf_counter() - began_s)
    if answer.status_code != 200:
        seen.statuses.append(answer.status_code)


def _print(seen: Seen, generations: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    by_block: dict[int, list[float]] = {}
    for row in generations:
        by_block.setdefault(row["block"], []).append(row["tokens_per_s"])
    medians = [statistics.median(by_block[block]) for block in sorted(by_block)]
    throughput = ratio(medians[1::2], medians[0::2])
    shown = [
        [name, len(times), *(1000 * _quantile(times, share) for share in (0.5, 0.99, 1.0))]
        for name, times in sorted(seen.latencies_s.items())
    ]
    print_table(("read", "count", "median ms", "p99 ms", "largest ms"), shown)
    alone = statistics.median(medians[0::2])
    print_table(
        ("viewers", "events seen", "reads not 200", "tokens/s alone", "watched / alone"),
        [[arguments.viewers, seen.events, len(seen.statuses), alone, shown_ratio(throughput)]],
    )
    print_json(
        "service_load",
        viewers=arguments.viewers,
        reads_per_s=arguments.reads_per_s,
        events=seen.events,
        not_ok=seen.statuses,
        latency_ms={name: [round(v, 2) for v in cells] for name, _, *cells in shown},
        throughput=throughput,
        tokens_per_s=medians,
    )


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--reads-per-s", type=float, default=20.0)
    parser.add_argument("--turns", type=int, default=4, help="pairs of blocks")
    parser.add_argument("--block", type=int, default=4, help="generations in a block")
    return parser.parse_args()


if __name__ == "__main__":
    main()
