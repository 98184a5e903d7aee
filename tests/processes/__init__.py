"""Real processes that save, read, prune and die: on a local disk, and on servers on loopback.

    cas_race    processes count, each by compare and swap in one object; no count may be lost
    kill_loop   a trainer is killed with SIGKILL at random moments, and started again
    soak        trainers, pruners, a collector and readers share a directory; some are killed, one trainer is suspended

Each is a module to run (`python -m tests.processes.soak --help`), prints its figures, and exits with 1 if anything that
was promised did not hold. The tests run them small, `scripts/test --nightly` runs them long.

    places.py   where: a directory, or a bucket of a server
    bundles.py  what is saved, and how it is told from everything else
    child.py    a process that can be killed and suspended
    workers.py  what the processes do
    judge.py    the independent look at a directory
"""
