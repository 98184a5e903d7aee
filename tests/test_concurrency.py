import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ckptstore import _concurrency
from ckptstore._clock import SystemClock
from ckptstore._concurrency import make_executor, run_all
from ckptstore.errors import InvalidArgumentError
from ckptstore.testing import InlineExecutor, ManualClock


@pytest.fixture(params=["threads", "inline executor", "no executor"])
def executor(request):
    if request.param == "no executor":
        yield None
    else:
        with make_executor(4, "test") if request.param == "threads" else InlineExecutor() as executor:
            yield executor


class BrokenError(Exception):
    pass


def test_results_come_in_order(executor):
    def call(number):
        time.sleep(0.002 * (number % 3))
        return number

    assert run_all(executor, (lambda n=n: call(n) for n in range(20)), window=4) == list(range(20))


def test_nothing_to_do(executor):
    assert run_all(executor, [], window=1) == []


def test_a_window_of_none_is_refused(executor):
    with pytest.raises(InvalidArgumentError):
        run_all(executor, [], window=0)


def test_the_error_is_raised_and_no_more_calls_are_taken(executor):
    taken = []

    def calls():
        for number in range(1000):
            taken.append(number)
            yield (lambda: 1 / 0) if number == 5 else (lambda: None)

    with pytest.raises(ZeroDivisionError):
        run_all(executor, calls(), window=4)
    assert len(taken) <= 10


def test_something_is_done_once_while_calls_are_under_way(executor):
    begun, done = threading.Event(), []
    results = run_all(
        executor,
        [begun.set, *(lambda n=n: n for n in range(10))],
        window=2,
        meanwhile=lambda: done.append(begun.wait(10) if isinstance(executor, ThreadPoolExecutor) else True),
    )
    assert results == [None, *range(10)]
    assert done == [True]
    assert run_all(executor, [], window=1, meanwhile=lambda: done.append(2)) == []
    assert done == [True, 2]


def test_an_error_of_what_is_done_meanwhile_is_raised_when_nothing_is_running_any_more(executor):
    running = []

    def call():
        running.append(1)
        time.sleep(0.01)
        running.pop()

    with pytest.raises(ZeroDivisionError):
        run_all(executor, [call] * 4, window=4, meanwhile=lambda: 1 / 0)
    assert not running


def test_this_thread_shares_the_work(executor):
    here, enough = threading.current_thread(), threading.Event()
    ran = []

    def call(number):
        ran.append(threading.current_thread())
        if threading.current_thread() is not here:
            # Each of the four others begins one, so the rest is this thread's, also what was handed over.
            assert enough.wait(10)
        elif ran.count(here) == 16:
            enough.set()
        return number

    assert run_all(executor, [lambda n=n: call(n) for n in range(20)], window=8, share=True) == list(range(20))
    assert ran.count(here) >= 16


def test_an_error_while_work_is_shared_is_raised_when_nothing_is_running_any_more(executor):
    here, running = threading.current_thread(), []

    def call():
        if threading.current_thread() is here:
            raise BrokenError
        running.append(1)
        time.sleep(0.01)
        running.pop()

    with pytest.raises(BrokenError):
        run_all(executor, [call] * 40, window=4, share=True)
    assert not running


def test_an_error_of_another_thread_is_raised_where_work_is_shared():
    here = threading.current_thread()

    def call():
        time.sleep(0.001)
        if threading.current_thread() is not here:
            raise BrokenError

    with make_executor(2, "test") as executor, pytest.raises(BrokenError):
        run_all(executor, [call] * 100, window=4, share=True)


def test_an_error_of_the_iterable_is_raised(executor):
    def calls():
        yield lambda: None
        raise BrokenError

    with pytest.raises(BrokenError):
        run_all(executor, calls(), window=4)


