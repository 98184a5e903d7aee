"""A host of a sharded save that is not its chief."""

from __future__ import annotations

from typing import NamedTuple

from docs.design.commit_protocol.world import Rules, Step, Steps, World, moved, put_file


class Host(NamedTuple):
    """Writes the shard d1 of what its chief told it to; whenever, and in any order."""

    name: str
    chief: str
    pc: str = "host"
    left: int = 3

    @property
    def is_done(self) -> bool:
        """Whether nothing can come of it any more."""
        return not self.left

    def steps(self, rules: Rules, world: World, keeps_history: bool) -> Steps:
        """What it may do next."""
        del keeps_history
        for chief, (prefix, number) in sorted(world.wanted) if self.left else ():
            if chief == self.chief:
                file = (prefix, "d1", number)
                after = moved(
                    world,
                    self,
                    self._replace(left=self.left - 1),
                    files=put_file(rules, world.files, file),
                    wanted=world.wanted - {(chief, (prefix, number))},
                )
                yield Step(f"{self.name} writes {prefix}.d1 for {number}", after, ("put", file))
