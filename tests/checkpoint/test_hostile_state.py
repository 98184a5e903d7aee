"""Forged state files, names, history copies, pins and links: the commands that delete refuse, and delete nothing.

The row in a test's name is that of the security checklist that the commit protocol was designed against.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ckptstore as ck
from ckptstore._clock import SystemClock
from ckptstore.checkpoint import CheckpointDirectory
from ckptstore.checkpoint.orphans import OrphanCollector
from ckptstore.checkpoint.policies import EveryNHours, Within
from ckptstore.checkpoint.pruning import Pruner
from ckptstore.checkpoint.repair import repair
from ckptstore.format.ledger import MAX_ENTRIES, Entry, Ledger
from ckptstore.format.state import MAX_STATE_BYTES, CheckpointState
from ckptstore.storage import LocalStore, MemoryStore, Payload, from_url
from tests.support.golden import GOLDEN
from tests.support.run_directory import RunDirectory, arrays

KEPT = ("ckpt-1", "ckpt-2", "ckpt-3", "ckpt-4")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "run"
    RunDirectory(LocalStore(path, durable=False)).save(1, 2, 3, 4)
    return path


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    """A directory of ours with the steps 1 to 4, and files around it that are nobody's business."""
    for name in ("x", "x.index", "x.data-00000-of-00001", "ckpt-1.index"):
        (tmp_path / name).write_bytes(b"precious")
    return Path(shutil.copytree(template, tmp_path / "run"))


@pytest.fixture
def run(path: Path) -> RunDirectory:
    return RunDirectory(LocalStore(path, durable=False))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a path from a state file was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def commands(run: RunDirectory) -> dict[str, Callable[[], object]]:
    """Everything that deletes because of what a state file says, as eager as it can be made."""
    return {
        "prune": lambda: run.prune(1),
        "rm": lambda: Pruner(run.directory(), SystemClock()).remove(["ckpt-1"]),
        "gc": lambda: OrphanCollector(run.directory(), SystemClock()).collect(
            abort_open=True, complete_orphans=True, foreign_older_than=0.0, unfinished_older_than=0.0
        ),
    }


COMMANDS = ["prune", "rm", "gc"]


def around(run: RunDirectory) -> dict[str, bytes]:
    """The files of the directory and around it, but not the private ones."""
    top = Path(run.store.url).parent
    found = {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}
    return {name: data for name, data in found.items() if ".ckptstore/" not in name}


def forged(run: RunDirectory, where: str, name: str) -> bytes:
    """A state file, right to the last byte but that it names this, too."""
    ledger = run.ledger
    if where == "tensorflow":
        return CheckpointState("ckpt-4", (name, *KEPT)).to_bytes()
    if where == "latest":
        return CheckpointState(name, (*KEPT, name)).to_bytes()
    if where == "listed":
        return replace(ledger, listed=(Entry(name), *ledger.listed)).to_bytes()
    entry = Entry(name, "c" * 32) if where in ("open", "dead") else Entry(name, seq=1)
    return replace(ledger, **{where: (entry,)}).to_bytes()


def refuses(run: RunDirectory, command: str, *kinds: type[ck.CheckpointError]) -> ck.CheckpointError:
    before = around(run)
    with pytest.raises(kinds or ck.UnsafePathError) as caught:
        commands(run)[command]()
    assert around(run) == before
    message = str(caught.value)
    assert all(character.isprintable() for character in message), "a terminal would obey it"
    assert len(message) > 40
    return caught.value


