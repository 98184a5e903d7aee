"""The ledger: what ckptstore adds to the state file."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptstore.errors import StateCorruptError, UnsafePathError, UnsupportedError
from ckptstore.format.checksum import crc32c
from ckptstore.format.ledger import MAX_ENTRIES, Entry, Ledger
from ckptstore.format.state import CheckpointState

A, B, C = "a" * 32, "b" * 32, "c" * 32
LEDGER = Ledger(
    listed=(Entry("ckpt-1", A, 1700000000.5, pinned=True), Entry("ckpt-2", None, 1700000001.0)),
    latest="ckpt-2",
    last_preserved=1600000000.25,
    kept=(Entry("ckpt-0", B, 1600000000.25), Entry("old", None, 5.0, pinned=True)),
    open=(Entry("ckpt-3", C),),
    dead=(Entry("r-0123456789abcdef/ckpt-2", B),),
    trash=(Entry('größe "x" # y-1', None, seq=7), Entry("ckpt-9", A, seq=40)),
    seq=42,
    epoch=3,
    session="f" * 32,
    id="0123456789abcdef",
)
TEXT = f"""\
# ckptstore 1 seq=42 epoch=3 session={"f" * 32} id=0123456789abcdef crc32c=CRC
# listed {A} pinned "ckpt-1"
# listed - "ckpt-2"
# kept {B} 1600000000.25 "ckpt-0"
# kept - pinned 5.0 "old"
# open {C} "ckpt-3"
# dead {B} "r-0123456789abcdef/ckpt-2"
# trash - 7 "größe \\"x\\" # y-1"
# trash {A} 40 "ckpt-9"
model_checkpoint_path: "ckpt-2"
all_model_checkpoint_paths: "ckpt-1"
all_model_checkpoint_paths: "ckpt-2"
all_model_checkpoint_timestamps: 1700000000.5
all_model_checkpoint_timestamps: 1700000001.0
last_preserved_timestamp: 1600000000.25
"""


def sealed(body: str, head: str = "# ckptstore 1 seq=42 epoch=3") -> bytes:
    data = body.encode()
    line = f"{head} session={'f' * 32} id=0123456789abcdef".encode()
    return line + f" crc32c={crc32c(data, crc32c(line)):08x}\n".encode() + data


def test_the_text():
    assert re.sub("crc32c=[0-9a-f]{8}", "crc32c=CRC", LEDGER.to_bytes().decode()) == TEXT


def test_it_comes_back():
    assert Ledger.from_bytes(LEDGER.to_bytes()) == LEDGER


def test_tensorflows_part_stands_alone():
    assert CheckpointState.from_bytes(LEDGER.to_bytes()) == LEDGER.state


def test_tensorflows_own_file():
    state = CheckpointState("m-2", ("m-1", "m-2"), (1.0, 2.0), 1.0)
    ledger = Ledger.from_bytes(state.to_bytes())
    assert not ledger.managed
    assert ledger.listed == (Entry("m-1", None, 1.0), Entry("m-2", None, 2.0))
    assert ledger.to_bytes() == state.to_bytes()


def test_a_latest_that_is_not_listed_is():
    ledger = Ledger.from_bytes(b'model_checkpoint_path: "x"\nall_model_checkpoint_paths: "y"\n')
    assert [entry.prefix for entry in ledger.listed] == ["y", "x"]
    assert ledger.latest == "x"


def test_times_are_all_or_none():
    one = replace(LEDGER, listed=(LEDGER.listed[0], Entry("ckpt-2")))
    assert Ledger.from_bytes(one.to_bytes()).listed[0].time is None


@pytest.mark.parametrize("position", range(len(LEDGER.to_bytes())))
def test_every_byte_counts(position):
    data = bytearray(LEDGER.to_bytes())
    data[position] ^= 1
    try:
        ledger = Ledger.from_bytes(bytes(data))
    except (StateCorruptError, UnsupportedError):
        return
    # A changed first mark makes the line a comment like any other, and the file TensorFlow's own.
    assert position < len("# ckptstore ")
    assert not ledger.managed


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (f'# listed {A} "x"\n', "names no checkpoint"),
        (f'# open - "x"\n# listed {A} "c"\nmodel_checkpoint_path: "c"\n', "names nothing"),
        (f'# trash {A} "x"\n# listed {A} "c"\nmodel_checkpoint_path: "c"\n', "cannot be read"),
        (f'# trash {A} 1.5 "x"\n# listed {A} "c"\nmodel_checkpoint_path: "c"\n', "cannot be read"),
        (f'# listed {A} 3 "c"\nmodel_checkpoint_path: "c"\nall_model_checkpoint_paths: "c"\n', "cannot be read"),
        (f'# other {A} "x"\nmodel_checkpoint_path: "c"\n', "none of ckptstore's"),
        (f'# listed {A} "x\nmodel_checkpoint_path: "c"\n', "none of ckptstore's"),
        (f'# listed {A} "\\q"\nmodel_checkpoint_path: "c"\nall_model_checkpoint_paths: "c"\n', "cannot be read"),
        (f'# listed {A} "d"\nmodel_checkpoint_path: "c"\nall_model_checkpoint_paths: "c"\n', "two lists"),
        ('model_checkpoint_path: "c"\nall_model_checkpoint_paths: "c"\n', "two lists"),
    ],
)
def test_what_is_not_a_ledger(body, why):
    with pytest.raises(StateCorruptError, match=why):
        Ledger.from_bytes(sealed(body))


def test_an_edited_file():
    with pytest.raises(StateCorruptError, match="checksum"):
        Ledger.from_bytes(LEDGER.to_bytes().replace(b'"ckpt-1"', b'"ckpt-7"'))


def test_a_newer_version():
    with pytest.raises(UnsupportedError, match="version 2"):
        Ledger.from_bytes(b"# ckptstore 2 something else\n")


@pytest.mark.parametrize(
    "head", ["# ckptstore 1 seq=-1 epoch=3", f"# ckptstore 1 seq={1 << 63} epoch=3", "# ckptstore 1 "]
)
def test_a_damaged_first_line(head):
    with pytest.raises(StateCorruptError, match="first line"):
        Ledger.from_bytes(sealed(TEXT.split("\n", 1)[1], head))


def test_too_many_entries():
    many = tuple(Entry(f"c-{n}", A) for n in range(MAX_ENTRIES + 1))
    with pytest.raises(StateCorruptError, match="limits"):
        replace(LEDGER, trash=many).to_bytes()
    body = "".join(f'# dead {A} "c-{n}"\n' for n in range(MAX_ENTRIES)) + TEXT.split("\n", 1)[1]
    with pytest.raises(StateCorruptError, match="over the limit"):
        Ledger.from_bytes(sealed(body))


def test_names_that_are_not_utf8():
    with pytest.raises(UnsafePathError):
        replace(LEDGER, listed=(Entry("x\udcff"),), latest="x\udcff").to_bytes()


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
attempts = st.one_of(st.none(), st.text("0123456789abcdef", min_size=32, max_size=32))
times = st.floats(1e-300, 1e300)


@given(
    st.lists(st.builds(Entry, names, attempts, times, st.booleans()), min_size=1, max_size=5),
    st.lists(st.builds(Entry, names, attempts, times, st.booleans()), max_size=3),
    st.lists(st.builds(Entry, names, attempts.filter(bool)), max_size=3),
    st.lists(st.builds(Entry, names, attempts, seq=st.integers(0, 10**18 - 1)), max_size=3),
)
def test_any_ledger_comes_back(listed, kept, opened, trash):
    ledger = Ledger(
        tuple(listed),
        listed[-1].prefix,
        1.0,
        tuple(kept),
        tuple(opened),
        tuple(opened),
        tuple(trash),
        1,
        2,
        "f" * 32,
        "0" * 16,
    )
    assert Ledger.from_bytes(ledger.to_bytes()) == ledger
