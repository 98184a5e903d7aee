"""Being told to leave: what the loop is told, what is finished first, and what a second signal does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.storage import MemoryStore, ObjectMeta, Payload, WrapperStore
from tests.support.run_directory import RunDirectory, arrays

USER = signal.SIGUSR1


@pytest.fixture(autouse=True)
def others() -> Iterator[list[int]]:
    """The signals that came to whoever listened before."""
    came: list[int] = []
    before = signal.signal(USER, lambda number, _: came.append(number))
    yield came
    signal.signal(USER, before)


def send(number: signal.Signals = USER) -> None:
    os.kill(os.getpid(), number)


def test_nothing_is_requested_until_the_signal_comes(others: list[int]) -> None:
    with ck.Preemption((USER,)) as preemption:
        assert (preemption.requested, preemption.exit_code) == (False, 0)
        preemption.leave_if_requested()
        send()
        assert (preemption.requested, preemption.exit_code) == (True, 128 + USER)
        with pytest.raises(SystemExit) as left:
            preemption.leave_if_requested()
        assert left.value.code == 128 + USER
    assert others == []


def test_a_signal_after_the_question_leaves_time_for_the_last_save() -> None:
    with ck.Preemption((USER,)) as preemption:
        assert not preemption.requested
        send()
        preemption.leave_if_requested()
        assert preemption.requested  # now the loop saves, and leaves
        with pytest.raises(SystemExit):
            preemption.leave_if_requested()


def test_a_loop_that_does_not_ask_leaves_a_step_later() -> None:
    with ck.Preemption((USER,)) as preemption:
        send()
        preemption.leave_if_requested()
        with pytest.raises(SystemExit):
            preemption.leave_if_requested()


def test_sigterm_is_what_schedulers_send() -> None:
    with ck.Preemption() as preemption:
        send(signal.SIGTERM)
        assert preemption.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_whoever_listened_before_does_so_again_afterwards(others: list[int]) -> None:
    with ck.Preemption((USER,)) as preemption:
        pass
    send()
    assert (others, preemption.requested) == ([USER], False)
    with pytest.raises(KeyError), ck.Preemption((USER,)):
        raise KeyError
    send()
    assert others == [USER, USER]


def test_a_second_signal_does_what_the_first_would_have_done(others: list[int]) -> None:
    with ck.Preemption((USER,)) as preemption:
        send()
        send()
        assert others == [USER]
        send()
        assert others == [USER, USER]
        assert preemption.requested


def test_another_of_the_signals_is_a_second_one_too(others: list[int]) -> None:
    with ck.Preemption((USER, signal.SIGINT)) as preemption:
        send(USER)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        assert preemption.exit_code == 128 + signal.SIGINT
    assert others == []


def test_it_is_told_once_and_in_the_main_thread() -> None:
    told: list[threading.Thread] = []
    with ck.Preemption((USER,), on_request=lambda: told.append(threading.current_thread())):
        thread = threading.Thread(target=send)
        thread.start()
        thread.join()
        send()
    assert told == [threading.main_thread()]


def test_no_signals_cannot_be_meant() -> None:
    with pytest.raises(ck.InvalidArgumentError, match="No signals"):
        ck.Preemption(())


def test_another_thread_cannot_listen() -> None:
    problems: list[BaseException] = []

    def enter() -> None:
        try:
            with ck.Preemption((USER,)):
                pass
        except ck.InvalidArgumentError as error:
            problems.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert "main thread" in str(problems[0])


def test_a_save_under_way_is_finished() -> None:
    class Interrupting(WrapperStore):
        def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
            send()
            return self.inner.create(key, payload, tag=tag)

    run = RunDirectory()
    manager = run.manager(Interrupting(run.store))
    # Every request is interrupted by a signal, and after the first by those of whoever listened before.
    with ck.Preemption((USER,)) as preemption:
        manager.save(1, arrays(1))
        assert preemption.requested
    assert run.listed == ["ckpt-1"]
    assert manager.restore()["w"][0] == 1


def test_the_loop_of_the_documentation() -> None:
    run = RunDirectory(MemoryStore())
    manager = run.manager(save_interval_steps=10)
    done: list[int] = []

    def train() -> None:
        with ck.Preemption((USER,)) as preemption:
            for step in range(100):
                done.append(step)
                if step == 34:
                    send()
                if preemption.requested or manager.should_save(step):
                    manager.save(step, arrays(step))
                preemption.leave_if_requested()

    with pytest.raises(SystemExit) as left:
        train()
    assert left.value.code == 128 + USER
    assert run.listed == [f"ckpt-{step}" for step in (0, 10, 20, 30, 34)]
    assert done[-1] == 34


PROGRAM = """\
    import os, signal, sys
    import numpy as np
    import ckptstore as ck
    manager = ck.CheckpointManager(sys.argv[1])
    with ck.Preemption() as preemption:
        print("ready", flush=True)
        for step in range(10**9):
            if preemption.requested:
                if sys.argv[2] == "twice":
                    print("again", flush=True)
                    signal.pause()
                manager.save(step, {"w": np.arange(3)})
            preemption.leave_if_requested()
"""


@pytest.mark.parametrize(("times", "code"), [("once", 143), ("twice", -signal.SIGTERM)])
def test_a_real_process(tmp_path: Path, times: str, code: int) -> None:
    arguments: list[Any] = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path), times]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for expected in ["ready\n", "again\n"][: 1 if times == "once" else 2]:
            assert process.stdout.readline() == expected
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == code
    latest = ck.latest_checkpoint(tmp_path)
    if times == "once":
        assert latest is not None
        assert np.array_equal(ck.restore(latest)["w"], np.arange(3))
    else:
        assert latest is None
