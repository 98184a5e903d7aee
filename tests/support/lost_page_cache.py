"""What a disk may hold after the power is cut: every state that the file system calls of a run allow.

A run is recorded at the level of `os`: what is created, written, linked, renamed, removed and synced. Then, for a cut
after each call, whatever was not synced may have reached the disk or not: a file's bytes wholly, in part or not at all;
a directory's entries in any subset, or in the order in which they were made (as on a file system with a journal).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest import mock

from ckptstore.storage._local import LOCK_KEY

Order = Literal["any", "journal"]


@dataclass(frozen=True)
class Call:
    """One call: what was done, in which directory, to which name, with which file."""

    what: str
    directory: str = ""
    name: str = ""
    inode: int = 0
    old_name: str = ""
    label: str = ""


@dataclass
class Recording:
    """The calls of a run, the bytes that each file had in the end, and its extended attributes."""

    root: str
    calls: list[Call] = field(default_factory=list)
    contents: dict[int, bytes] = field(default_factory=dict)
    tags: dict[int, dict[str, bytes]] = field(default_factory=dict)

    def mark(self, label: str) -> None:
        """Notes a moment: what was promised by then must hold from then on."""
        self.calls.append(Call("mark", label=label))

    def without(self, index: int) -> Recording:
        """The run without one of its calls."""
        return Recording(self.root, self.calls[:index] + self.calls[index + 1 :], self.contents, self.tags)

    @property
    def syncs(self) -> list[int]:
        """The positions of the calls that sync something."""
        return [index for index, call in enumerate(self.calls) if call.what in ("fsync", "fsyncdir")]


@dataclass(frozen=True)
class CrashState:
    """One thing that the disk may hold.

    Attributes:
        marks: The moments that had passed.
        files: Bytes by path, below the root.
        tags: Extended attributes by path.
    """

    marks: tuple[str, ...]
    files: tuple[tuple[str, bytes], ...]
    tags: tuple[tuple[str, tuple[tuple[str, bytes], ...]], ...]

    def materialise(self, directory: Path) -> None:
        """Writes it to a directory."""
        tags = dict(self.tags)
        for name, data in self.files:
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            for attribute, value in tags.get(name, ()):
                os.setxattr(path, attribute, value)


@contextlib.contextmanager
def record(root: Path) -> Iterator[Recording]:
    """Records what the block does below an empty directory.

    Raises:
        AssertionError: The disk ends up with something else than the calls that are understood here make.
    """
    assert not any(root.iterdir()), "what is there already would have to be known to be on disk"
    recording = Recording(str(root))
    real = {name: getattr(os, name) for name in ("open", "close", "fsync", "link", "replace", "unlink", "mkdir")}
    paths: dict[int, str] = {}  # of open directories, by descriptor
    inodes: dict[int, int] = {}  # of open files; numbers of our own, since the file system uses its own again
    names: dict[str, int] = {}

    def where(name: Any, dir_fd: int | None) -> tuple[str, str]:
        text = os.fsdecode(name)
        full = os.path.join(paths[dir_fd], text) if dir_fd is not None else text
        return os.path.split(os.path.abspath(full))

    def open_(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        fd: int = real["open"](path, flags, *args, **kwargs)
        directory, name = where(path, kwargs.get("dir_fd"))
        full = os.path.join(directory, name)
        if full.startswith(recording.root) or recording.root.startswith(full):
            if flags & os.O_DIRECTORY:
                paths[fd] = full
            elif flags & os.O_EXCL:
                inodes[fd] = names[full] = len(recording.calls) + 1
                recording.calls.append(Call("create", directory, name, inodes[fd]))
        return fd

    def close(fd: int) -> None:
        if fd in inodes:
            inode = inodes.pop(fd)
            with open(f"/proc/self/fd/{fd}", "rb") as file:
                recording.contents[inode] = file.read()
            recording.tags[inode] = {name: os.getxattr(fd, name) for name in os.listxattr(fd)}
        paths.pop(fd, None)
        real["close"](fd)

    def fsync(fd: int) -> None:
        real["fsync"](fd)
        if fd in inodes:
            recording.calls.append(Call("fsync", inode=inodes[fd]))
        elif fd in paths:
            recording.calls.append(Call("fsyncdir", paths[fd]))

    def link(src: Any, dst: Any, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool = True) -> None:
        real["link"](src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
        directory, name = where(dst, dst_dir_fd)
        inode = names[os.path.join(directory, name)] = names[os.path.join(*where(src, src_dir_fd))]
        recording.calls.append(Call("link", directory, name, inode))

    def replace(src: Any, dst: Any, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        real["replace"](src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        directory, name = where(dst, dst_dir_fd)
        inode = names[os.path.join(directory, name)] = names.pop(os.path.join(*where(src, src_dir_fd)))
        recording.calls.append(Call("rename", directory, name, inode, os.fsdecode(src)))

    def unlink(path: Any, *, dir_fd: int | None = None) -> None:
        real["unlink"](path, dir_fd=dir_fd)
        directory, name = where(path, dir_fd)
        recording.calls.append(Call("unlink", directory, name))

    def mkdir(path: Any, *args: Any, **kwargs: Any) -> None:
        real["mkdir"](path, *args, **kwargs)
        directory, name = where(path, None)
        recording.calls.append(Call("mkdir", directory, name))

    lock = threading.RLock()  # a call and its record are one, or another thread's come in between

    def alone(call: Callable[..., Any]) -> Callable[..., Any]:
        def locked(*args: Any, **kwargs: Any) -> Any:
            with lock:
                return call(*args, **kwargs)

        return locked

    calls = {"open": open_, "close": close, "fsync": fsync, "link": link, "replace": replace, "unlink": unlink}
    with mock.patch.multiple(os, mkdir=alone(mkdir), **{name: alone(call) for name, call in calls.items()}):
        yield recording
    made = {name: recording.contents[inode] for name, inode in _entries(recording.root, recording.calls).items()}
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    found.pop(LOCK_KEY, None)  # it has no bytes, and nobody misses it
    assert made == found


def crash_states(recording: Recording, order: Order) -> Iterator[CrashState]:
    """Every state of the disk, each once."""
    seen: set[CrashState] = set()
    for cut in range(len(recording.calls) + 1):
        for state in _after(recording, recording.calls[:cut], order):
            if state not in seen:
                seen.add(state)
                yield state


def _after(recording: Recording, calls: Sequence[Call], order: Order) -> Iterator[CrashState]:
    durable: list[Call] = []
    pending: list[Call] = []
    synced: set[int] = set()
    marks: list[str] = []
    for call in calls:
        if call.what == "fsync":
            synced.add(call.inode)
        elif call.what == "fsyncdir":
            # A journal is written in one go: what came before, in whatever directory, goes with it.
            done = [c for c in pending if order == "journal" or c.directory == call.directory]
            durable += done
            pending = [c for c in pending if c not in done]
        elif call.what == "mark":
            marks.append(call.label)
        else:
            pending.append(call)
    if order == "journal":
        choices: Iterator[list[Call]] = (pending[:count] for count in range(len(pending) + 1))
    else:
        masks = itertools.product((False, True), repeat=len(pending))
        choices = ([c for c, there in zip(pending, mask, strict=True) if there] for mask in masks)
    for survived in choices:
        kept = set(map(id, durable + survived))
        entries = _entries(recording.root, [c for c in calls if id(c) in kept])
        unsure = sorted({inode for inode in entries.values() if inode not in synced})
        for fates in itertools.product(("lost", "torn", "whole"), repeat=len(unsure)):
            fate = dict(zip(unsure, fates, strict=True))
            files, tags = {}, {}
            for path, inode in entries.items():
                data = recording.contents.get(inode, b"")
                how = fate.get(inode, "whole")
                files[path] = {"lost": b"", "torn": data[: len(data) // 2], "whole": data}[how]
                tags[path] = tuple(sorted(recording.tags.get(inode, {}).items())) if how == "whole" else ()
            yield CrashState(tuple(marks), tuple(sorted(files.items())), tuple(sorted(tags.items())))


def _entries(root: str, calls: Sequence[Call]) -> dict[str, int]:
    """Path -> inode, of what can be reached from the root."""
    files: dict[str, int] = {}
    directories = {root}
    for call in calls:
        path = os.path.join(call.directory, call.name)
        if call.what == "mkdir":
            directories.add(path)
        elif call.what in ("create", "link"):
            files[path] = call.inode
        elif call.what == "rename":
            files.pop(os.path.join(call.directory, call.old_name), None)
            files[path] = call.inode
        elif call.what == "unlink":
            files.pop(path, None)

    def reachable(path: str) -> bool:
        parent = os.path.dirname(path)
        return parent == root or (parent in directories and reachable(parent))

    return {os.path.relpath(path, root): inode for path, inode in files.items() if reachable(path)}
