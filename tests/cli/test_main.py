"""Arguments, exit codes, streams, terminals."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.cli import _main, ls, main
from ckptstore.cli._arguments import storage_options
from ckptstore.cli._main import make_parser
from ckptstore.cli._output import Output
from tests.cli.conftest import Golden, Run

ROOT = str(Path(__file__).parents[2])
HOSTILE = [
    "\x1b[2J\x1b]0;title\x07",
    "[bold red]x[/bold red]",
    "[/]",
    "\u202egnp.exe",
    "a\nckptstore: error: fake",
    "\udcff",
    ":smile:",
]


def options(*argv: str) -> Any:
    return storage_options(make_parser().parse(["ls", "d", *argv]))


def command(*argv: str, **kwargs: Any) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": ROOT, **kwargs.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, "-m", "ckptstore.cli", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        **kwargs,
    )


# -- arguments


def test_storage_options() -> None:
    assert options() is None
    assert options("--endpoint-url", "http://h") == {"endpoint_url": "http://h"}
    given = ["anon=true", "n=3", "key=abc", "a.b.c=x=y", "a.b.d=[1]", "nan=NaN", 'quoted="123"', "empty="]
    assert options(*(part for item in given for part in ("--storage-option", item))) == {
        "anon": True, "n": 3, "key": "abc", "a": {"b": {"c": "x=y", "d": [1]}}, "nan": "NaN", "quoted": "123",
        "empty": "",
    }  # fmt: skip
    assert options() is None  # nothing of it stays


@pytest.mark.parametrize(
    "given", [["s3cret"], ["=s3cret"], ["a.=s3cret"], ["a=1", "a.b=s3cret"], ["a.b=1", "a=s3cret"]]
)
def test_bad_storage_options_are_not_repeated(given: list[str], run: Run) -> None:
    result = run("ls", "d", *(part for item in given for part in ("--storage-option", item)))
    assert result.code == 2
    assert "s3cret" not in result.err


@pytest.mark.parametrize(
    "argv", [[], ["nonsense"], ["ls"], ["ls", "a", "b"], ["ls", "d", "--js"], ["verify", "d", "--nope=s3cret"]]
)
def test_wrong_usage(argv: list[str], run: Run) -> None:
    result = run(*argv)
    assert (result.code, result.out) == (2, "")
    assert "s3cret" not in result.err


@pytest.mark.parametrize("argv", [["--help"], ["ls", "--help"], ["inspect", "--help"], ["verify", "--help"]])
def test_help(argv: list[str], run: Run) -> None:
    result = run(*argv)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("usage: ckptstore")


def test_version(run: Run) -> None:
    assert run("--version").out == f"ckptstore {ck.__version__}\n"


def test_help_waits_for_nothing_heavy() -> None:
    # The package's own __init__ is left out: the command line itself is what is looked at.
    code = """
