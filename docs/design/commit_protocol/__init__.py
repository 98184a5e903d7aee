"""The executable model of the commit protocol: docs/design/commit-protocol.md, step by step.

    python -m docs.design.commit_protocol            everything
    python -m docs.design.commit_protocol --quick    without the largest scenes, one or two minutes
    python -m docs.design.commit_protocol --trace    with the shortest counter-example of every mutant

It explores every interleaving of trainers, the hosts of a sharded save, pruners, garbage collectors and readers over
one directory on a linearisable store. Every request to the store is one step. A crash is "never scheduled again", and a
process that was suspended for days "scheduled again late", so every reachable state stands for a crash of everybody at
that point. Requests may also arrive twice, the second time arbitrarily late, and replies to a commit may get lost.

What must hold in every reachable state:

    I1  what is listed or kept is whole and of one attempt
    I3  what was acknowledged is listed or kept, or was removed by the retention policy (I2 and I5 follow)
    I4  a reader that pinned and looked again meets no missing or foreign file; one that did not, neither, as long as it
        is done within the grace period
    I6  no commit of a session that was superseded is accepted
    I7  (isolated names only) no unlisted set of files looks whole and is mixed from two attempts

Whoever changes a rule of the protocol changes it here first.
"""
