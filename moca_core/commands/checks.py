"""What `moca doctor` looks at: a row of findings for each thing that a run may fail on."""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from moca_core import paths
from moca_core.commands import gui
from moca_core.commands.cache_checks import kept_features
from moca_core.commands.findings import Finding, Status
from moca_core.commands.weights_checks import weights_files
from moca_core.errors import MocaError

_PROBE_S = 30.0
_LOW_SPACE = 10**9


@dataclass(frozen=True)
class Library:
    """A shared library of the system and the Debian package that holds it."""

    file: str
    package: str


QT_LIBRARIES = (
    Library("libGL.so.1", "libgl1"),
    Library("libEGL.so.1", "libegl1"),
    Library("libxkbcommon.so.0", "libxkbcommon0"),
    Library("libfontconfig.so.1", "libfontconfig1"),
    Library("libglib-2.0.so.0", "libglib2.0-0"),
    Library("libdbus-1.so.3", "libdbus-1-3"),
)
X11_LIBRARIES = (
    Library("libxcb-cursor.so.0", "libxcb-cursor0"),
    Library("libxcb-icccm.so.4", "libxcb-icccm4"),
    Library("libxcb-image.so.0", "libxcb-image0"),
    Library("libxcb-keysyms.so.1", "libxcb-keysyms1"),
    Library("libxcb-render-util.so.0", "libxcb-render-util0"),
    Library("libxcb-shape.so.0", "libxcb-shape0"),
    Library("libxkbcommon-x11.so.0", "libxkbcommon-x11-0"),
)
SOUND_LIBRARY = Library("libportaudio.so.2", "libportaudio2")

# What is imported to see that a package works here. Those of the window are tried in a child.
MODULES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "torch": "torch",
    "safetensors": "safetensors",
    "onnx": "onnx",
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "scikit-learn": "sklearn",
    "opencv-python-headless": "cv2",
    "pillow": "PIL.Image",
    "av": "av",
    "soxr": "soxr",
}


