"""`moca`: the command line. A table of commands, of which only the one asked for is imported.

Exit codes: 0 done; 1 failed, message and hint on stderr; 2 usage; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from moca_core import __version__
from moca_core.errors import MocaError

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 130


class CommandModule(Protocol):
    """What a module of `moca_core.commands` offers."""

    HELP: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit code. Raises `MocaError`."""
        ...


@dataclass(frozen=True)
class Command:
    """A row of `COMMANDS`: its name, the module that does it, and a line of help."""

    name: str
    module: str
    help: str


COMMANDS: tuple[Command, ...] = (
    Command("demo", "moca_core.commands.demo", "show the method on the sample clip"),
    Command("gui", "moca_core.commands.gui", "open the window"),
    Command("segment", "moca_core.commands.segment", "masks of what sounds in video clips"),
    Command("evaluate", "moca_core.commands.evaluate", "score the method on a data set"),
    Command("sensitivity", "moca_core.commands.sensitivity", "whether masks follow the sound"),
    Command("boxes", "moca_core.commands.boxes", "score clips with boxes of what sounds"),
    Command("pairs", "moca_core.commands.pairs", "find like and unlike pictures to train on"),
    Command("train", "moca_core.commands.train", "train an adapter on clips without masks"),
    Command("ablate", "moca_core.commands.ablate", "one setting after another, over seeds"),
    Command("export", "moca_core.commands.export", "masks in the formats of other tools"),
    Command("import", "moca_core.commands.import_masks", "masks of other tools into a project"),
    Command("project", "moca_core.commands.project", "what projects keep, and whether it is whole"),
    Command("match", "moca_core.commands.match", "compare two pictures place by place"),
    Command("cache", "moca_core.commands.cache", "what is kept on disk to be quick; clear it"),
    Command("weights", "moca_core.commands.weights", "list, fetch and check the weights files"),
    Command("doctor", "moca_core.commands.doctor", "check that this machine has what is needed"),
    Command("bench", "moca_core.commands.bench", "measure speed and memory on this machine"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `moca` with `argv` (default: the process's arguments); returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    for stream in (sys.stdout, sys.stderr):
        # A file's name needn't be text that the terminal's encoding knows.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        args, module = _parse(words)
        if module is None:
            return USAGE
        logging.basicConfig(
            level=logging.DEBUG if debug else logging.WARNING,
            format="%(levelname)s %(name)s: %(message)s",
        )
        return module.run(args)
    except SystemExit as end:
        # argparse ends this way after --help and for wrong usage.
        return end.code if isinstance(end.code, int) else DONE
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        return STOPPED
    except BrokenPipeError:
        # Whoever read our output has gone (`moca ... | head`); Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except MocaError as error:
        if debug:
            raise
        sys.stderr.write(message_of(error))
        return FAILED
    except Exception as error:
        if debug:
            raise
        sys.stderr.write(
            f"moca: unexpected {type(error).__name__}: {error}\n"
            "This is a fault of the program. Run the command again with --debug and report it.\n"
        )
        return FAILED


def message_of(error: MocaError) -> str:
    """The message and the hint of an error, as lines for stderr."""
    hint = f"  {error.hint}\n" if error.hint else ""
    return f"moca: {error.message}\n{hint}"


def _parse(words: list[str]) -> tuple[argparse.Namespace, CommandModule | None]:
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--quiet", action="store_true", help="no progress")
    common.add_argument("--debug", action="store_true", help="show where an error came from")
    parser = argparse.ArgumentParser(
        prog="moca",
        description="See which objects make the sound in a video.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C.",
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"moca {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    asked = next((word for word in words if not word.startswith("-")), None)
    module: CommandModule | None = None
    for row in COMMANDS:
        if row.name == asked:
            module = cast(CommandModule, importlib.import_module(row.module))
        its = commands.add_parser(
            row.name,
            help=row.help,
            description=module.HELP if module and row.name == asked else row.help,
            parents=[common],
        )
        if module and row.name == asked:
            module.configure(its)
            its.set_defaults(usage_error=its.error)
    args = parser.parse_args(words, argparse.Namespace(quiet=False, debug=False))
    if args.command is None:
        parser.print_help(sys.stderr)
        return args, None
    return args, module


if __name__ == "__main__":
    sys.exit(main())
