"""Every exception that ckptstore raises.

    CheckpointError                      anything about checkpoints that a caller may want to catch at once
    ├── CheckpointNotFoundError          (FileNotFoundError)  no such checkpoint, step or part of one
    │   └── CheckpointPrunedError                             it was removed while it was being read
    ├── CheckpointExistsError            (FileExistsError)    the step is already saved
    ├── TensorNotFoundError              (KeyError)           the checkpoint holds no tensor of that name
    ├── DataLossError                                         stored bytes are damaged (TensorFlow's DATA_LOSS)
    ├── IncompatibleTensorError          (ValueError)         dtype, shape or kind of a tensor does not fit
    ├── InvalidArgumentError             (ValueError)         a step, name or option that cannot be meant
    ├── UnsafePathError                  (ValueError)         a path that leaves its directory or could be misread
    ├── UnsupportedError                                      valid, but not something this library or store can do
    ├── MissingDependencyError           (ImportError)        an optional package is not installed
    ├── StateError                                            the `checkpoint` state file
    │   ├── StateMissingError                                 checkpoints are there, their state file is not
    │   └── StateCorruptError                                 the state file cannot be read as one
    ├── ClockSkewError                                        this machine's clock and the store's disagree
    ├── CommitConflictError                                   somebody else changed the directory
    │   ├── FencedError                                       a newer session owns the directory
    │   └── SaveAbortedError                                  somebody gave up a save that was still under way
    └── StorageError                     (OSError)            the store said no
        ├── NotFoundError                (FileNotFoundError)  no such object, file or bucket
        ├── AlreadyExistsError           (FileExistsError)    a create-only put met an object
        ├── PreconditionFailedError                           the object is not the version that was asked for
        ├── PermissionDeniedError        (PermissionError)    credentials or file modes forbid it
        ├── StorageFullError                                  no space or quota left
        ├── UploadConflictError                               (inside of stores) an upload is spent, and begins anew
        └── StorageUnavailableError                           a passing failure: the only kind that is retried
            └── CommitUnknownError                            the store no longer says whether a save counts

Each class is also the builtin that a Python reader would catch, carries the `path` and tensor `name` it is
about, keeps its cause (`raise ... from`), and its message ends with what to do. Secrets never get in: paths
here are relative keys or URLs without credentials.
"""

from __future__ import annotations

import errno as _errno


class CheckpointError(Exception):
    """Base of all errors of this library.

    Args:
        message: What happened, in one line, with the remedy where there is one.
        path: The file or object it is about.
        name: The tensor it is about.
    """

    def __init__(self, message: str, *, path: str | None = None, name: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.name = name

    def __str__(self) -> str:
        return self.message


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """No checkpoint is there, or one of its files is gone."""


class CheckpointPrunedError(CheckpointNotFoundError):
    """The checkpoint was removed by somebody while it was being read. Nothing of it was returned."""


class CheckpointExistsError(CheckpointError, FileExistsError):
    """The step is already saved in this directory."""


class TensorNotFoundError(CheckpointError, KeyError):
    """The checkpoint holds no tensor of that name.

    Attributes:
        missing: Every name that was asked for in vain.
        unexpected: What the checkpoint holds beside the names asked for.
        mismatched: Tensors that are there, and do not fit what they should fill.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        name: str | None = None,
        missing: tuple[str, ...] = (),
        unexpected: tuple[str, ...] = (),
        mismatched: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, path=path, name=name)
        self.missing = missing or ((name,) if name is not None else ())
        self.unexpected = unexpected
        self.mismatched = mismatched


class DataLossError(CheckpointError):
    """Stored bytes are damaged: a checksum, a length or a structure is wrong.

    Attributes:
        offset: Where in the file the damaged part begins, in bytes, or None where that is not known.
        problem: What is wrong, without saying where.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        name: str | None = None,
        offset: int | None = None,
        problem: str | None = None,
    ) -> None:
        super().__init__(message, path=path, name=name)
        self.offset = offset
        self.problem = problem or message


