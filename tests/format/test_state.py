"""The state file: TensorFlow's text to the byte, and every spelling of it that TensorFlow reads."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

import pytest

from ckptstore.errors import StateCorruptError, UnsafePathError
from ckptstore.format.state import MAX_STATE_BYTES, CheckpointState

GOLDEN = Path(__file__).parents[1] / "golden"
STATES = sorted(p for p in GOLDEN.rglob("*") if p.is_file() and p.read_bytes().startswith(b"model_checkpoint_path: "))
read = CheckpointState.from_bytes


def test_the_text_is_that_of_the_format():
    state = CheckpointState("ckpt-700", ("ckpt-300", "ckpt-700"), (1700000000.1234567, 5.0), 1e16)
    assert state.to_text() == (
        'model_checkpoint_path: "ckpt-700"\n'
        'all_model_checkpoint_paths: "ckpt-300"\n'
        'all_model_checkpoint_paths: "ckpt-700"\n'
        "all_model_checkpoint_timestamps: 1700000000.1234567\n"
        "all_model_checkpoint_timestamps: 5.0\n"
        "last_preserved_timestamp: 1e+16\n"
    )
    assert read(state.to_bytes()) == state


def test_fields_without_a_value_have_no_line():
    assert CheckpointState("").to_text() == ""
    assert CheckpointState("x", last_preserved_timestamp=0.0).to_text() == 'model_checkpoint_path: "x"\n'
    assert CheckpointState("x", ("x",), (math.inf,)).to_text().endswith("timestamps: inf\n")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("\n\r\t", r"\n\r\t"),
        ("\"'\\", r"\"\'\\"),
        ("\x00\x01\x07\x08\x0b\x1f\x7f", r"\000\001\007\010\013\037\177"),
        ("é世😀\x80\xa0", "é世😀\x80\xa0"),
        ("a b#c", "a b#c"),
        ("\x01" + "2", r"\0012"),
    ],
)
def test_escapes_are_those_of_the_format(path, text):
    state = CheckpointState(path, (path,))
    assert state.to_text() == f'model_checkpoint_path: "{text}"\nall_model_checkpoint_paths: "{text}"\n'
    assert read(state.to_bytes()) == state


def test_every_character_below_300_comes_back():
    for number in range(1, 300):
        assert read(CheckpointState(chr(number) + "7").to_bytes()).model_checkpoint_path == chr(number) + "7"


def test_a_path_that_is_not_utf_8_is_not_written():
    # A file name on disk need not be UTF-8. What is written must be readable, or the directory is lost with it.
    state = CheckpointState("ck\udcff-1", ("ck\udcff-1",))
    with pytest.raises(UnsafePathError, match="not UTF-8"):
        state.to_bytes()


@pytest.mark.parametrize("path", STATES, ids=lambda p: str(p.relative_to(GOLDEN)))
def test_a_state_that_tensorflow_wrote_is_written_again_to_the_byte(path):
    assert read(path.read_bytes()).to_bytes() == path.read_bytes()


def test_there_are_golden_states_to_compare_with():
    assert len(STATES) >= 25


@pytest.mark.parametrize(
    "text",
    [
        'model_checkpoint_path: "a"',
        "model_checkpoint_path: 'a'",
        'model_checkpoint_path:"a"',
        'model_checkpoint_path  :  "a" ',
        '  model_checkpoint_path: "a"\r\n',
        '# a comment\nmodel_checkpoint_path: "a" # another\n#',
        'model_checkpoint_path:\n  "a"\n',
        'model_checkpoint_path: "" "a" \'\'',
        r'model_checkpoint_path: "\141"',
        r'model_checkpoint_path: "\x61"',
        r'model_checkpoint_path: "\u0061"',
        r'model_checkpoint_path: "\U00000061"',
        'model_checkpoint_path: "a";',
        'model_checkpoint_path: "a",',
        'model_checkpoint_path: "z"\nmodel_checkpoint_path: "a"\n',
        'model_checkpoint_path: "z" model_checkpoint_path: "a"',
        '  model_checkpoint_path: "z"\n  model_checkpoint_path: "a"\n',
        'model_checkpoint_path:\n"z"\nmodel_checkpoint_path:\n"a"\n',
        'model_checkpoint_path: "z" # first\nlast_preserved_timestamp: 0 model_checkpoint_path: "a"',
    ],
)
def test_every_spelling_of_one_path_is_read(text):
    assert read(text.encode()) == CheckpointState("a")


def test_octal_escapes_of_older_protobufs_are_utf_8():
    assert read(rb'model_checkpoint_path: "\303\251"').model_checkpoint_path == "é"
    assert read(rb'model_checkpoint_path: "\xc3\xa9\u4e16\U0001F600"').model_checkpoint_path == "é世😀"


def test_lists_may_be_written_in_brackets():
    state = read(
        b'model_checkpoint_path: "b" all_model_checkpoint_paths: ["a", \'b\'] all_model_checkpoint_timestamps: [1, 2.5]'
    )
    assert state == CheckpointState("b", ("a", "b"), (1.0, 2.5))
    assert read(b'model_checkpoint_path: "b" all_model_checkpoint_paths: []') == CheckpointState("b")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("1e3", 1000.0),
        ("-2.5", -2.5),
        ("1f", 1.0),
        ("inf", math.inf),
        ("-inf", -math.inf),
        ("1e400", math.inf),
    ],
)
def test_timestamps_may_be_any_number(text, value):
    state = read(
        f'model_checkpoint_path: "a" all_model_checkpoint_paths: "a" all_model_checkpoint_timestamps: {text}'.encode()
    )
    assert state.all_model_checkpoint_timestamps == (value,)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400"])
def test_a_preserved_time_that_is_no_time_is_none(text):
    assert read(f'model_checkpoint_path: "a" last_preserved_timestamp: {text}'.encode()).last_preserved_timestamp == 0.0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n# nothing\n",
        b'model_checkpoint_path: ""',
        b'all_model_checkpoint_paths: "a"',
        b'model_checkpoint_path: "a',
        b"model_checkpoint_path: a",
        b"model_checkpoint_path: 7",
        b'model_checkpoint_path "a"',
        b'model_checkpoint_path: "a"\nno_such_field: 1',
        b'model_checkpoint_path: "a"\n[x.y]: 1',
        b'model_checkpoint_path: "a"\n[type.googleapis.com/x] { }',
        b'\xef\xbb\xbfmodel_checkpoint_path: "a"',
        b'model_checkpoint_path: "\xff"',
        b'model_checkpoint_path: "\xed\xa0\x80"',
        rb'model_checkpoint_path: "\377"',
        rb'model_checkpoint_path: "\x"',
        rb'model_checkpoint_path: "\u00"',
        rb'model_checkpoint_path: "\U00110000"',
        rb'model_checkpoint_path: "\ud800"',
        rb'model_checkpoint_path: "\q"',
        b'model_checkpoint_path: "a\nb"',
        b'model_checkpoint_path: "a" all_model_checkpoint_timestamps: 1',
        b'model_checkpoint_path: "a" all_model_checkpoint_paths: "a" all_model_checkpoint_timestamps: [1, 2]',
        b'model_checkpoint_path: "a" all_model_checkpoint_timestamps: "x"',
        b'model_checkpoint_path: "a" last_preserved_timestamp: 0x',
        b'model_checkpoint_path: "a" all_model_checkpoint_paths: [',
        b"model_checkpoint_path { }",
        b"{",
        b"}",
        b"x { " * 100_000,
        b"model_checkpoint_path { " * 100_000,
        b"[" * 100_000,
        b"\x00" * 4096,
        b"\x80\x02" * 50,
        b"#" * (MAX_STATE_BYTES + 1),
        b"PK\x03\x04",
    ],
    ids=range(36),
)
def test_what_is_no_state_is_a_corrupt_state(data):
    with pytest.raises(StateCorruptError):
        read(data)


def test_every_truncation_of_a_state_is_corrupt_or_says_no_more_than_was_written():
    state = CheckpointState("ckpt-2", ("ckpt-1", "ckpt-2"))
    data = state.to_bytes()
    for cut in range(len(data)):
        try:
            found = read(data[:cut])
        except StateCorruptError:
            continue
        assert found.model_checkpoint_path == "ckpt-2"
        assert set(found.all_model_checkpoint_paths) <= {"ckpt-1", "ckpt-2"}


def test_a_hundred_thousand_entries_are_read_or_refused_in_little_time():
    started = time.process_time()
    for data in (
        b'model_checkpoint_path: "c"\n' + b'all_model_checkpoint_paths: "c"\n' * 100_000,
        b'model_checkpoint_path: "c"\nall_model_checkpoint_paths: [' + b'"c",' * 100_000 + b'"c"]',
        b"model_checkpoint_path: " + b'"c" ' * 100_000,
        b'model_checkpoint_path: "c" ' * 100_000,
        b'model_checkpoint_path: "' + b"\\001" * 500_000 + b'"',
    ):
        with contextlib.suppress(StateCorruptError):
            assert read(data).model_checkpoint_path.strip("c\x01") == ""
    assert time.process_time() - started < 15