NAMES = {
    "row01-parent": "../x",
    "row01-parents": "../../x",
    "row01-parent-within": "a/../ckpt-1",
    "row02-absolute": "/etc/passwd",
    "row03-web": "http://169.254.169.254/latest/meta-data",
    "row03-file-url": "file:///etc/passwd",
    "row03-other-bucket": "s3://other/x",
    "row04-backslashes": "..\\..\\x",
    "row04-drive": "C:\\x",
    "row04-drive-relative": "C:x",
    "row04-share": "\\\\host\\share",
    "row04-stream": "a:stream",
    "row06-star": "ckpt-*",
    "row06-question": "ckpt-?",
    "row06-class": "ckpt-[1-3]",
    "row07-nul": "ckpt\x00-1",
    "row07-newline": "ckpt\n-1",
    "row07-escape": "ckpt\x1b[2J",
    "row07-bidi": "ckpt\u202e-1",
    "row07-invisible": "ckpt\u200b-1",
    "row07-line-separator": "ckpt\u2028-1",
    "row07-long": "x" * 1025,
    "row08-dot": ".",
    "row08-state-file": "checkpoint",
    "row08-private": ".ckptstore/history/000000000000000001",
    "row08-index": "ckpt-4.index",
    "row08-data": "ckpt-4.data-00000-of-00001",
    "row08-meta": "ckpt-4.meta",
    "row10-dot-slash-within": "a/./ckpt-1",
    "row10-double-slash": "a//ckpt-1",
    "row10-capitals": "CKPT-1",
    "row10-full-width": "ckpt-\uff11",
}


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("where", ["tensorflow", "latest", "listed", "kept", "open", "dead", "trash"])
@pytest.mark.parametrize("kind", NAMES)
def test_a_name_that_could_be_misread_stops_everything(run: RunDirectory, kind: str, where: str) -> None:
    run.write(forged(run, where, NAMES[kind]))
    for command in COMMANDS:
        # TensorFlow's state files tell nothing to be garbage, whatever they name.
        foreign = command == "gc" and where in ("tensorflow", "latest")
        refuses(run, command, *((ck.UnsupportedError, ck.UnsafePathError) if foreign else (ck.UnsafePathError,)))


def test_row01_what_was_refused_is_brought_back_by_repair(run: RunDirectory) -> None:
    run.write(forged(run, "trash", "../x"))
    refuses(run, "prune")
    assert repair(run.directory()).source == "history"
    assert run.prune(1).removed == ["ckpt-1", "ckpt-2", "ckpt-3"]


def test_row02_an_absolute_path_within_the_directory_is_a_name_of_it(run: RunDirectory, path: Path) -> None:
    run.write(CheckpointState(f"{path}/ckpt-4", tuple(f"{path}/{name}" for name in KEPT)).to_bytes())
    assert run.prune(1).removed == ["ckpt-1", "ckpt-2", "ckpt-3"]
    assert run.stored == {"ckpt-4"}
    assert (path.parent / "ckpt-1.index").exists()


def test_row05_percent_signs_are_what_they_are(run: RunDirectory, path: Path) -> None:
    (path / "%2e%2e").mkdir()
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy2(path / f"ckpt-1{suffix}", path / "%2e%2e" / f"x{suffix}")
    run.write(forged(run, "tensorflow", "%2e%2e/x"))
    before = around(run)
    run.prune(4)
    gone = before.keys() - around(run).keys()
    assert gone == {"run/%2e%2e/x.index", "run/%2e%2e/x.data-00000-of-00001"}


@pytest.mark.parametrize("latest", ["ckpt-1", "ckpt-2"])
def test_row10_the_latest_stays_wherever_it_stands_in_the_list(run: RunDirectory, latest: str) -> None:
    run.write(CheckpointState(latest, KEPT).to_bytes())
    report = run.prune(1)
    assert run.listed == [latest, "ckpt-4"]
    assert run.ledger.latest == latest
    assert report.decisions[KEPT.index(latest)].reasons == ("the latest",)
    assert run.stored == {latest, "ckpt-4"}


