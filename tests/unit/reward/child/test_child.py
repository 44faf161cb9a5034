"""Real children, real limits. Nothing here is simulated."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reward.child import pool as pool_module
from reward.child import process as process_module
from reward.child.limits import ChildLimits
from reward.child.pool import Answer, ChildPool
from reward.child.process import Program
from reward.errors import RewardError, RewardTimeoutError
from tests.narrowing import of_kind

ROOT = Path(__file__).parents[4]
EVALUATE = "import os, sys, time\ndef f(code):\n    return eval(code)\n"
COUNT = "seen = []\ndef f(code):\n    seen.append(code)\n    return len(seen)\n"

Open = Callable[..., ChildPool]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the children of this test have their folders, by which they can be told apart."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def opened() -> Iterator[Open]:
    pools: list[ChildPool] = []

    def open_pool(source: str = EVALUATE, *, size: int = 1, retries: int = 0, **limits: Any) -> Any:
        arguments = {"source": source, "filename": "given", "function": "f", "style": "openai"}
        program = Program("reward.user_code.program", arguments)
        allowed = ChildLimits(**{"timeout_s": 20.0, **limits})
        pools.append(ChildPool(program, allowed, "reward", max_retries=retries, size=size))
        return pools[-1]

    yield open_pool
    for pool in pools:
        pool.close()


def item(code: Any) -> Any:
    return [[code], {}]


def value(answer: Answer | RewardError) -> Any:
    assert isinstance(answer, Answer), answer
    return answer.value


def error(answer: Answer | RewardError) -> str:
    assert isinstance(answer, RewardError), answer
    return answer.message


def processes(folder: Path) -> list[int]:
    """Processes that work in a folder below this one."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd").startswith(str(folder)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_until(condition: Callable[[], Any], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_an_item_is_scored_and_the_child_kept_for_the_next(opened: Open) -> None:
    pool = opened(COUNT)
    assert [value(answer) for answer in pool.map([item(0)] * 3)] == [1, 2, 3]
    assert value(pool.run(item(0))) == 4


def test_an_endless_loop_is_killed_and_the_others_are_scored(opened: Open, folder: Path) -> None:
    pool = opened("def f(n):\n    while n < 0:\n        pass\n    return n\n", timeout_s=1)
    began = time.monotonic()
    first, hung, last = pool.map([item(1), item(-1), item(2)])
    assert time.monotonic() - began < 8
    assert (value(first), value(last)) == (1, 2)
    assert isinstance(hung, RewardTimeoutError)
    assert "no answer within 1 s" in hung.message
    assert "raise reward.timeout_s" in hung.message


def test_a_loop_in_c_that_never_lets_python_run_is_killed(opened: Open) -> None:
    assert "reward.timeout_s" in error(opened(timeout_s=1).run(item("9**9**9")))


def test_processor_time_is_limited(opened: Open) -> None:
    pool = opened(timeout_s=60, cpu_s=1)
    assert "more than 1 s of processor time" in error(
        pool.run(item("any(0 for _ in iter(int, 1))"))
    )
    # Each item has its own second, in the same process.
    busy = "[0 for _ in iter(lambda: time.process_time() - began > 0.7, True)] * 0 == []"
    timed = f"(lambda began: {busy})(time.process_time())"
    assert [value(pool.run(item(timed))) for _ in range(3)] == [1.0] * 3


def test_memory_is_limited(opened: Open) -> None:
    pool = opened(memory_mb=300)
    message = error(pool.run(item("len(bytearray(10**9))")))
    assert "MemoryError" in message
    assert "300 MB" in message
    assert "reward.memory_mb" in message
    assert value(pool.run(item("len(bytearray(10**6))"))) == 10**6


def test_a_file_cannot_grow_without_bound(opened: Open) -> None:
    code = "[open('big', 'wb').truncate(10**9)][0]"
    assert "File too large" in error(opened().run(item(code)))


def test_output_is_cut_and_the_item_scored(opened: Open) -> None:
    pool = opened(output_bytes=100)
    answer = pool.run(item("[print('x' * 10**6) for _ in range(100)] and 7"))
    assert value(answer) == 7
    assert of_kind(Answer, answer).output == "x" * 100 + "\n[cut after 100 bytes]"
    short = pool.run(item("print('short', file=sys.stderr) or 1"))
    assert of_kind(Answer, short).output == "short\n"


def test_output_past_python_is_dropped(opened: Open) -> None:
    answer = opened().run(item("os.write(1, b'y' * 10) + os.system('echo from a program')"))
    assert answer == Answer(10.0, "")


def test_endless_output_is_killed(opened: Open) -> None:
    code = "any(print('x') for _ in iter(int, 1))"
    assert "reward.timeout_s" in error(opened(timeout_s=1).run(item(code)))


def test_a_fork_bomb_is_limited_and_nothing_of_it_is_left(opened: Open, folder: Path) -> None:
    pool = opened("import os\ndef f(_):\n    while True:\n        os.fork()\n", max_processes=8)
    began = time.monotonic()
    message = error(pool.run(item(0)))
    assert time.monotonic() - began < 10
    assert "reward.max_processes" in message or "Resource temporarily unavailable" in message
    pool.close()
    assert wait_until(lambda: not processes(folder))


def test_a_few_processes_are_allowed(opened: Open) -> None:
    code = "__import__('subprocess').run([sys.executable, '-c', 'exit(3)']).returncode"
    assert value(opened().run(item(code))) == 3


def test_what_an_item_started_ends_with_it(opened: Open, folder: Path) -> None:
    code = "__import__('subprocess').Popen(['sleep', '600']) and time.sleep(600)"
    assert "reward.timeout_s" in error(opened(timeout_s=1).run(item(code)))
    assert wait_until(lambda: not processes(folder))


def test_a_process_that_detaches_itself_ends_with_its_child(opened: Open, folder: Path) -> None:
    pool = opened(
        "import os, time\n"
        "def f(_):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork():\n"
        "            os._exit(0)\n"
        "        time.sleep(600)\n"
        "    return 1\n"
    )
    assert value(pool.run(item(0))) == 1
    if pool.notes:
        pytest.skip(f"the kernel allows no namespaces here: {pool.notes}")
    pool.close()
    assert wait_until(lambda: not processes(folder))


def test_an_item_that_forks_is_answered_once(opened: Open) -> None:
    pool = opened("import os\ndef f(n):\n    os.fork()\n    return n\n")
    assert [value(answer) for answer in pool.map([item(n) for n in range(20)])] == list(range(20))


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("os._exit(3)", "ended with code 3"),
        ("os.abort()", "ended by SIGABRT"),
        ("__import__('ctypes').string_at(0)", "ended by SIGSEGV"),
        ("os.write(4, b'garbage without end')", "announced a message"),
        ("os.write(4, b'\\0\\0\\0\\2{}')", "no answer"),
    ],
)
def test_a_child_that_dies_with_an_item_in_hand_takes_only_that(
    opened: Open, code: str, how: str
) -> None:
    first, died, last = opened().map([item("1"), item(code), item("2")])
    assert (value(first), value(last)) == (1, 2)
    assert how in error(died)