import sys, types
package = types.ModuleType("ckptstore")
package.__path__ = [sys.argv[1]]
sys.modules["ckptstore"] = package
from ckptstore.cli import main
assert main(["--help"]) == 0
print(sorted({"numpy", "google.protobuf", "fsspec", "rich", "ml_dtypes"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code, ROOT + "/ckptstore"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# -- exit codes


def test_an_error_is_one_line(run: Run, tmp_path: Path) -> None:
    result = run("inspect", str(tmp_path / "nothing"))
    assert (result.code, result.out) == (1, "")
    assert result.err == f"ckptstore: error: There is no checkpoint and no directory {tmp_path}/nothing.\n"
    assert run("ls", "nofs://x").code == 1
    assert run("ls", "s3://key:s3cret@bucket/x").code == 1
    assert "s3cret" not in run("ls", "s3://key:s3cret@bucket/x", "--debug").err
    assert "endpoint_url" in run("ls", str(tmp_path), "--endpoint-url", "http://h").err


def test_debug_shows_the_traceback(run: Run, tmp_path: Path) -> None:
    result = run("inspect", "--debug", str(tmp_path / "nothing"))
    assert result.code == 1
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith("ckptstore: error: ")


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (ck.DataLossError("x"), 3), (OSError(28, "full"), 1)]
)
def test_exit_codes(error: BaseException, code: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> int:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(ls, "run", fail)
        result = run("ls", "d")
    assert result.code == code
    assert result.err.count("\n") == 1


def test_a_bug_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> int:
        raise RuntimeError("bug")

    with monkeypatch.context() as patch:
        patch.setattr(ls, "run", fail)
        with pytest.raises(RuntimeError):
            run("ls", "d")


# -- as a process


def test_as_a_process(golden: Golden) -> None:
    process = command(
        "ls", golden("07_keep_5_of_7"), env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    )
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out.count(b"listed") == 4


def test_ascii_terminals_get_ascii(tmp_path: Path) -> None:
    ck.save(tmp_path / "m", {"é": {"a": np.zeros(1), "b": np.zeros(1)}})
    process = command("inspect", str(tmp_path / "m"), env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C.UTF-8"})
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert b"\\xe9/" in out
    assert b"|- a" in out


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    ck.save(tmp_path / "m", {f"name_{i:06}": np.zeros(1, np.int8) for i in range(20_000)})
    process = command("inspect", "--flat", str(tmp_path / "m"))
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def test_interrupted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    code = (
        "import sys, ckptstore.cli.ls as ls, ckptstore.cli as cli\n"
        "def run(args, output):\n    open(sys.argv[1]).read()\n"
        "ls.run = run\n"
        "sys.exit(cli.main(['ls', 'd']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "gate")],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    with (tmp_path / "gate").open("w"):  # it is in run() now
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, b"ckptstore: interrupted\n")


# -- terminals


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int, *argv: str) -> tuple[int, str, str]:
    out, err = Terminal(), Terminal()
    with monkeypatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("TERM", "xterm-256color")
        patch.delenv("NO_COLOR", raising=False)
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        code = main(list(argv))
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def hostile(tmp_path: Path) -> str:
    return ck.save(
        tmp_path / "m", {name: np.array([name.encode("utf-8", "surrogateescape")], object) for name in HOSTILE}
    )


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_table_on_a_terminal_fits_the_window(columns: int, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    path = golden("07_keep_5_of_7")
    out = Terminal()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["ls", path]) == 0
    table = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).split("\n\n")[0]
    assert table.count("model.ckpt-") == 5  # nothing is cut off, however narrow
    assert max(map(len, table.splitlines())) <= max(columns, 76)


def test_names_cannot_steer_a_terminal(hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for argv in (
        ["inspect", hostile],
        ["inspect", hostile, "--flat"],
        ["verify", hostile],
        ["inspect", hostile, "--tensor", HOSTILE[0]],
    ):
        code, out, _ = on_terminal(monkeypatch, 200, *argv)
        assert code == 0
        for bad in ("\x1b[2J", "\x1b]0", "\x07", "\u202e", "\udcff", "\nckptstore: error: fake"):
            assert bad not in out
    code, out, _ = on_terminal(monkeypatch, 200, "inspect", hostile)
    assert "\x1b[" in out  # our own colors
    assert "[bold red]x[" in out  # markup is text (the tree breaks at its slash)
    assert ":smile:" in out
    code, out, err = on_terminal(monkeypatch, 200, "inspect", hostile, "--tensor", "\x1b[2Jno\u202e")
    assert code == 1
    assert "\x1b[2J" not in err
    assert "\u202e" not in err


def test_hostile_names_in_pipes_and_json(hostile: str, run: Run) -> None:
    out = run("inspect", "--flat", hostile).out
    assert all(char.isprintable() or char == "\n" for char in out)
    assert [line.split("  ")[0] for line in out.splitlines()[5 : 5 + len(HOSTILE)]] == [
        "\\x1b[2J\\x1b]0;title\\x07", ":smile:", "[/]", "[bold red]x[/bold red]", "a\\nckptstore: error: fake",
        "\\u202egnp.exe", "\\xff",
    ]  # fmt: skip
    result = run("inspect", "--json", hostile)
    assert result.out.isascii()
    assert {tensor["name"] for tensor in result.json["tensors"]} == set(HOSTILE)


def test_hostile_paths(run: Run, tmp_path: Path) -> None:
    result = run("ls", str(tmp_path / "\x1b[2Jno\u202e"))
    assert result.code == 1
    assert "\x1b" not in result.err
    assert "\u202e" not in result.err


def test_a_bar_on_a_terminal_only(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    path = golden("07_keep_5_of_7")
    _, out, err = on_terminal(monkeypatch, 80, "verify", path)
    assert "model.ckpt-700 (5/5)" in err
    assert "\x1b[" not in out.replace(path, "")
    assert on_terminal(monkeypatch, 80, "verify", "--quiet", path)[1:] == ("", "")


def test_without_rich(golden: Golden, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = golden("07_keep_5_of_7")
    plain = run("ls", path).out
    with monkeypatch.context() as patch:
        for name in [name for name in sys.modules if name == "rich" or name.startswith("rich.")]:
            patch.delitem(sys.modules, name)
        patch.delitem(sys.modules, "ckptstore.cli._rich", raising=False)
        patch.setitem(sys.modules, "rich", None)  # type: ignore[arg-type]
        assert on_terminal(monkeypatch, 80, "ls", path) == (0, plain, "")
        code, out, err = on_terminal(monkeypatch, 80, "verify", path)
        assert (code, err) == (0, "")
        assert out.endswith("all is well\n")


def test_long_names_are_whole_in_pipes(run: Run, tmp_path: Path) -> None:
    name = "x" * 5000
    ck.save(tmp_path / "m", {name: np.zeros(1), "y": np.zeros(1)})
    lines = run("inspect", str(tmp_path / "m")).out.splitlines()
    assert any(line.startswith(name + "  float64") for line in lines)
    assert max(len(line) for line in lines if line.startswith("y")) < 200


def test_every_command_has_help() -> None:
    for module in _main.COMMANDS:
        assert module.HELP
        assert module.DESCRIPTION


def test_output_without_an_encoding() -> None:
    stream = io.StringIO()
    Output(stream, stream).line("é\x1b")
    assert stream.getvalue() == "é\\x1b\n"
