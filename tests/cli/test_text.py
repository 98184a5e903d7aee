from __future__ import annotations

import sys
import unicodedata

import pytest

from ckptstore.cli._json import to_json
from ckptstore.cli._text import count_text, number_text, printable, size_text, time_text, width
from ckptstore.cli._tree import tree


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("encoder/kernel:0", "encoder/kernel:0"),
        ("ünï/日本語 😀 [bold]", "ünï/日本語 😀 [bold]"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b31m", r"\u009b31m"),  # the C1 spelling of ESC [
        ("a\nb\tc\rd\x00\x7f\x08", r"a\nb\tc\rd\x00\x7f\x08"),
        ("\u202eevil\u2066\u200f\u061c", r"\u202eevil\u2066\u200f\u061c"),
        ("zero\u200bwidth\ufeff\u00ad", r"zero\u200bwidth\ufeff\u00ad"),
        ("a\u2028b\u2029c\u0085\u00a0", r"a\u2028b\u2029c\u0085\u00a0"),
        ("\udcff\udc80\ud800", r"\xff\x80\ud800"),
        ("\U000e0041\U0010ffff", r"\U000e0041\U0010ffff"),
    ],
)
def test_what_could_steer_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_no_control_or_format_character_of_unicode_gets_through() -> None:
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"):
            assert printable(chr(code)).isascii(), hex(code)


def test_numbers_for_people() -> None:
    assert [size_text(n) for n in (0, 1023, 1024, 1_048_575, 5 << 30, 10**24)] == [
        "0 B", "1023 B", "1.0 KiB", "1.0 MiB", "5.0 GiB", "867362 EiB",
    ]  # fmt: skip
    assert count_text(1, "tensor") == "1 tensor"
    assert count_text(1200, "tensor") == "1,200 tensors"
    assert [number_text(v) for v in (None, 3, 0.1, float("nan"), 1 + 2j)] == ["-", "3", "0.1", "nan", "1+2j"]
    assert width("日本e\u0301") == 5


@pytest.mark.parametrize("seconds", [1e300, -1e300, float("nan"), float("inf")])
def test_a_time_that_is_none_is_shown_as_a_number(seconds: float) -> None:
    assert time_text(seconds) == f"{seconds:g}"


def test_json_of_anything() -> None:
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    text = to_json({"a": (float("nan"), float("inf"), -float("inf")), "\udcff\x1b": "\u202e", "deep": deep})
    assert text.isascii()
    assert "NaN" in text
    assert "\x1b" not in text


def test_the_tree() -> None:
    names = ["a", "a/", "a/b/c", "a/b/d", "b/c/d", "e//f", "/g"]
    shown = [(node.guide + node.label, node.leaf) for node in tree([(name, name) for name in names])]
    assert shown == [
        ("a", "a"),
        ("├─ ", "a/"),
        ("└─ b/", None),
        ("   ├─ c", "a/b/c"),
        ("   └─ d", "a/b/d"),
        ("b/c/d", "b/c/d"),
        ("e//f", "e//f"),
        ("/g", "/g"),
    ]


def test_a_name_of_many_slashes_stays_small() -> None:
    names = ["x/" * 20_000 + end for end in "ab"]
    nodes = list(tree([(name, name) for name in names]))
    assert [node.leaf for node in nodes if node.leaf] == names
    assert len(nodes) == 3