@pytest.mark.parametrize("where", ["listed", "kept", "open"])
@pytest.mark.parametrize("attempt", ["its own", "unknown", "another"])
@pytest.mark.parametrize("command", ["prune", "gc"])
def test_row10_what_counts_is_not_also_trash(run: RunDirectory, where: str, attempt: str, command: str) -> None:
    ledger = run.ledger
    entry = ledger.listed[1]
    twin = {"its own": entry, "unknown": replace(entry, attempt=None), "another": replace(entry, attempt="c" * 32)}
    if where == "listed":
        ledger = replace(ledger, trash=(replace(twin[attempt], time=None, seq=1),))
    else:
        rest = (ledger.listed[0], *ledger.listed[2:])
        ledger = replace(ledger, listed=rest, trash=(replace(twin[attempt], time=None, seq=1),))
        ledger = replace(ledger, **{where: (entry if where == "kept" else replace(entry, time=None),)})
    run.write(ledger)
    refuses(run, command)


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("where", ["trash", "dead"])
def test_row10_a_trainer_does_not_delete_what_counts_either(
    run: RunDirectory, path: Path, where: str, isolated: bool
) -> None:
    ledger = run.ledger
    entry = ledger.listed[1]
    if isolated:  # a name that only this attempt can have
        entry = replace(entry, prefix=f"r-{str(entry.attempt)[:16]}/ckpt-2")
        (path / entry.prefix).parent.mkdir()
        for file in sorted(path.glob("ckpt-2.*")):
            file.rename(path / entry.prefix.replace("ckpt-2", file.name))
    listed = (ledger.listed[0], entry, *ledger.listed[2:])
    run.write(replace(ledger, listed=listed, **{where: (replace(entry, time=None, seq=int(where == "trash")),)}))
    manager = run.manager()
    manager.save(5, arrays(5))
    assert manager.restore(2)["w"][0] == 2


@pytest.mark.parametrize("by", ["pruner", "trainer"])
def test_row09_a_file_that_is_no_checkpoint_does_not_go_as_one_of_the_old_format(
    run: RunDirectory, path: Path, by: str
) -> None:
    strangers = {"train.py": b"import this", "events.out": b"\x00" * 200, "short": b"", "weights-1": b"x" * 47}
    for name, data in strangers.items():
        (path / name).write_bytes(data)
    shutil.copy(GOLDEN / "09a_v1_basic" / "model.ckpt", path / "old.ckpt")
    run.write(CheckpointState("ckpt-4", (*strangers, "old.ckpt", *KEPT)).to_bytes())
    if by == "pruner":
        report = run.prune(4)
        assert {entry.prefix for entry in report.collected.blocked} == set(strangers)
    else:
        run.save(5, max_to_keep=3)
    assert {name: (path / name).read_bytes() for name in strangers} == strangers
    assert not (path / "old.ckpt").exists()


def test_row09_names_go_by_the_whole_of_them(run: RunDirectory, path: Path) -> None:
    strangers = [
        "ckpt-10.index",
        "ckpt-1.index~",
        "ckpt-1.data-0-of-1",
        "ckpt-1.data-00001-of-00001",
        "ckpt-1.metadata",
    ]
    for name in strangers:
        (path / name).write_bytes(b"mine")
    run.prune(1)
    assert [name for name in strangers if (path / name).exists()] == strangers


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["bytes", "entries"])
def test_row11_a_huge_state_file(run: RunDirectory, kind: str, command: str) -> None:
    if kind == "bytes":
        state = b'model_checkpoint_path: "ckpt-4"\n#' + b"x" * MAX_STATE_BYTES
    else:
        body = "".join(f'# dead {"c" * 32} "c{i}"\n' for i in range(MAX_ENTRIES + 1)).encode()
        state = with_header(run.ledger, body + CheckpointState("ckpt-4", ("ckpt-4",)).to_bytes())
    run.write(state)
    started = time.monotonic()
    refuses(run, command, ck.StateCorruptError)
    assert time.monotonic() - started < 5


def with_header(ledger: Ledger, body: bytes) -> bytes:
    """A forged state file of ours, with a checksum that is right."""
    from ckptstore.format.checksum import crc32c

    head = f"# ckptstore 1 seq={ledger.seq} epoch={ledger.epoch} session={ledger.session} id={ledger.id}".encode()
    return head + f" crc32c={crc32c(body, crc32c(head)):08x}\n".encode() + body