def test_no_more_than_the_window_is_taken_or_under_way():
    lock = threading.Lock()
    running = most = taken = finished = 0

    def call():
        nonlocal running, most, finished
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1
            finished += 1

    def calls():
        nonlocal taken
        for _ in range(60):
            taken += 1
            assert taken - finished <= 3 + 1  # the one just taken is handed over when there is room
            yield call

    with make_executor(8, "test") as executor:
        run_all(executor, calls(), window=3)
    assert most <= 3


def test_running_calls_are_waited_for_and_waiting_ones_cancelled():
    began, finished = [], []
    failed = threading.Event()

    def call(number):
        began.append(number)
        if number == 0:
            failed.set()
            raise BrokenError
        failed.wait(5)
        time.sleep(0.05)
        finished.append(number)

    with make_executor(2, "test") as executor:
        with pytest.raises(BrokenError):
            run_all(executor, (lambda n=n: call(n) for n in (1, 0, 2, 3, 4, 5)), window=6)
        assert sorted(began) == sorted([0, *finished])  # whatever began is over
        seen = list(began)
        time.sleep(0.1)
        assert began == seen
    assert len(began) < 6


def test_keyboard_interrupt_while_waiting(monkeypatch):
    began, finished = threading.Event(), threading.Event()

    def call():
        began.set()
        time.sleep(0.1)
        finished.set()

    real = _concurrency.wait
    interrupts = [KeyboardInterrupt]

    def wait(futures, **kwargs):
        if interrupts:
            began.wait(5)
            raise interrupts.pop()
        return real(futures, **kwargs)

    monkeypatch.setattr(_concurrency, "wait", wait)
    with make_executor(1, "test") as executor, pytest.raises(KeyboardInterrupt):
        run_all(executor, [call, call, call], window=3)
    assert finished.is_set()


def test_keyboard_interrupt_inside_a_call(executor):
    def call():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(executor, [call], window=1)


def test_nested_calls_on_a_small_pool_do_not_wait_for_themselves():
    with make_executor(1, "test") as executor:

        def outer(number):
            return sum(run_all(executor, [lambda: number, lambda: 1], window=2))

        assert run_all(executor, [lambda n=n: outer(n) for n in range(5)], window=2) == [1, 2, 3, 4, 5]
        assert run_all(executor, [threading.get_ident], window=1) != [threading.get_ident()]


def test_an_executor_that_was_shut_down_meanwhile_is_done_without():
    with make_executor(1, "test") as executor:
        pass
    assert run_all(executor, [lambda: 1, lambda: 2], window=2) == [1, 2]


def test_other_refusals_of_an_executor_are_raised():
    class Refusing(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            raise RuntimeError("can't start new thread")

    with Refusing(1) as executor, pytest.raises(RuntimeError, match="new thread"):
        run_all(executor, [lambda: 1], window=2)


def test_work_under_way_at_the_end_of_the_interpreter_is_finished():
    script = """
import time
from ckptstore._concurrency import make_executor, run_all
saver, parts = make_executor(1, "saver"), make_executor(2, "parts")
def part(number):
    time.sleep(0.05)
    return number
def save():
    print(run_all(parts, [lambda n=n: part(n) for n in range(10)], window=2), flush=True)
saver.submit(save)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, env=environment, check=False
    )
    assert done.stdout.strip() == str(list(range(10))), done.stderr


def test_threads_are_named():
    with make_executor(1, "ckptstore-x") as executor:
        assert executor.submit(lambda: threading.current_thread().name).result().startswith("ckptstore-x")


def test_system_clock():
    clock = SystemClock()
    before, start = clock.monotonic(), clock.time()
    clock.sleep(0.01)
    clock.sleep(0)
    clock.sleep(-1)
    assert clock.monotonic() - before >= 0.01
    assert clock.time() > 1_700_000_000
    assert abs(clock.time() - start) < 60


def test_manual_clock():
    clock = ManualClock(100.0)
    clock.sleep(5)
    clock.sleep(-1)
    clock.advance(2)
    assert (clock.time(), clock.monotonic(), clock.sleeps) == (107.0, 7.0, [5, -1])
    clock.set_time(3)
    assert (clock.time(), clock.monotonic()) == (3, 7.0)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
