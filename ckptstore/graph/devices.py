"""Names of devices: /job:ps/replica:0/task:1/device:CPU:0, in part or whole; "/cpu:0" is short for /device:CPU:0."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ckptstore.errors import InvalidArgumentError

_PART = re.compile(r"(job|replica|task|device):([^/]+)|(cpu|gpu|tpu|CPU|GPU|TPU):(\d+|\*)")


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """What a device's name says, None where it says nothing."""

    job: str | None = None
    replica: str | None = None
    task: str | None = None
    device: str | None = None

    @classmethod
    def parse(cls, name: str) -> DeviceSpec:
        """Reads a name, in any spelling.

        Raises:
            InvalidArgumentError: It is none.
        """
        spec = cls()
        for part in filter(None, name.split("/")):
            match = _PART.fullmatch(part)
            if match is None:
                raise InvalidArgumentError(f"{name!r} is no device; one is /job:worker/task:0/device:CPU:0, or /cpu:0.")
            if match[3]:
                spec = replace(spec, device=f"{match[3].upper()}:{match[4]}")
            else:
                value = match[2]
                spec = replace(spec, **{match[1]: value if ":" in value or match[1] != "device" else f"{value}:*"})
        return spec

    def within(self, outer: DeviceSpec) -> DeviceSpec:
        """This one, with what it does not say taken from an outer one."""
        return DeviceSpec(
            self.job or outer.job, self.replica or outer.replica, self.task or outer.task, self.device or outer.device
        )

    def __str__(self) -> str:
        parts = (("job", self.job), ("replica", self.replica), ("task", self.task), ("device", self.device))
        return "".join(f"/{key}:{value}" for key, value in parts if value is not None)


def canonical(name: str) -> str:
    """The one spelling of a device: "/cpu:0" -> "/device:CPU:0"."""
    return str(DeviceSpec.parse(name))


def on_first_cpu(name: str) -> str:
    """The first CPU of the machine that a device is on: where files are read and written."""
    return str(replace(DeviceSpec.parse(name), device="CPU:0"))
