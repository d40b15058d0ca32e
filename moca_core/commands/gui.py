"""`moca gui`: the window, in a package that the core never imports at its own start."""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType

from moca_core.errors import MocaError

HELP = "Open the window, with a clip if one is given."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the clip to open."""
    parser.add_argument("path", nargs="?", metavar="CLIP", help="what to open")


def run(args: argparse.Namespace) -> int:
    """Open the window and return when it is closed."""
    return open_window([args.path] if args.path else [])


def open_window(words: list[str]) -> int:
    """Run the window with the arguments of `moca-gui`; raises `MocaError` without a display."""
    gui = gui_module()
    if not gui.has_display():
        raise MocaError(
            "there is no display to open a window on",
            "Run this on a desktop or under xvfb-run; `moca segment` and `moca demo --no-gui`"
            " need none.",
        )
    try:
        return gui.main(words)
    except ImportError as error:
        raise MocaError(
            f"the window can't be loaded ({error})",
            "Install PySide6_Essentials and its system libraries (see the README);"
            " `moca doctor` says which are missing.",
        ) from error


def gui_module() -> ModuleType:
    """`moca_gui.__main__`, which imports no Qt before its `main`."""
    return importlib.import_module("moca_gui.__main__")
