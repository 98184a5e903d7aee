"""Jobs on real servers: killed and resumed, fenced, pruned by others, and cleaned up after."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.storage import UPLOAD_NOTES, Payload, UploadNote
from tests.integration.endpoints import Endpoint, prefixes
from tests.processes.child import Child, ended
from tests.processes.judge import saves, tidy
from tests.processes.workers import train

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]

KEEP = 3
WHOLE_SECONDS = 1.1
"""A store's clock is told in whole seconds, Ceph's listings in milliseconds: what is new may be of the future."""


def trainer(endpoint: Endpoint, author: int, keep: int = KEEP) -> Child:
    """A process that saves step after step, one in four large enough to go up in parts."""
    return Child(f"trainer {author}", train, endpoint, author, keep, 0.0, 4, True)


def wait_for_saves(child: Child, number: int) -> None:
    while sum(event.what == "saved" for event in child.events) < number:
        assert child.is_running, child.events
        child.pipe.poll(60.0)
        child.poll()
        assert not [event for event in child.events if event.what == "failed"], child.events


def told(child: Child, what: str) -> list[Any]:
    return [event.about for event in child.events if event.what == what]


def command(name: str, endpoint: Endpoint, *arguments: str) -> Any:
    """Runs a command of ckptstore's, and returns what it tells."""
    done = subprocess.run(
        [sys.executable, "-m", "ckptstore.cli", name, endpoint.url, "--json", *endpoint.arguments(), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def test_a_killed_job_resumes_where_it_was(endpoint: Endpoint) -> None:
    children: list[Child] = []
    with ended(children):
        for author in range(4):
            children.append(trainer(endpoint, author))
            assert children[-1].wait_for("resumed"), children[-1].events
            wait_for_saves(children[-1], 3 + author)
            children[-1].kill()
    for before, after in itertools.pairwise(children):
        [resumed] = told(after, "resumed")
        assert resumed in (told(before, "saved")[-1], told(before, "begun")[-1])
    time.sleep(WHOLE_SECONDS)
    with endpoint.store() as store:
        assert len(saves(store)) == KEEP
        tidy(endpoint, store, 1)
        assert len(saves(store)) == 1


def test_two_jobs_on_one_directory(endpoint: Endpoint) -> None:
    items = {"w": np.arange(1000.0)}
    with (
        ck.CheckpointManager(endpoint.url, storage_options=endpoint.options) as first,
        ck.CheckpointManager(endpoint.url, storage_options=endpoint.options) as second,
    ):
        first.save(1, items)
        second.acquire()
        with pytest.raises(ck.FencedError):
            first.save(2, items)
        second.save(2, {"w": -items["w"]})
        assert isinstance(first.save_async(3, items).exception(), ck.FencedError)
        assert second.all_steps() == [1, 2]
        assert second.restore(2)["w"][-1] == -999.0


def test_a_pruner_beside_a_job(endpoint: Endpoint) -> None:
    children: list[Child] = []
    removed = 0
    with ended(children):
        children.append(trainer(endpoint, 0, keep=1000))
        [child] = children
        for number in range(1, 6):
            wait_for_saves(child, 5 * number)
            report = command("prune", endpoint, "--keep-last", "2", "--grace", "0s", "--max-remove", "1000")
            removed += len(report["removed"])
        wait_for_saves(child, 27)
        child.kill()
    assert removed >= 15
    assert not told(child, "fenced")
    time.sleep(WHOLE_SECONDS)
    with endpoint.store() as store:
        assert saves(store)[-1] in (told(child, "saved")[-1], told(child, "begun")[-1])
        tidy(endpoint, store, 2)
        assert len(saves(store)) == 2


def test_gc_aborts_the_upload_of_a_dead_process(endpoint: Endpoint) -> None:
    with ck.CheckpointManager(endpoint.url, storage_options=endpoint.options) as manager:
        manager.save(1, {"w": np.arange(3)})
    with endpoint.store() as store:
        size = store.capabilities.min_part_size
        upload = store.create_upload("ckpt-2.data-00000-of-00001", tag="0" * 32)
        store.put(f"{UPLOAD_NOTES}{'0' * 32}", UploadNote.of(upload).payload())  # as every upload of a save is noted
        store.put_part(upload, 1, Payload([b"x" * size]))
    uploads = [key.rpartition("/")[2] for key in endpoint.parts()]
    assert uploads == ([upload.key] if endpoint.url.startswith("s3:") else [])
    assert command("gc", endpoint)["aborted_uploads"] == []  # it may be alive yet
    assert command("gc", endpoint, "--unfinished-older-than", "0s")["aborted_uploads"] == [upload.key]
    assert endpoint.parts() == []
    assert ck.restore(endpoint.url, storage_options=endpoint.options)["w"].tolist() == [0, 1, 2]


def test_retention_and_saves_in_the_background(endpoint: Endpoint) -> None:
    items = {"w": np.arange(1000.0)}
    with ck.CheckpointManager(endpoint.url, max_to_keep=2, storage_options=endpoint.options) as manager:
        for step in range(1, 7):
            manager.save_async(step, {**items, "step": np.int64(step)}).result()
        assert manager.all_steps() == [5, 6]
        assert manager.restore()["step"] == 6
    assert prefixes(endpoint) == {"checkpoint", "ckpt-5", "ckpt-6"}
