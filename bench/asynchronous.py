"""How long save_async holds the training up, beside one copy of the same memory; and what it takes in memory.

torch DCP's async_save and Orbax' AsyncCheckpointer do the same beside it. Each is measured in a process of its own, in
the second save and later ones: the first takes the memory, which is measured apart.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Any

import numpy as np

from bench import _state
from bench._facts import facts
from bench._host import touch_memory
from bench._measure import measured
from bench._process import ROOT
from bench._table import lines

_CONTENDERS = ("memcpy", "ckptstore", "torch_dcp", "orbax")
_WANTED = 1.2  # times the copy into memory that was used before


def run_memcpy(state, directory, repeats):
    del directory
    copies = {name: np.empty_like(array) for name, array in state.items()}

    def copy():
        for name, array in state.items():
            np.copyto(copies[name], array)

    return _turns(copy, lambda: None, repeats, _size(state))


def run_ckptstore(state, directory, repeats):
    import ckptstore as ck

    manager = ck.CheckpointManager(directory, max_to_keep=1)
    step = iter(range(1, 1000))
    result = _turns(lambda: manager.save_async(next(step), state), manager.wait_until_finished, repeats, _size(state))
    manager.close()
    return result


def run_torch_dcp(state, directory, repeats):
    import torch
    import torch.distributed.checkpoint as dcp

    # async_save wants a process group, of one process here
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29571")
    torch.distributed.init_process_group("gloo", rank=0, world_size=1)
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    futures: list[Any] = []
    step = iter(range(1, 1000))

    def save():
        futures.append(dcp.async_save(tensors, checkpoint_id=os.path.join(directory, str(next(step)))))

    def wait():
        futures.pop().result()
        for name in os.listdir(directory):
            shutil.rmtree(os.path.join(directory, name))

    return _turns(save, wait, repeats, _size(state))


def run_orbax(state, directory, repeats):
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import orbax.checkpoint as ocp

    checkpointer = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
    step = iter(range(1, 1000))

    def save():
        checkpointer.save(os.path.join(directory, str(next(step))), args=ocp.args.PyTreeSave(state))

    def wait():
        checkpointer.wait_until_finished()
        for name in os.listdir(directory):
            shutil.rmtree(os.path.join(directory, name))

    return _turns(save, wait, repeats, _size(state))


def _size(state):
    return sum(array.nbytes for array in state.values())


def _turns(save, wait, repeats, nbytes):
    def both():
        begun = time.perf_counter()
        save()
        blocked.append(time.perf_counter() - begun)
        wait()

    blocked: list[float] = []
    peaks = []
    for _ in range(repeats + 1):
        touch_memory(nbytes)
        peaks.append(measured(both)[0]["peak"])
        os.sync()
    return {"first": blocked[0], "blocked": blocked[1:], "peak": max(peaks)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/run asynchronous", description=__doc__)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dir", default=os.path.join(ROOT, "build"))
    parser.add_argument("--json")
    parser.add_argument("--worker", choices=_CONTENDERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.size_mib, args.repeats = 64, 2
    spec = _state.Spec("big", 32, args.size_mib * 2**20 // 32)
    os.makedirs(args.dir, exist_ok=True)
    if args.worker:
        with tempfile.TemporaryDirectory(dir=args.dir) as directory:
            run = globals()[f"run_{args.worker}"]
            print("\n" + json.dumps(run(_state.make(spec, flat=False), directory, args.repeats)))
        return
    rows: dict[str, Any] = {}
    for name in _CONTENDERS:
        command = [sys.executable, "-m", "bench.asynchronous", "--worker", name, "--dir", args.dir]
        command += ["--size-mib", str(args.size_mib), "--repeats", str(args.repeats)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
        rows[name] = json.loads(done.stdout.strip().splitlines()[-1])
    floor = median(rows["memcpy"]["blocked"])
    print(f"{spec}: how long the call of the save takes; peak over the state, save and wait together")
    table = [("", "median s", "min-max s", "x memcpy", "first save s", "peak extra MiB")]
    for name, row in rows.items():
        wall = median(row["blocked"])
        spread = f"{min(row['blocked']):.3f}-{max(row['blocked']):.3f}"
        peak = f"{row['peak'] / 2**20:.0f}"
        table.append((name, f"{wall:.3f}", spread, f"{wall / floor:.2f}", f"{row['first']:.3f}", peak))
    print(*lines(table), sep="\n")
    ratio = median(rows["ckptstore"]["blocked"]) / floor
    extra = rows["ckptstore"]["peak"] / spec.nbytes
    print(f"wanted: <= {_WANTED} x memcpy: {'met' if ratio <= _WANTED else 'MISSED'};", end=" ")
    print(f"<= 1 x the state in memory: {extra:.2f} x, {'met' if extra <= 1.07 else 'MISSED'}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"machine": facts(args.dir), "nbytes": spec.nbytes, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
