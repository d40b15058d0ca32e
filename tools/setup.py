"""Set up and run MoCA Studio from a fresh clone: `python3 tools/setup.py demo` or `test`.

Needs Python 3.11 or newer and a network, nothing else: system libraries are installed where that
is possible and named where it isn't, a virtual environment is made in `.venv`, the program is
installed there and the weights are fetched. What was done before is not done again, and what was
interrupted is taken up again. Words after `--` go to the demo or to pytest.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "moca-installed"
PIP_LOG = VENV / "pip.log"

OLDEST = (3, 11)
NEWER_NAMES = ("python3.13", "python3.12", "python3.11", "python3.14")

# Debian package of each shared library that Qt, sound and a screen need. It is asked for by the
# name that the loader uses, so that what is found here is found by the program too.
LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libportaudio.so.2": "libportaudio2",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}
# The tests draw most windows without a screen and play into no device; some press the keys of a
# screen without a monitor, and are skipped where there is none.
NEEDED_FOR_TESTS = tuple(LIBRARIES)[:6]
TEST_PROGRAMS = {"Xvfb": "xvfb"}
SHOWN_FROM_MB = 10
DOWNLOAD = re.compile(
    r"Downloading (\S*/)?(?P<name>[^/\s]+?)-(?P<version>\d[^-\s]*)\S*"
    r" \((?P<size>[\d.]+) (?P<unit>MB|GB)\)"
)


def main() -> int:
    """Set up, then run the demo or the tests; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("install", "demo", "test", "lint"))
    parser.add_argument("rest", nargs="*", help="arguments passed on to the demo or to pytest")
    args = parser.parse_args()
    if sys.version_info < OLDEST:
        return with_newer_python()
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
    # The tests run whatever the linter says: both are wanted in one go.
    untidy = lint()
    return run("-m", "pytest", *args.rest, environment={"QT_QPA_PLATFORM": "offscreen"}) or untidy


def lint() -> int:
    """Linter, formatter and type checker, stopping at the first that complains."""
    return (
        run("-m", "ruff", "check", ".")
        or run("-m", "ruff", "format", "--check", ".")
        or run("-m", "mypy")
    )


def with_newer_python() -> int:
    """Run this script again by a Python that is new enough, if one is at hand."""
    for name in NEWER_NAMES:
        path = shutil.which(name)
        # Version managers leave commands on the path that only say what isn't chosen.
        if path and subprocess.run([path, "-V"], capture_output=True).returncode == 0:
            return subprocess.run([path, *sys.argv]).returncode
    have = ".".join(str(part) for part in sys.version_info[:3])
    return stop(
        f"Python 3.11 or newer is needed, and this is {have}",
        "Install it, then name it: make demo PYTHON=/path/to/python3.12",
    )


def install_libraries(required: bool) -> None:
    """Install missing system libraries as root on Debian, else name the line that does.

    Without those that are `required` (for the tests) nothing goes on.
    """
    if not sys.platform.startswith("linux"):
        return
    absent = {name: package for name, package in LIBRARIES.items() if not loads(name)}
    if required:
        absent |= {name: row for name, row in TEST_PROGRAMS.items() if not shutil.which(name)}
    if not absent:
        return
    packages = " ".join(absent.values())
    steps = ("apt-get update", f"apt-get install -y --no-install-recommends {packages}")
    if not shutil.which("apt-get"):
        say("missing system packages, which hold: " + " ".join(absent))
    elif os.geteuid() != 0:
        line = " && ".join(f"sudo {step}" for step in steps)
        say(f"missing system packages. This line installs them:\n  {line}")
    else:
        say(f"installing system packages: {packages}")
        if apt(steps):
            return
    if required and not absent.keys().isdisjoint(NEEDED_FOR_TESTS):
        raise SystemExit(stop("the tests need them", "Install them, then run this again."))
    say("going on without them: there may be no window or no sound")


def loads(name: str) -> bool:
    """Whether the loader finds a shared library."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def apt(steps: tuple[str, ...]) -> bool:
    """Run apt-get steps as root, quietly unless one fails; returns whether all went well."""
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in steps:
        done = subprocess.run(step.split(), env=quiet, capture_output=True, text=True)
        if done.returncode:
            say(f"{step} failed:\n{done.stderr.strip()}")
            return False
    return True


def make_environment() -> None:
    """Create `.venv` and install the program there, unless that was done for this pyproject."""
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + str(ROOT).encode())
    if python().exists() and STAMP.is_file() and STAMP.read_text() == wanted.hexdigest():
        return
    if not has_pip():
        say("making the virtual environment .venv")
        make_venv()
    say("installing the program and what it needs (some minutes the first time)")
    if pip_install(f"{ROOT}[dev]"):
        raise SystemExit(
            stop(
                "pip could not install the program",
                f"Is there a network, and room on the disk? All that pip said is in {PIP_LOG}.",
            )
        )
    STAMP.write_text(wanted.hexdigest())


def has_pip() -> bool:
    """Whether `.venv` is whole: an interrupted set-up, or a Python removed since, leaves parts."""
    if not python().exists():
        return False
    test = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    return subprocess.run([str(python()), "-c", test], capture_output=True).returncode == 0


def make_venv() -> None:
    """Make `.venv` anew; on Debian the module that does it is a package of its own."""
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    done = subprocess.run(command, capture_output=True, text=True)
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    if done.returncode and package in done.stdout and os.geteuid() == 0:
        say(f"installing {package}")
        if apt(("apt-get update", f"apt-get install -y --no-install-recommends {package}")):
            done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = (done.stdout + done.stderr).strip()
        raise SystemExit(stop("the virtual environment can't be made", words))


def pip_install(what: str) -> int:
    """Install `what` in editable form; tells of large downloads, and what pip complains of."""
    command = [str(python()), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--log", str(PIP_LOG), "--editable", what]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as pip:
        for line in pip.stdout:
            size = DOWNLOAD.search(line)
            if size and (size["unit"] == "GB" or float(size["size"]) >= SHOWN_FROM_MB):
                say(f"  {size['name']} {size['version']}, {size['size']} {size['unit']}")
            elif line.startswith("Installing collected packages"):
                say(f"  unpacking {line.count(',') + 1} packages")
            elif line.startswith("ERROR"):
                say(f"  {line.strip()}")
            elif "Retrying" in line:
                say("  the package index doesn't answer, trying again")
    return pip.returncode


def python() -> Path:
    """The interpreter of the virtual environment."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(*arguments: str, environment: dict[str, str] | None = None) -> int:
    """Run the environment's Python at the top of the repository; returns its exit code.

    Ctrl-C reaches the child as well, which is given the time to keep what it has finished.
    """
    values = {**os.environ, **(environment or {})}
    with subprocess.Popen([str(python()), *arguments], cwd=ROOT, env=values) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue


def say(text: str) -> None:
    """Tell the user what happens."""
    sys.stderr.write(f"setup: {text}\n")
    sys.stderr.flush()


def stop(message: str, hint: str) -> int:
    """Say what went wrong and what to do; returns the exit code for it."""
    say(f"{message}\n{hint}")
    return 1


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        code = 130
    raise SystemExit(code)
