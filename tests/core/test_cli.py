"""The `moca` command around its subcommands: exit codes, errors, help."""

from __future__ import annotations

import argparse
import subprocess
import sys
from types import SimpleNamespace

import pytest

from moca_core import __version__, cli
from moca_core.cli import COMMANDS, DONE, FAILED, STOPPED, USAGE, main
from moca_core.errors import MediaError


@pytest.fixture
def command(monkeypatch):
    """Make `moca test` run a function."""

    def install(run):
        row = cli.Command("test", "made.up", "a test")
        module = SimpleNamespace(HELP="A test.", configure=lambda parser: None, run=run)
        monkeypatch.setattr(cli, "COMMANDS", (*COMMANDS, row))
        known = cli.importlib.import_module
        monkeypatch.setattr(
            cli.importlib,
            "import_module",
            lambda name: module if name == "made.up" else known(name),
        )

    return install


def raises(error):
    def run(args):
        raise error

    return run


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_command_has_help(row, capsys):
    assert main([row.name, "--help"]) == DONE
    out = capsys.readouterr().out
    assert out.startswith(f"usage: moca {row.name} ")
    assert "--quiet" in out


def test_help_lists_the_commands_and_the_exit_codes(capsys):
    assert main(["--help"]) == DONE
    out = capsys.readouterr().out
    assert all(row.help in out for row in COMMANDS)
    assert "130 stopped by Ctrl-C" in out


def test_version(capsys):
    assert main(["--version"]) == DONE
    assert capsys.readouterr().out == f"moca {__version__}\n"


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["segment"], ["segment", "a.mp4", "--out", "o", "--every", "0"]]
)
def test_wrong_usage_is_2_and_explained(words, capsys):
    assert main(words) == USAGE
    assert "usage: moca" in capsys.readouterr().err


def test_an_expected_error_is_its_message_and_its_hint(command, capsys):
    command(raises(MediaError("clip.mp4: broken", "Try another.")))
    assert main(["test"]) == FAILED
    assert capsys.readouterr() == ("", "moca: clip.mp4: broken\n  Try another.\n")


def test_an_unexpected_error_is_one_line_and_says_how_to_see_more(command, capsys):
    command(raises(ZeroDivisionError("by nought")))
    assert main(["test"]) == FAILED
    err = capsys.readouterr().err
    assert err.startswith("moca: unexpected ZeroDivisionError: by nought\n")
    assert "--debug" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["test", "--debug"], ["--debug", "test"]])
def test_debug_lets_the_traceback_through(command, words):
    command(raises(MediaError("clip.mp4: broken")))
    with pytest.raises(MediaError):
        main(words)


@pytest.mark.parametrize("words", [["--quiet", "test"], ["test", "--quiet"]])
def test_common_options_work_on_both_sides_of_the_command(command, words):
    seen: list[argparse.Namespace] = []
    command(lambda args: seen.append(args) or DONE)
    assert main(words) == DONE
    assert (seen[0].quiet, seen[0].debug) == (True, False)


def test_ctrl_c_is_130(command, capsys):
    command(raises(KeyboardInterrupt()))
    assert main(["test"]) == STOPPED
    assert capsys.readouterr().err == "Stopped.\n"


def test_names_that_are_not_text_can_be_printed(tmp_path):
    code = "import sys; from moca_core.cli import main; main(['--version']); print('a\\udcff.mp4')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert ended.returncode == 0, ended.stderr
    assert rb"a\udcff.mp4" in ended.stdout


def test_a_reader_that_has_gone_is_no_fault_of_ours():
    code = (
        "import sys; from moca_core.cli import main; "
        "sys.stdin.read(); sys.exit(main(['weights', 'list']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()  # before it writes anything: it waits for its stdin to end
    process.stdin.close()
    assert process.stderr.read() == b""
    assert process.wait() == FAILED


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = (
        "import sys; from moca_core.cli import main; main(['segment', '--help']); "
        "heavy = {'torch', 'cv2', 'av', 'scipy', 'sklearn'} & set(sys.modules); "
        "qt = [name for name in sys.modules if name.startswith('PySide6')]; "
        "sys.exit(f'{heavy} {qt}' if heavy or qt else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