@pytest.mark.parametrize("retries", [0, 1])
def test_an_item_is_tried_again_only_as_often_as_was_asked(
    opened: Open, folder: Path, retries: int
) -> None:
    pool = opened(retries=retries)
    assert value(pool.run(item("1"))) == 1

    def kill_the_first() -> None:
        time.sleep(0.3)
        for pid in processes(folder):
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    answer = pool.run(item("time.sleep(1) or 5"))
    killer.join()
    if retries:
        assert value(answer) == 5
    else:
        assert "SIGKILL" in error(answer)


def test_an_exception_says_what_and_where_and_leaves_the_child_alive(opened: Open) -> None:
    pool = opened("seen = []\ndef f(n):\n    seen.append(n)\n    return len(seen) / n\n")
    wrong, right = pool.map([item(0), item(1)])
    assert error(wrong) == "reward: ZeroDivisionError: division by zero (line 4 of given)"
    assert value(right) == 2


@pytest.mark.parametrize("code", ["sys.exit(4)", "exec('raise KeyboardInterrupt')", "{}[1]"])
def test_every_kind_of_exception_is_one_missing_score(opened: Open, code: str) -> None:
    pool = opened()
    assert error(pool.run(item(code)))
    assert value(pool.run(item("1"))) == 1


def test_an_item_that_json_cannot_carry_is_missing(opened: Open) -> None:
    bad, good = opened().map([item(object()), item("1")])
    assert "JSON" in error(bad)
    assert value(good) == 1