class IncompatibleTensorError(CheckpointError, ValueError):
    """A tensor's dtype, shape or kind is not what was asked for or cannot be stored.

    Attributes:
        mismatched: Every tensor of a restore that does not fit what it should fill.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        name: str | None = None,
        mismatched: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, path=path, name=name)
        self.mismatched = mismatched


class InvalidArgumentError(CheckpointError, ValueError):
    """An argument that cannot be meant: a NaN step, an empty name, a negative count."""


class UnsafePathError(CheckpointError, ValueError):
    """A path that leaves its directory, carries credentials or could be read in two ways."""


class UnsupportedError(CheckpointError):
    """The thing is valid, but this library or this store cannot do it."""


class MissingDependencyError(CheckpointError, ImportError):
    """An optional package is not installed; the message has the pip command."""


class StateError(CheckpointError):
    """Something about the `checkpoint` state file."""


class StateMissingError(StateError):
    """The directory holds checkpoints but no state file, so which of them count is not known."""


class StateCorruptError(StateError):
    """The state file is there and cannot be read as one."""


class CommitConflictError(CheckpointError):
    """Another process changed the directory between our reading and our writing."""


class FencedError(CommitConflictError):
    """A newer session owns the directory; this one must stop. It has changed nothing that counts."""


class SaveAbortedError(CommitConflictError):
    """Somebody gave up this save while it was under way (`ckptstore gc --abort-open`); it does not count."""


class ClockSkewError(CheckpointError):
    """This machine's clock and the store's are too far apart to judge how old something is; nothing was deleted."""


class StorageError(CheckpointError, OSError):
    """The store refused or failed an operation.

    Attributes:
        errno: The operating system's number where one is known (for example ENOSPC), else a fitting one.
    """

    default_errno = _errno.EIO

    def __init__(
        self, message: str, *, path: str | None = None, name: str | None = None, errno: int | None = None
    ) -> None:
        super().__init__(message, path=path, name=name)
        self.errno = errno if errno is not None else self.default_errno


class NotFoundError(StorageError, FileNotFoundError):
    """No such object, file, directory or bucket."""

    default_errno = _errno.ENOENT


class AlreadyExistsError(StorageError, FileExistsError):
    """A create-only put found an object of that name."""

    default_errno = _errno.EEXIST


class PreconditionFailedError(StorageError):
    """The object is not, or no longer, the version that was asked for."""

    default_errno = _errno.EINVAL


class PermissionDeniedError(StorageError, PermissionError):
    """Credentials or file modes do not allow it."""

    default_errno = _errno.EACCES


class StorageFullError(StorageError):
    """No space or quota is left on the store."""

    default_errno = _errno.ENOSPC


class UploadConflictError(StorageError):
    """Another write of the key was under way when an upload was completed, and S3 wants the whole upload again.

    It is no StorageUnavailableError, since to repeat the completion alone is of no use. `TransferStore.create` begins
    anew; nobody above it sees this class.
    """


class StorageUnavailableError(StorageError):
    """A passing failure: time-outs, resets, 5xx and 429 replies. The only kind of error that is retried."""

    default_errno = _errno.EAGAIN


class CommitUnknownError(StorageUnavailableError):
    """The store stopped answering at the moment of the commit. The checkpoint is complete; whether it counts is not
    known here: `latest_step` tells once the store answers again.
    """


class located:  # noqa: N801 - it reads as a verb: `with located(path, name):`
    """Puts file and tensor into a DataLossError that comes from below, where neither was known.

    A class, not a generator: it stands around every tensor that is read.
    """

    __slots__ = ("_name", "_path")

    def __init__(self, path: str, name: str | None = None) -> None:
        self._path = path
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, DataLossError) or error.path is not None:
            return
        name = self._name if self._name is not None else error.name
        tensor = f", tensor {name!r}" if name is not None else ""
        at = f", offset {error.offset}" if error.offset is not None else ""
        raise DataLossError(
            f"{self._path}{tensor}{at}: {error.problem}",
            path=self._path,
            name=name,
            offset=error.offset,
            problem=error.problem,
        ) from error