def python() -> Iterator[Finding]:
    """The interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    recent = sys.version_info >= (3, 11)
    yield Finding(
        Status.OK if recent else Status.FAIL,
        "Python",
        f"{version} ({sys.executable})",
        "" if recent else "Install Python 3.11 or newer.",
    )


def dependencies() -> Iterator[Finding]:
    """Every package that the program declares: its version, and whether it can be imported."""
    for requirement in requirements():
        name = _name(requirement)
        remedy = f'Run `{sys.executable} -m pip install "{requirement}"`.'
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(Status.FAIL, name, "not installed", remedy)
            continue
        bounds = requirement.removeprefix(name) or "any"
        if not within(version, bounds):
            yield Finding(Status.FAIL, name, f"{version}, but {bounds} is needed", remedy)
            continue
        try:
            importlib.import_module(MODULES.get(name, "sys"))
        except Exception as error:  # whatever a damaged package raises
            yield Finding(Status.FAIL, name, f"{version} can't be imported ({error})", remedy)
            continue
        yield Finding(Status.OK, name, f"{version} ({bounds})")


def requirements() -> list[str]:
    """What the program needs, such as `torch<2.14,>=2.4`, without the extras."""
    try:
        declared = metadata.requires("moca-studio") or []
    except metadata.PackageNotFoundError:
        # From a source tree that was never installed.
        source = Path(__file__).resolve().parents[2] / "pyproject.toml"
        if not source.is_file():
            return []
        declared = tomllib.loads(source.read_text())["project"]["dependencies"]
    return [line.replace(" ", "") for line in declared if "extra ==" not in line]


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return found.group() if found else requirement


def within(version: str, bounds: str) -> bool:
    """Whether a version keeps bounds such as `<2.14,>=2.4`; what can't be read counts as kept."""
    have = _numbers(version)
    for sign, limit in re.findall(r"(>=|<=|==|!=|<|>)([0-9][0-9.]*)", bounds):
        other = _numbers(limit)
        width = max(len(have), len(other))
        a, b = (part + (0,) * (width - len(part)) for part in (have, other))
        kept = {
            ">=": a >= b,
            "<=": a <= b,
            "==": a == b,
            "!=": a != b,
            "<": a < b,
            ">": a > b,
        }
        if not kept[sign]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    """`2.13.0+cpu` -> (2, 13, 0)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found.group().split("."))) if found else ()


def window() -> Iterator[Finding]:
    """Qt, its system libraries, and a display. Without a display none of them is needed."""
    trouble = gui.display_trouble()
    needed = Status.WARN if trouble else Status.FAIL
    missing = absent(QT_LIBRARIES)
    if missing:
        yield Finding(needed, "Qt libraries", f"missing: {_files(missing)}", apt_line(missing))
    else:
        code, words = _probe("import PySide6.QtGui, PySide6.QtWidgets, pyqtgraph")
        problem = "" if code == 0 else f"Qt can't be loaded ({_last(words)})"
        remedy = "Install PySide6_Essentials and pyqtgraph again." if problem else ""
        yield Finding(
            needed if problem else Status.OK, "Qt libraries", problem or "they load", remedy
        )
    if os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        missing = absent(X11_LIBRARIES)
        found = f"missing: {_files(missing)}" if missing else "there"
        status = needed if missing else Status.OK
        yield Finding(status, "X11 libraries", found, apt_line(missing))
    remedy = "Only the window needs one: `moca segment` and `moca demo --no-gui` run without."
    if trouble:
        yield Finding(Status.WARN, "display", trouble, remedy)
    else:
        yield Finding(Status.OK, "display", "there")


def sound() -> Iterator[Finding]:
    """PortAudio and a device to play on; without them the window plays in silence."""
    silent = "clips play without sound"
    if absent((SOUND_LIBRARY,)):
        found = f"PortAudio is missing: {silent}"
        yield Finding(Status.WARN, "sound", found, apt_line((SOUND_LIBRARY,)))
        return
    # In a child: sound systems write to stderr, and some hang.
    code, words = _probe(
        "import sounddevice\nprint(sounddevice.query_devices(kind='output')['name'])"
    )
    if code == 0:
        yield Finding(Status.OK, "sound", _last(words))
        return
    reason = "no output device" if "device" in _last(words).lower() else _last(words)
    yield Finding(Status.WARN, "sound", f"{reason}: {silent}", "Connect one; the rest works.")


def device() -> Iterator[Finding]:
    """What computes, and why."""
    from moca_core.device import choose_device

    try:
        choice = choose_device()
    except Exception as error:  # torch is broken, of which its own line says more
        yield Finding(Status.FAIL, "device", f"torch doesn't work ({error})", "Install it again.")
        return
    card = any(Path(path).exists() for path in ("/dev/nvidia0", "/proc/driver/nvidia/version"))
    if card and choice.device == "cpu":
        yield Finding(
            Status.WARN,
            "device",
            f"{choice}, though there is an NVIDIA card",
            "Install a torch with CUDA (pytorch.org says how) and a driver that suits it.",
        )
        return
    yield Finding(Status.OK, "device", str(choice))


def cache() -> Iterator[Finding]:
    """The folder of weights and stored results."""
    from moca_core.export.results import prepare_folder

    folder = paths.cache_dir()
    try:
        prepare_folder(folder)
        free = shutil.disk_usage(folder).free
    except (MocaError, OSError) as error:
        words = error.message if isinstance(error, MocaError) else f"{folder}: {error}"
        remedy = "Set MOCA_CACHE_DIR to a folder that you can write to."
        yield Finding(Status.FAIL, "cache folder", words, remedy)
        return
    found = f"{folder}, {free / 1e9:.1f} GB free"
    low = free < _LOW_SPACE
    remedy = "Free some space, or set MOCA_CACHE_DIR to a folder on a larger disk." if low else ""
    yield Finding(Status.WARN if low else Status.OK, "cache folder", found, remedy)


def media() -> Iterator[Finding]:
    """What reads and writes video; the `ffmpeg` program isn't used."""
    try:
        av = importlib.import_module("av")
        lacking = [name for name in ("libx264", "aac") if not _has_encoder(av, name)]
    except Exception as error:  # its own line says more
        yield Finding(Status.FAIL, "video", f"PyAV doesn't work ({error})", "Install av again.")
        return
    if lacking:
        found = f"PyAV can't write {' and '.join(lacking)}: --overlay doesn't work"
        yield Finding(Status.WARN, "video", found, "Install av from a wheel: `pip install av`.")
    else:
        found = "PyAV reads and writes it; the program ffmpeg is not needed"
        yield Finding(Status.OK, "video", found)


def _has_encoder(av: object, name: str) -> bool:
    try:
        av.codec.Codec(name, "w")  # type: ignore[attr-defined]  # imported by name
    except Exception:  # PyAV's class for it has moved between versions
        return False
    return True


def resources() -> Iterator[Finding]:
    """The files that come with the program."""
    try:
        for file in ("demo/demo.mp4", "sound_groups/groups.csv"):
            paths.resource(file)
    except FileNotFoundError as error:
        yield Finding(Status.FAIL, "resources", str(error), "Install the program again.")
    else:
        yield Finding(Status.OK, "resources", "the demo clip and the sound groups are there")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    python,
    dependencies,
    device,
    weights_files,
    cache,
    kept_features,
    media,
    resources,
    window,
    sound,
)


def absent(libraries: tuple[Library, ...]) -> tuple[Library, ...]:
    """Those that can't be loaded; none where Qt and PortAudio come with their packages."""
    if not sys.platform.startswith("linux"):
        return ()
    missing = []
    for library in libraries:
        try:
            ctypes.CDLL(library.file)
        except OSError:
            missing.append(library)
    return tuple(missing)


def apt_line(libraries: tuple[Library, ...]) -> str:
    """The command that installs them on Debian and Ubuntu; "" for none."""
    if not libraries:
        return ""
    return f"Run `sudo apt-get install -y {' '.join(item.package for item in libraries)}`."


def _files(libraries: tuple[Library, ...]) -> str:
    return ", ".join(item.file for item in libraries)


def _probe(code: str) -> tuple[int, str]:
    """Run Python code in a child; its exit code and what it printed."""
    try:
        ended = subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PROBE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return -1, "no answer" if isinstance(error, subprocess.TimeoutExpired) else str(error)
    return ended.returncode, ended.stdout.decode(errors="replace")


def _last(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
