"""Set up and run MoCA Studio from a fresh clone: `python3 tools/setup.py demo` or `test`.

Needs Python 3.11 or newer and a network, nothing else: system libraries are installed where that
is possible and named where it isn't, a virtual environment is made in `.venv`, the program is
installed there and the weights are fetched. What was done before is not done again.
"""

from __future__ import annotations

import argparse
import ctypes.util
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "moca-installed"

# Debian package of each shared library that Qt, sound and a virtual screen need.
LIBRARIES = {
    "GL": "libgl1",
    "EGL": "libegl1",
    "xkbcommon": "libxkbcommon0",
    "fontconfig": "libfontconfig1",
    "glib-2.0": "libglib2.0-0",
    "dbus-1": "libdbus-1-3",
    "portaudio": "libportaudio2",
    "xcb-cursor": "libxcb-cursor0",
    "xcb-icccm": "libxcb-icccm4",
    "xcb-keysyms": "libxcb-keysyms1",
    "xcb-shape": "libxcb-shape0",
    "xkbcommon-x11": "libxkbcommon-x11-0",
}
# Without these the program still runs: in silence, or without a window.
NEEDED_FOR_TESTS = {"GL", "EGL", "xkbcommon", "fontconfig", "glib-2.0", "dbus-1"}


def main() -> int:
    """Set up, then run the demo or the tests; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("install", "demo", "test", "lint"))
    parser.add_argument("rest", nargs="*", help="arguments passed on to the demo or to pytest")
    args = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036  this file is what an older Python is told by
        return stop("Python 3.11 or newer is needed", "Run this with another interpreter.")
    install_libraries(required=args.command == "test")
    make_environment()
    if args.command == "install":
        return 0
    if args.command == "lint":
        return lint()
    code = run("-m", "moca_core", "weights", "get", "compact")
    if code:
        return code
    if args.command == "demo":
        return run("-m", "moca_core", "demo", *args.rest)
    environment = {"QT_QPA_PLATFORM": "offscreen"}
    return lint() or run("-m", "pytest", *args.rest, environment=environment)


def lint() -> int:
    """Linter, formatter and type checker, stopping at the first that complains."""
    return (
        run("-m", "ruff", "check", ".")
        or run("-m", "ruff", "format", "--check", ".")
        or run("-m", "mypy")
    )


def install_libraries(required: bool) -> None:
    """Install missing system libraries as root on Debian, else name the line that does."""
    absent = [name for name in LIBRARIES if ctypes.util.find_library(name) is None]
    if not absent or not sys.platform.startswith("linux"):
        return
    packages = [LIBRARIES[name] for name in absent]
    line = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(packages)}"
    if shutil.which("apt-get") and os.geteuid() == 0:
        say(f"installing system libraries: {' '.join(packages)}")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        if subprocess.run(line, shell=True, env=quiet, stdout=subprocess.DEVNULL).returncode == 0:
            return
    say(f"missing system libraries. Install them with:\n  sudo sh -c '{line}'")
    if required and NEEDED_FOR_TESTS & set(absent):
        raise SystemExit(1)


def make_environment() -> None:
    """Create `.venv` and install the program there, unless that was done for this pyproject."""
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + sys.version.encode())
    if STAMP.exists() and STAMP.read_text() == wanted.hexdigest():
        return
    if not python().exists():
        say("making the virtual environment .venv")
        try:
            subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        except subprocess.CalledProcessError:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            hint = f"On Debian: apt-get install python{version}-venv"
            raise SystemExit(stop("the virtual environment can't be made", hint)) from None
    say("installing the program and what it needs (some minutes the first time)")
    code = run("-m", "pip", "install", "--quiet", "--editable", f"{ROOT}[dev]")
    if code:
        raise SystemExit(stop("pip could not install the program", "Is there a network?"))
    STAMP.write_text(wanted.hexdigest())


def python() -> Path:
    """The interpreter of the virtual environment."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(*arguments: str, environment: dict[str, str] | None = None) -> int:
    """Run the environment's Python at the top of the repository; returns its exit code."""
    values = {**os.environ, **(environment or {})}
    return subprocess.run([str(python()), *arguments], cwd=ROOT, env=values).returncode


def say(text: str) -> None:
    """Tell the user what happens."""
    sys.stderr.write(f"setup: {text}\n")


def stop(message: str, hint: str) -> int:
    """Say what went wrong and what to do; returns the exit code for it."""
    say(f"{message}\n{hint}")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
