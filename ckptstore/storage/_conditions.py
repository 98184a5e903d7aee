"""What the conditional verbs say when the condition does not hold, in the same words on every store."""

from __future__ import annotations

from ckptstore.errors import AlreadyExistsError, PreconditionFailedError


def not_new(path: str) -> AlreadyExistsError:
    """For `Store.create`."""
    return AlreadyExistsError(f"There is an object {path} already, and it was left as it is.", path=path)


def not_that_version(path: str) -> PreconditionFailedError:
    """For `Store.replace`, and for reads of a version."""
    return PreconditionFailedError(
        f"{path} was replaced or deleted since it was looked up; start over from what is there now.", path=path
    )
