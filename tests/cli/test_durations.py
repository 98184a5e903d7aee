from __future__ import annotations

import argparse

import pytest

from ckptstore.cli._durations import duration, duration_text, positive_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("90s", 90.0),
        ("90m", 5400.0),
        ("2h", 7200.0),
        ("7d", 604800.0),
        ("2w", 1209600.0),
        ("1d12h", 129600.0),
        ("1.5h", 5400.0),
        ("0.5d", 43200.0),
    ],
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert duration(text) == seconds
    if seconds:
        assert positive_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "1", "h", "-1h", "+1h", "1 h", "1h ", "1H", "1y", "nan", "inf", "1e3s", ".5h", "1.h", "1h30", "00",
        "\u0661h", "1h\n", "1,5h", "0x1h", "9" * 50 + "d",
    ],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration(text)


@pytest.mark.parametrize("text", ["0", "0s", "0h0m", "0.0d"])
def test_none_at_all_where_some_is_needed(text: str) -> None:
    assert duration(text) == 0
    with pytest.raises(argparse.ArgumentTypeError, match="over 0"):
        positive_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3600.0, "1 h"),
        (5400.0, "90 min"),
        (86400.0, "1 d"),
        (90.0, "90 s"),
        (0.0, "0 s"),
        (1.5, "1.5 s"),
        (120.0, "2 min"),
    ],
)
def test_in_words(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
