"""`moca gui`: the window, in a package that the core never imports at its own start."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import socket
import sys
from collections.abc import Iterator
from types import ModuleType

from moca_core.errors import MocaError

HELP = "Open the window, with a clip, a folder of clips or a project if one is given."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what to open."""
    parser.add_argument(
        "path",
        nargs="?",
        metavar="CLIP|FOLDER|PROJECT",
        help="video, folder of videos, or project (.moca.json) to open",
    )


def run(args: argparse.Namespace) -> int:
    """Open the window and return when it is closed."""
    return open_window([args.path] if args.path else [])


def open_window(words: list[str]) -> int:
    """Run the window with the arguments of `moca-gui`; raises `MocaError` without a display."""
    trouble = display_trouble()
    if trouble:
        raise MocaError(
            trouble,
            "Run this on a desktop or under xvfb-run; `moca segment` and `moca demo --no-gui`"
            " need none.",
        )
    with explained_import():
        return gui_module().main(words)


@contextlib.contextmanager
def explained_import() -> Iterator[None]:
    """While entered, an `ImportError` of the window becomes a `MocaError` with a remedy."""
    try:
        yield
    except ImportError as error:
        raise MocaError(
            f"the window can't be loaded ({error})",
            "Install PySide6_Essentials and its system libraries (see the README);"
            " `moca doctor` says which are missing.",
        ) from error


def display_trouble() -> str:
    """Why no window can be opened, "" if one can. Qt itself would end the process with an abort."""
    if not gui_module().has_display():
        return "there is no display to open a window on"
    if not sys.platform.startswith("linux"):
        return ""
    name = os.environ.get("DISPLAY", "")
    platform = os.environ.get("QT_QPA_PLATFORM", "").partition(":")[0]
    local = re.fullmatch(r"(?:unix)?:(\d+)(?:\.\d+)?", name)
    if not local or platform not in ("", "xcb"):
        return ""
    if platform == "" and os.environ.get("WAYLAND_DISPLAY"):
        return ""
    if _x_server_answers(f"/tmp/.X11-unix/X{local.group(1)}"):
        return ""
    return f"the display {name} doesn't answer"


def _x_server_answers(address: str) -> bool:
    """Whether a local X server listens; Linux also has addresses that aren't files."""
    for place in (address, f"\0{address}"):
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client,
        ):
            client.settimeout(2.0)
            client.connect(place)
            return True
    return False


def gui_module() -> ModuleType:
    """`moca_gui.__main__`, which imports no Qt before its `main`."""
    return importlib.import_module("moca_gui.__main__")