def test_code_that_cannot_be_loaded_is_not_started_again_and_again(opened: Open) -> None:
    pool = opened("import no_such_library\ndef f(n):\n    return n\n")
    answers = [error(answer) for answer in pool.map([item(1)] * 20)]
    assert "No module named 'no_such_library' (line 1 of given)" in answers[0]
    assert "3 processes in a row could not be started" in answers[-1]
    assert "no_such_library" in answers[-1]


def test_many_threads_share_few_children_and_get_their_own_answers(
    opened: Open, folder: Path
) -> None:
    pool = opened(size=2)

    def work(thread: int) -> bool:
        numbers = [thread * 100 + step for step in range(25)]
        answers = pool.map([item(f"{number} + 0.5") for number in numbers])
        return [value(answer) for answer in answers] == [number + 0.5 for number in numbers]

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(work, range(16)))
    assert len(list(folder.glob("essa-reward-*"))) == 2


def test_children_outlive_the_thread_that_asked_first(opened: Open) -> None:
    pool = opened(COUNT)
    thread = threading.Thread(target=lambda: pool.run(item(0)))
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert value(pool.run(item(0))) == 2


def test_a_child_is_replaced_after_a_number_of_items(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "RECYCLE_ITEMS", 3)
    answers = opened(COUNT).map([item(0)] * 5)
    assert [value(answer) for answer in answers] == [1, 2, 3, 1, 2]


def test_a_child_whose_memory_grows_is_replaced(opened: Open) -> None:
    pool = opened("kept = []\ndef f(n):\n    kept.append(b'x' * n)\n    return len(kept)\n")
    assert [value(pool.run(item(600 * 2**20))) for _ in range(2)] == [1, 1]


def test_closing_ends_what_is_under_way_and_leaves_nothing(opened: Open, folder: Path) -> None:
    pool = opened()
    with ThreadPoolExecutor(1) as threads:
        pending = threads.submit(pool.run, item("time.sleep(600)"))
        assert wait_until(lambda: processes(folder))
        time.sleep(0.3)
        pool.close()
        assert error(pending.result(timeout=10))
    pool.close()
    assert not processes(folder)
    assert not list(folder.glob("essa-reward-*"))
    assert "closed" in error(pool.run(item("1")))


