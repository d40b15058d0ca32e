"""`moca-gui [CLIP|FOLDER|PROJECT]`: open the window."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from moca_core.commands.gui import display_trouble

_ENDS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C in the terminal, the end of the session, the end of the terminal."""


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="moca-gui", description="See which objects make the sound in a video."
    )
    parser.add_argument(
        "path",
        nargs="?",
        metavar="CLIP|FOLDER|PROJECT",
        help="video, folder of videos, or project (.moca.json) to open",
    )
    parser.add_argument(
        "--run", action="store_true", help="find what sounds at once, then play the clip in a loop"
    )
    parser.add_argument("--exit-after-show", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def has_display() -> bool:
    """Whether a window can be opened; Qt itself would end the process with an abort."""
    if sys.platform in ("win32", "darwin"):
        return True
    platform = os.environ.get("QT_QPA_PLATFORM", "")
    if platform and platform.split(":")[0] not in ("xcb", "wayland", "wayland-egl"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code.

    With `MOCA_GUI_TIMING=1` in the environment it prints the start-up times, with `exit` it also
    closes when the clip of the command line is seen.
    """
    options = _parse(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")

    trouble = display_trouble()
    if trouble:
        sys.stderr.write(
            f"{trouble[0].upper()}{trouble[1:]}.\n"
            "Run this on a desktop or under xvfb-run, or use `moca segment`, which needs none.\n"
        )
        return 1

    # After the arguments are read, so that --help needs no Qt.
    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QApplication

    from moca_gui.first_paint import call_at_first_paint
    from moca_gui.main_window import MainWindow

    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    app.setApplicationName("MoCA Studio")
    app.setDesktopFileName("moca-studio")
    window = MainWindow()
    window.show()
    if options.path:
        if options.run:
            window.clips.show_when_opened()
        window.open_path(options.path)
    timing = os.environ.get("MOCA_GUI_TIMING")
    if timing:
        call_at_first_paint(window.view, lambda: _print_timing("window shown"))
        window.opened.connect(
            lambda: call_at_first_paint(window.view, lambda: _print_timing("clip shown"))
        )
    if timing == "exit":
        window.opened.connect(
            lambda: call_at_first_paint(window.view, lambda: QTimer.singleShot(0, window.close))
        )
        window.open_failed.connect(lambda: app.exit(1))
    if options.exit_after_show:
        call_at_first_paint(window.view, lambda: QTimer.singleShot(0, window.close))
    # A turn of the interpreter now and then lets signals through.
    heartbeat = QTimer()
    heartbeat.timeout.connect(lambda: None)
    heartbeat.start(250)
    with _called_by_signals(window.close):
        code = app.exec()
    window.shut_down()
    return code


@contextlib.contextmanager
def _called_by_signals(close: Callable[[], object]) -> Iterator[None]:
    """While entered, what would end the process calls `close`, which saves first."""
    numbers = [getattr(signal, name) for name in _ENDS if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda *_: close()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_timing(what: str) -> None:
    """Seconds since the process began, by the kernel's account where it keeps one."""
    try:
        with open("/proc/self/stat", encoding="ascii") as stream:  # noqa: PTH123
            ticks = int(stream.read().rsplit(")", 1)[1].split()[19])
        seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        seconds = time.process_time()
    processor = time.process_time()  # tells more on a machine that does other work too
    sys.stderr.write(f"{what} after {seconds:.2f} s, {processor:.2f} s of processor time\n")


if __name__ == "__main__":
    sys.exit(main())
