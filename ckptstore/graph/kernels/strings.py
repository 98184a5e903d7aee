"""Strings: object arrays of bytes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ckptstore.graph.kernels.precision import is_floating
from ckptstore.graph.kernels.reduction import axes_of
from ckptstore.graph.kernels.registry import Array, Attributes, kernel


def _mapped(function: Callable[..., Any], dtype: Any, *arrays: Array) -> Array:
    spread = np.broadcast_arrays(*arrays)
    out = np.empty(spread[0].shape, dtype)
    out.reshape(-1)[:] = [function(*items) for items in zip(*(a.reshape(-1).tolist() for a in spread), strict=True)]
    return out


@kernel("StringJoin")
def _string_join(attrs: Attributes, *inputs: Array) -> Array:
    separator = attrs.get("separator", b"")
    return _mapped(lambda *parts: separator.join(parts), object, *inputs)


@kernel("ReduceJoin")
def _reduce_join(attrs: Attributes, x: Array, axes: Array) -> Array:
    """The first axis that is named is joined first."""
    separator, keep = attrs.get("separator", b""), attrs.get("keep_dims", False)
    if not axes.size and x.ndim:
        return x
    along = axes_of(axes, x.ndim)
    kept = [i for i in range(x.ndim) if i not in along]
    rows = np.transpose(x, [*kept, *reversed(along)]).reshape([x.shape[i] for i in kept] + [-1])
    out = np.empty(rows.shape[:-1], object)
    for place in itertools.product(*map(range, out.shape)):
        out[place] = separator.join(rows[place].tolist())
    return out.reshape([1 if i in along else n for i, n in enumerate(x.shape)]) if keep else out


@kernel("StringLength")
def _string_length(attrs: Attributes, x: Array) -> Array:
    if attrs.get("unit") == b"UTF8_CHAR":
        return _mapped(lambda s: len(s.decode("utf-8", "replace")), np.int32, x)
    return _mapped(len, np.int32, x)


@kernel("StringLower")
def _string_lower(attrs: Attributes, x: Array) -> Array:
    return _mapped(lambda s: s.decode().lower().encode() if attrs.get("encoding") else s.lower(), object, x)


@kernel("StringUpper")
def _string_upper(attrs: Attributes, x: Array) -> Array:
    return _mapped(lambda s: s.decode().upper().encode() if attrs.get("encoding") else s.upper(), object, x)


@kernel("StringStrip")
def _string_strip(attrs: Attributes, x: Array) -> Array:
    del attrs
    return _mapped(lambda s: s.strip(), object, x)


@kernel("Substr")
def _substr(attrs: Attributes, x: Array, pos: Array, length: Array) -> Array:
    characters = attrs.get("unit") == b"UTF8_CHAR"

    def cut(text: bytes, at: int, count: int) -> bytes:
        whole: Any = text.decode("utf-8", "replace") if characters else text
        if not -len(whole) <= at <= len(whole):
            raise ValueError(f"the position {at} is not in a string of {len(whole)}")
        at += len(whole) if at < 0 else 0
        part = whole[at : at + max(count, 0)]
        return bytes(part.encode() if characters else part)

    return _mapped(cut, object, x, pos, length)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _compiled(pattern: bytes) -> re.Pattern[str]:
    """Python's syntax and RE2's agree in what is common; RE2 reads UTF-8, and its classes are those of ASCII."""
    try:
        return re.compile(_text(pattern).replace(r"\z", r"\Z"), re.ASCII)
    except re.error as error:
        raise ValueError(f"the pattern {pattern!r} is not one that Python reads: {error}") from error


@kernel("StaticRegexFullMatch")
def _static_regex_full_match(attrs: Attributes, x: Array) -> Array:
    pattern = _compiled(attrs["pattern"])
    return _mapped(lambda s: pattern.fullmatch(_text(s)) is not None, np.bool_, x)


@kernel("RegexFullMatch")
def _regex_full_match(attrs: Attributes, x: Array, pattern: Array) -> Array:
    del attrs
    compiled = _compiled(pattern.item())
    return _mapped(lambda s: compiled.fullmatch(_text(s)) is not None, np.bool_, x)


def _replaced(attrs: Attributes, x: Array, pattern: bytes, rewrite: bytes) -> Array:
    compiled = _compiled(pattern)
    template = re.sub(r"\\([0-9])", r"\\g<\1>", _text(rewrite))
    count = 0 if attrs.get("replace_global", True) else 1
    return _mapped(
        lambda s: compiled.sub(template, _text(s), count=count).encode("utf-8", "surrogateescape"), object, x
    )


@kernel("RegexReplace")
def _regex_replace(attrs: Attributes, x: Array, pattern: Array, rewrite: Array) -> Array:
    return _replaced(attrs, x, pattern.item(), rewrite.item())


@kernel("StaticRegexReplace")
def _static_regex_replace(attrs: Attributes, x: Array) -> Array:
    return _replaced(attrs, x, attrs["pattern"], attrs["rewrite"])


@kernel("AsString")
def _as_string(attrs: Attributes, x: Array) -> Array:
    precision, width = attrs.get("precision", -1), attrs.get("width", -1)
    scientific, shortest = attrs.get("scientific", False), attrs.get("shortest", False)
    fill = attrs.get("fill", b"").decode("ascii")
    flag = fill + (str(width) if width >= 0 else "")
    digits = f".{precision}" if precision >= 0 else ""

    def text(value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        if isinstance(value, bool):
            return f"%{'' if fill == '0' else fill}{width if width >= 0 else ''}s".encode() % (
                b"true" if value else b"false"
            )
        if isinstance(value, complex):
            return b"(" + text(value.real) + b"," + text(value.imag) + b")"
        kind = ("e" if scientific else "g" if shortest else "f") if isinstance(value, float) else "d"
        return str(f"%{flag}{digits if kind != 'd' else ''}{kind}" % value).encode()

    return _mapped(text, object, x.astype(np.float64) if is_floating(x) else x)


@kernel("StringToNumber")
def _string_to_number(attrs: Attributes, x: Array) -> Array:
    dtype = attrs["out_type"].numpy if "out_type" in attrs else np.dtype(np.float32)

    def number(text: bytes) -> Any:
        plain = text.strip()
        if b"_" in plain:
            raise ValueError(f"{text!r} is no number")
        value = int(plain) if dtype.kind in "iu" else float(plain)
        if isinstance(value, int) and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
            raise ValueError(f"{text!r} is out of the range of {dtype}")
        return value

    return _mapped(number, dtype, x)