def test_a_process_that_cannot_be_started_is_a_missing_score(
    opened: Open, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(process_module, "ARGUMENTS", ("/no/such/interpreter",))
    assert "could not be started" in error(opened().run(item("1")))
    assert not list(folder.glob("essa-reward-*"))


def test_a_pool_that_nobody_holds_ends_its_children(opened: Open, folder: Path) -> None:
    arguments = {"source": EVALUATE, "filename": "given", "function": "f", "style": "openai"}
    pool = ChildPool(Program("reward.user_code.program", arguments), ChildLimits(), "reward")
    assert value(pool.run(item("1"))) == 1
    assert processes(folder)
    del pool
    assert wait_until(lambda: not processes(folder))
    assert wait_until(lambda: not list(folder.glob("essa-reward-*")))


PROBE = """
import os, sys, tempfile
tempfile.tempdir = sys.argv[1]
from reward.child.limits import ChildLimits
from reward.child.pool import ChildPool
from reward.child.process import Program
source = "import os, socket, time, sys\\ndef f(code):\\n    return eval(code)\\n"
arguments = {"source": source, "filename": "given", "function": "f", "style": "openai"}
pool = ChildPool(Program("reward.user_code.program", arguments), ChildLimits(), "reward", size=1)
for code in sys.argv[2:]:
    print(pool.run([[code.replace("PARENT", str(os.getpid()))], {}]), flush=True)
print(" ".join(pool.notes))
pool.close()
"""
REFUSING = ("unshare", "-Ur", "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"')
"""Runs a command where no further namespace can be made, as in most containers."""


def probe(folder: Path, *codes: str, prefix: tuple[str, ...] = (), **env: str) -> list[str]:
    command = [*prefix, *(["-"] if prefix else []), sys.executable, "-c", PROBE, str(folder)]
    done = subprocess.run(
        [*command, *codes],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


def refusing() -> tuple[str, ...]:
    if shutil.which("unshare") is None:
        pytest.skip("no `unshare` here")
    if subprocess.run([*REFUSING, "-", "true"], capture_output=True).returncode:
        pytest.skip("the kernel allows no user namespaces to begin with")
    return REFUSING


@pytest.fixture(params=["namespaces", "Landlock"])
def wall(request: pytest.FixtureRequest, folder: Path) -> tuple[str, ...]:
    """The command in front of the service: none, or one that takes the namespaces away."""
    prefix = refusing() if request.param == "Landlock" else ()
    _, notes = probe(folder, "1", prefix=prefix)
    alone = "namespaces are not available" in notes
    if alone and ("Landlock" in notes or request.param == "namespaces"):
        pytest.skip(f"the kernel does not do its part here: {notes}")
    assert alone == (request.param == "Landlock")
    return prefix


def test_a_child_cannot_read_the_secrets_of_the_service(
    wall: tuple[str, ...], folder: Path
) -> None:
    own, parents, same, _ = probe(
        folder,
        "'ESSA_TEST_SECRET' in os.environ",
        "len(open('/proc/PARENT/environ').read())",
        "len(open('/proc/self/environ').read()) > 0",
        prefix=wall,
        ESSA_TEST_SECRET="hush",
    )
    assert own == "Answer(value=0.0, output='')"
    assert "PermissionError" in parents
    assert same == "Answer(value=1.0, output='')"


def test_a_child_cannot_signal_the_service(wall: tuple[str, ...], folder: Path) -> None:
    answer, _ = probe(folder, "os.kill(PARENT, 0) or 1", prefix=wall)
    assert "ProcessLookupError" in answer or "PermissionError" in answer


def test_a_child_cannot_connect(wall: tuple[str, ...], folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        socket.create_connection(address, timeout=5).close()
        code = f"socket.create_connection({address!r}, timeout=5) and 1"
        answer, _ = probe(folder, code, prefix=wall)
    assert "Permission denied" in answer or "unreachable" in answer


def test_a_child_writes_into_its_own_folder_only(folder: Path) -> None:
    (folder / "precious").write_text("data")
    codes = [
        f"open({str(folder / 'new')!r}, 'w') and 1",
        f"open({str(folder / 'precious')!r}, 'w') and 1",
        f"os.remove({str(folder / 'precious')!r}) or 1",
        "open('own', 'w').write('abc')",
        "open(os.environ['TMPDIR'] + '/own').read() == 'abc'",
    ]
    *refused, wrote, read, notes = probe(folder, *codes)
    if "Landlock" in notes:
        pytest.skip(f"no usable Landlock here: {notes}")
    assert all("Permission denied" in answer for answer in refused)
    assert (wrote, read) == ("Answer(value=3.0, output='')", "Answer(value=1.0, output='')")
    assert (folder / "precious").read_text() == "data"


def test_what_the_kernel_refuses_is_said_once_in_the_log(folder: Path) -> None:
    command = [*refusing(), "-", sys.executable, "-c", PROBE, str(folder), "1", "os._exit(1)", "1"]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.count("namespaces are not available") == 1


def test_a_child_inherits_no_file(opened: Open, folder: Path) -> None:
    path = folder / "secret"
    with path.open("w") as file:
        os.set_inheritable(file.fileno(), True)
        code = (
            f"any(os.readlink(f'/proc/self/fd/{{fd}}') == {str(path)!r} for fd in range(64) "
            "if os.path.lexists(f'/proc/self/fd/{fd}'))"
        )
        assert value(opened().run(item(code))) == 0


def test_children_die_with_the_service(folder: Path) -> None:
    busy = "__import__('subprocess').run(['sleep', '600'])"
    service = subprocess.Popen(
        [sys.executable, "-c", PROBE, str(folder), busy],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    try:
        assert wait_until(lambda: len(processes(folder)) >= 2, 20)
    finally:
        service.kill()
        service.wait()
    assert wait_until(lambda: not processes(folder))