BROKEN = {
    "row12-unknown-field": lambda data: data + b'\nname: "x"\n',
    "row12-byte-order-mark": lambda data: b"\xef\xbb\xbf" + data[data.index(b"model") :],
    "row12-nested": lambda data: b"x {" * 100_000,
    "row13-empty": lambda data: b"",
    "row13-cut": lambda data: data[: len(data) // 2],
    "row13-flipped": lambda data: data.replace(b'"ckpt-1"', b'"ckpt-0"'),
    "row13-zeros": lambda data: b"\x00" * len(data),
    "row13-header-alone": lambda data: data.splitlines(keepends=True)[0],
    "row15-epoch": lambda data: data.replace(b"epoch=1 ", b"epoch=9223372036854775808000 "),
    "row15-seq": lambda data: data.replace(b"seq=", b"seq=-"),
    "row15-session": lambda data: data.replace(b"session=", b"session=../../"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", BROKEN)
def test_a_state_file_that_is_damaged_stops_everything(run: RunDirectory, kind: str, command: str) -> None:
    run.write(BROKEN[kind](run.files["checkpoint"]))
    error = refuses(run, command, ck.StateCorruptError)
    assert "repair" in str(error)
    assert error.path == f"{run.store.url}/checkpoint"


@pytest.mark.parametrize("command", COMMANDS)
def test_row13_a_state_file_that_is_gone_stops_everything(run: RunDirectory, command: str) -> None:
    run.store.delete(["checkpoint"])
    refuses(run, command, ck.StateMissingError)


ODD_TIMES = ["nan", "inf", "-inf", "-1", "1e308", "-1e308", "1e400", "99999999999"]


@pytest.mark.parametrize("odd", ODD_TIMES)
@pytest.mark.parametrize("policy", [EveryNHours(1000), Within(0.001)])
def test_row14_a_time_that_cannot_be_true_removes_nothing(run: RunDirectory, policy: ck.Policy, odd: str) -> None:
    text = CheckpointState("ckpt-4", KEPT).to_bytes().decode()
    now = SystemClock().time()
    stamps = [now - 3600, odd, odd, now]
    run.write((text + "".join(f"all_model_checkpoint_timestamps: {stamp}\n" for stamp in stamps)).encode())
    report = run.prune(policy)
    assert not {"ckpt-2", "ckpt-3", "ckpt-4"} & set(report.removed)
    assert {"ckpt-2", "ckpt-3", "ckpt-4"} <= run.stored


@pytest.mark.parametrize("command", COMMANDS)
def test_row14_a_wrong_number_of_times_stops_everything(run: RunDirectory, command: str) -> None:
    run.write(CheckpointState("ckpt-4", KEPT).to_bytes() + b"all_model_checkpoint_timestamps: 5\n")
    refuses(run, command, ck.StateCorruptError)


def test_row15_many_entries_whose_files_are_not_there_cost_no_request_each() -> None:
    from ckptstore.testing import FaultyStore

    run = RunDirectory()
    run.save(1, 2)
    ledger = run.ledger
    forged = tuple(Entry(f"gone-{i}", "c" * 32, seq=1) for i in range(5000))
    dead = tuple(Entry(f"dead-{i}", f"{i:032x}") for i in range(5000))
    run.write(replace(ledger, trash=forged, dead=dead))
    watched = FaultyStore(run.store)
    started = time.monotonic()
    run.prune(2, store=watched)
    assert time.monotonic() - started < 20
    assert len(watched.calls) < 40
    assert run.ledger.trash == run.ledger.dead == ()
    assert run.stored == {"ckpt-1", "ckpt-2"}


def test_row15_a_dead_save_takes_nothing_with_it_that_bears_another_tag(run: RunDirectory, path: Path) -> None:
    (path / "old-3.index").write_bytes(b"by hand")
    ledger = run.ledger
    dead = (Entry("ckpt-2", "c" * 32), Entry("old-3", "d" * 32))
    run.write(replace(ledger, dead=dead))
    before = around(run)
    run.prune(4)
    assert around(run).keys() == before.keys()
    assert run.ledger.dead == ()


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
def test_row16_a_latest_checkpoint_of_which_a_part_is_missing_protects_an_older_one(
    run: RunDirectory, part: str
) -> None:
    run.store.delete([f"ckpt-4.{part}"])
    assert run.prune(1).removed == ["ckpt-1", "ckpt-2"]
    assert {"ckpt-3", "ckpt-4"} == run.stored


def test_row17_all_of_the_newest_are_damaged(run: RunDirectory) -> None:
    for step in (2, 3, 4):
        run.damage(f"ckpt-{step}.index", b"damaged")
    assert run.prune(2).removed == ["ckpt-2"]
    assert run.listed == ["ckpt-1", "ckpt-3", "ckpt-4"]


def test_row17_a_checkpoint_of_the_old_format_without_one_of_its_shards_is_not_whole(
    run: RunDirectory, path: Path
) -> None:
    for file in (GOLDEN / "09d_v1_sharded").glob("sh.ckpt-3*"):
        shutil.copy(file, path)
    (path / "sh.ckpt-3-00002-of-00004").unlink()
    pattern = "sh.ckpt-3-?????-of-00004"
    run.write(CheckpointState(pattern, (*KEPT, pattern)).to_bytes())
    assert run.prune(1).removed == ["ckpt-1", "ckpt-2", "ckpt-3"]
    assert run.listed == ["ckpt-4", pattern]


# Row 18, a rule that keeps nothing, and row 19, a flood of new checkpoints: tests/cli/test_prune.py.

ROOTS = ["/", "//", "s3://bucket", "s3://bucket/", "gs://bucket//", "memory://", "file:///", "file://"]


class Named(MemoryStore):
    """A store that says that it is somewhere else."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._name = url

    @property
    def url(self) -> str:
        return self._name


@pytest.mark.parametrize("url", ROOTS)
def test_row20_a_whole_bucket_or_file_system_is_no_directory(url: str) -> None:
    directory = CheckpointDirectory(Named(url))
    for act in (
        lambda: Pruner(directory, SystemClock()),
        lambda: OrphanCollector(directory, SystemClock()),
        lambda: repair(directory),
    ):
        with pytest.raises(ck.UnsafePathError, match="whole bucket or file system"):
            act()


@pytest.mark.parametrize("url", ["/data", "s3://bucket/run", "gs://bucket/a/b/", "memory://a/b", "memory"])
def test_row20_a_directory_in_it_is_one(url: str) -> None:
    Pruner(CheckpointDirectory(Named(url)), SystemClock())


def test_row20_the_root_of_this_machine() -> None:
    for spelling in ("/", "file:///", "/..", "//"):
        with from_url(spelling) as store, pytest.raises(ck.UnsafePathError):
            Pruner(CheckpointDirectory(store), SystemClock())


def test_row21_a_link_goes_and_what_it_leads_to_stays(run: RunDirectory, path: Path) -> None:
    target = path.parent / "precious.index"
    (path / "ckpt-1.index").rename(target)
    (path / "ckpt-1.index").symlink_to(target)
    run.prune(1)
    assert target.exists()
    assert not (path / "ckpt-1.index").is_symlink()


def test_row21_a_link_to_a_directory_is_not_entered(run: RunDirectory, path: Path) -> None:
    name = "r-" + "c" * 16
    outside = path.parent / "outside"
    outside.mkdir()
    for suffix in ("index", "data-00000-of-00001"):
        shutil.copy(path / f"ckpt-1.{suffix}", outside / f"ckpt-9.{suffix}")
    (path / name).symlink_to(outside)
    run.write(replace(run.ledger, trash=(Entry(f"{name}/ckpt-9", "c" * 32, seq=1),)))
    for command in ("rm", "prune", "gc"):
        commands(run)[command]()
    assert len(list(outside.iterdir())) == 2


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "directory"])
def test_row22_an_index_that_is_no_file(run: RunDirectory, path: Path, make: Callable[[Path], None]) -> None:
    (path / "ckpt-4.index").unlink()
    make(path / "ckpt-4.index")
    assert run.prune(1).removed == ["ckpt-1", "ckpt-2"]  # 4 is not whole, and 3 is


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "directory"])
@pytest.mark.parametrize("command", COMMANDS)
def test_row22_a_state_file_that_is_no_file(
    run: RunDirectory, path: Path, make: Callable[[Path], None], command: str
) -> None:
    (path / "checkpoint").unlink()
    make(path / "checkpoint")
    refuses(run, command, ck.StorageError)


def test_row23_a_state_file_that_is_a_link_is_replaced_and_not_written_through(run: RunDirectory, path: Path) -> None:
    target = path.parent / "precious"
    (path / "checkpoint").rename(target)
    (path / "checkpoint").symlink_to(target)
    before = target.read_bytes()
    run.prune(1)
    assert target.read_bytes() == before
    assert not (path / "checkpoint").is_symlink()
    assert run.listed == ["ckpt-4"]


def test_row23_temporary_files_that_others_made_before_are_not_written_to(run: RunDirectory, path: Path) -> None:
    target = path.parent / "precious"
    target.write_bytes(b"precious")
    for name in (".ckptstore-tmp-" + "0" * 32, "checkpoint.tmp", ".ckptstore/checkpoint.tmp"):
        (path / name).symlink_to(target)
    run.prune(1)
    assert target.read_bytes() == b"precious"


PINS = {
    "garbage": [".ckptstore/pins/x", ".ckptstore/pins/" + "z" * 49, ".ckptstore/pins/a/b/c", ".ckptstore/pins"],
    "many": [f".ckptstore/pins/{i:016x}-{i:032x}" for i in range(3000)],
}


@pytest.mark.parametrize("kind", PINS)
def test_row24_pins_that_are_none_hold_nothing_back(kind: str) -> None:
    run = RunDirectory()
    run.save(1, 2)
    for key in PINS[kind]:
        run.store.put(key, Payload.of(b"\xff" * 10))
    assert [entry.prefix for entry in run.prune(1).collected.done] == ["ckpt-1"]


def test_row24_a_pin_of_the_year_9999_holds_back_what_it_names_and_says_so(run: RunDirectory, path: Path) -> None:
    from ckptstore.checkpoint.pins import Pins

    pin = path / f"{Pins(run.directory().file).of(run.ledger.listed[0])}{'0' * 32}"
    pin.parent.mkdir(parents=True)
    pin.write_bytes(b"")
    os.utime(pin, (253370764800, 253370764800))
    report = run.prune(1)
    assert [entry.prefix for entry in report.collected.pinned] == ["ckpt-1"]
    assert run.stored == {"ckpt-1", "ckpt-4"}
    pin.unlink()
    assert [entry.prefix for entry in run.prune(1).collected.done] == ["ckpt-1"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../ckpt-1", "checkpoint", ".ckptstore/x", "ckpt\n"])
@pytest.mark.parametrize("where", ["listed", "kept", "trash"])
def test_row45_a_forged_copy_in_the_history_is_not_believed(run: RunDirectory, where: str, name: str) -> None:
    seq = run.ledger.seq + 1
    data = replace(run.ledger, seq=seq)
    entry = Entry(name, "c" * 32, seq=1 if where == "trash" else 0)
    copy = run.directory().history.copy_name(seq)
    run.store.put(copy, Payload.of(replace(data, **{where: (entry, *data.listed[:0])}).to_bytes()))
    run.store.delete(["checkpoint"])
    before = around(run)
    with pytest.raises(ck.StateError):
        repair(run.directory())
    assert around(run) == before
    repair(run.directory(), skip_damaged=True)
    assert run.listed == list(KEPT)


def test_row45_odd_names_in_the_history_are_no_copies(run: RunDirectory) -> None:
    data = replace(run.ledger, listed=run.ledger.listed[:1], latest="ckpt-1", seq=9).to_bytes()
    odd = ["9", "0" * 17 + "9x", "9" * 19, "x/" + "0" * 17 + "9"]
    for name in odd:
        run.store.put(f".ckptstore/history/{name}", Payload.of(data))
    run.store.delete(["checkpoint"])
    repair(run.directory())
    assert run.listed == list(KEPT)
    run.prune(1)
    assert all(run.has(f".ckptstore/history/{name}") for name in odd)


def test_row45_a_forged_keep_can_only_protect(run: RunDirectory, path: Path) -> None:
    (path / "mine-3.index").write_bytes(b"by hand")
    run.write(replace(run.ledger, kept=(Entry("mine-3", "c" * 32), Entry("nowhere-1"))))
    for command in ("rm", "prune", "gc"):
        commands(run)[command]()
    assert run.listed == ["ckpt-4"]
    assert run.stored == {"ckpt-4", "mine-3"}


@pytest.mark.parametrize("command", COMMANDS)
def test_row45_what_is_listed_is_not_also_kept_for_ever(run: RunDirectory, command: str) -> None:
    ledger = run.ledger
    run.write(replace(ledger, kept=(Entry("ckpt-3", ledger.listed[2].attempt),)))
    refuses(run, command)
