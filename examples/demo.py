"""What `scripts/demo` runs: a training job that is killed, resumed, and comes out as if nothing had happened."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import ckptstore as ck

ROOT = Path(__file__).resolve().parent.parent
STEPS, SAVE_EVERY, KILL_AFTER = 1200, 100, 500


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def train(directory: str, *, kill_after: int | None = None) -> None:
    """Runs the training script; kills it, with no warning, while it works on after saving a step."""
    command = [sys.executable, str(ROOT / "examples" / "train_digits.py"), directory]
    command += ["--steps", str(STEPS), "--save-every", str(SAVE_EVERY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        shown: list[str] = []
        for line in job.stdout:
            shown.append(line)
            if kill_after is not None and line.startswith(f"step {kill_after} "):
                time.sleep(0.02)
                job.send_signal(signal.SIGKILL)
                break
    for line in shown if len(shown) < 6 else [*shown[:2], "...\n", *shown[-2:]]:
        print("   ", line, end="")
    if kill_after is not None:
        print(f"    killed by SIGKILL (exit {job.returncode})")
    elif job.returncode:
        sys.exit(f"training failed with exit code {job.returncode}")


def command_line(*arguments: str) -> None:
    print(f"$ ckptstore {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "ckptstore.cli", *arguments], check=False)
    if done.returncode:
        sys.exit(f"ckptstore {arguments[0]} failed with exit code {done.returncode}")


def demo(base: str) -> None:
    undisturbed, killed = f"{base}/undisturbed", f"{base}/killed"
    say(f"1. {STEPS} steps without disturbance, into {undisturbed}")
    train(undisturbed)
    say(f"2. The same into {killed}, killed after step {KILL_AFTER}")
    train(killed, kill_after=KILL_AFTER)
    say("3. Started again: it resumes")
    train(killed)
    say("4. Are the two loss curves, and all weights, the same to the last bit?")
    one, other = ck.restore(undisturbed), ck.restore(killed)
    same = one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)
    if not same:
        sys.exit("    no: resuming changed the training")
    print(f"    yes: {len(one['losses'])} losses and {len(one) - 1} arrays are identical")
    say("5. What it left")
    command_line("ls", killed)
    command_line("inspect", killed)
    command_line("verify", killed)


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """An S3 server in this process, and a bucket on it."""
    import logging

    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would print every request
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://{host}:{port}",
        AWS_ACCESS_KEY_ID="demo",
        AWS_SECRET_ACCESS_KEY="demo",
        AWS_DEFAULT_REGION="us-east-1",
    )
    try:
        boto3.client("s3").create_bucket(Bucket="demo")
        yield "s3://demo/digits"
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=["local", "s3", "both"], default="both")
    parser.add_argument("--dir", default=str(ROOT / "demo-run"), help="a new directory for the local run")
    options = parser.parse_args()
    # One thread, so that sums are taken in the same order in every run.
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    if options.store in ("local", "both"):
        say("== on the local disk ==")
        demo(f"{options.dir}/{time.strftime('%Y%m%d-%H%M%S')}")
    if options.store in ("s3", "both"):
        say("== on S3 (a moto server in this process) ==")
        with s3_server() as url:
            demo(url)
    say("Done. The training script is examples/train_digits.py.")


if __name__ == "__main__":
    main()
