"""A trainer is killed with SIGKILL at a random moment, looked after, and started again; and so on."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence

from ckptstore.storage import Store
from tests.processes.bundles import Save, ViolationError
from tests.processes.child import Child, Event, ended, listen
from tests.processes.figures import Figures, parser, report
from tests.processes.judge import saves, tidy
from tests.processes.places import Place, place
from tests.processes.workers import train

_TIDY_EVERY = 20  # kills


class KillLoop:
    """One run.

    Args:
        here: An empty place.
        store: The same, for looking at it.
        options: See `main`.

    Attributes:
        counting: The saves that count, oldest first, as many as are known to be listed or were.
        kills, acknowledged, unacknowledged: How many there were; the last are saves that counted though their process
            was killed before it heard of it.
    """

    def __init__(self, here: Place, store: Store, options: argparse.Namespace) -> None:
        self._here = here
        self._store = store
        self._keep: int = options.keep
        self._spread: float = options.spread
        self._large_every: int = options.large_every
        self._rng = random.Random(options.seed)
        self.counting: list[Save] = []
        self.kills = self.acknowledged = self.unacknowledged = self.early = self.tidied = 0

    def once(self) -> None:
        """One life of a trainer, and the look afterwards.

        Raises:
            ViolationError: Something that was promised did not hold.
        """
        self.kills += 1
        children = [
            Child(
                f"trainer {self.kills}",
                train,
                self._here,
                self.kills,
                self._keep,
                0.0,
                self._large_every,
                self.kills % 2 == 0,
            )
        ]
        with ended(children):
            early = self._rng.random() < 0.2  # before it has resumed, or while it does
            if not early and not children[0].wait_for("resumed"):
                raise ViolationError(f"a trainer does not resume: {children[0].events}")
            for _ in listen(children, self._rng.random() * self._spread):
                pass  # an unread pipe would hold it up
            children[0].kill()
            self._judge(children[0].events)
        if self.kills % _TIDY_EVERY == 0:
            self.tidy()

    def tidy(self) -> None:
        """Prunes and collects, and sees that nothing is left over."""
        if not self.counting:
            return
        tidy(self._here, self._store, self._keep - 1)
        self.counting = self.counting[-(self._keep - 1) :]
        self._expect(self.counting)
        self.tidied += 1

    def _judge(self, events: Sequence[Event]) -> None:
        """Holds what is there against what the trainer told before it was killed."""
        failures = [event.about for event in events if event.what in ("failed", "fenced", "aborted", "warned")]
        if failures:
            raise ViolationError(f"trainer {self.kills}: {failures}")
        last = self.counting[-1] if self.counting else None
        for event in events:
            if event.what == "resumed" and event.about != last:
                raise ViolationError(f"trainer {self.kills} resumed {event.about}, and not {last}")
        acknowledged = [event.about for event in events if event.what == "saved"]
        begun = [event.about for event in events if event.what == "begun"][len(acknowledged) :]
        self.acknowledged += len(acknowledged)
        self.early += not any(event.what == "resumed" for event in events)
        without = [*self.counting, *acknowledged]
        found = self._expect(without, [*without, *begun])
        counted = bool(begun) and found[-1:] == begun
        self.unacknowledged += counted
        self.counting = [*without, *(begun if counted else ())][-self._keep :]

    def _expect(self, *histories: Sequence[Save]) -> Sequence[Save]:
        """The saves that are listed: the last ones of one of the histories."""
        found = saves(self._store)
        if all(found != list(history)[-self._keep :] for history in histories):
            wanted = " or ".join(str(list(history)[-self._keep :]) for history in histories)
            raise ViolationError(f"after kill {self.kills} the directory lists {found}, and not {wanted}")
        return found


def run(options: argparse.Namespace) -> Figures:
    """As many kills as were asked for, or as fit into the time.

    Raises:
        ViolationError: Something that was promised did not hold.
    """
    options.seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    with place(options.place) as here, here.store() as store:
        loop = KillLoop(here, store, options)
        deadline = time.monotonic() + options.seconds
        while loop.kills < options.kills and time.monotonic() < deadline:
            loop.once()
        loop.tidy()
    return {
        "seed": options.seed,
        "kills": loop.kills,
        "before it had resumed": loop.early,
        "saves acknowledged": loop.acknowledged,
        "saves that counted unheard": loop.unacknowledged,
        "times pruned and collected": loop.tidied,
    }


def main() -> None:
    """Runs it by the command line."""
    arguments = parser(__doc__)
    arguments.add_argument("--kills", type=int, default=1_000_000, help="how many, at the most")
    arguments.add_argument("--seconds", type=float, default=300.0, help="for how long, at the most (%(default)s)")
    arguments.add_argument("--keep", type=int, default=3, help="max_to_keep (%(default)s)")
    arguments.add_argument("--spread", type=float, default=0.15, help="a life's longest, in seconds (%(default)s)")
    arguments.add_argument("--large-every", type=int, default=0, help="every so manieth step has 17 MiB (%(default)s)")
    options = arguments.parse_args()
    report(lambda: run(options))


if __name__ == "__main__":
    main()
