"""Arguments that all commands take."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any, NoReturn


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser that takes no abbreviations, which a later option could make ambiguous.

    Its messages repeat no values, which may be secrets.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def parse(self, args: Sequence[str] | None) -> argparse.Namespace:
        """As `parse_args`, but naming surplus arguments without their values."""
        parsed, surplus = self.parse_known_args(args)
        if surplus:
            self.error("unrecognized arguments: " + " ".join(item.partition("=")[0] for item in surplus))
        return parsed


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what every command takes: how it answers, and what the store needs."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, for machines")
    parser.add_argument(
        "--storage-option",
        dest="storage_options",
        metavar="KEY=VALUE",
        action=_StorageOption,
        default={},
        help="an option for the store, as fsspec takes it; may be repeated. VALUE is read as JSON if it is JSON, else "
        "as text. Dots nest: client_kwargs.region_name=eu-west-1",
    )
    parser.add_argument(
        "--endpoint-url",
        metavar="URL",
        help="where the S3 or GCS server is; short for --storage-option endpoint_url=URL",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def storage_options(args: argparse.Namespace) -> dict[str, Any] | None:
    """What the arguments say for fsspec; None if nothing."""
    options = dict(args.storage_options)
    if args.endpoint_url is not None:
        options["endpoint_url"] = args.endpoint_url
    return options or None


class _StorageOption(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, *_: Any) -> None:
        key, equals, text = value.partition("=")
        *parents, last = key.split(".")
        if not equals or not last or not all(parents):
            raise argparse.ArgumentError(self, "expected KEY=VALUE, the parts of KEY joined by single dots")
        options = _copied(getattr(namespace, self.dest))
        inner = options
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise argparse.ArgumentError(self, f"{key} and {parent} cannot both have a value")
        if isinstance(inner.get(last), dict):
            raise argparse.ArgumentError(self, f"{key} is given twice, once with parts of its own")
        inner[last] = _json_or_text(text)
        setattr(namespace, self.dest, options)


def _copied(options: dict[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in options.items()}


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity are no JSON
