"""The two commands on machines that lack something: `tools/setup.py` says what, and what to do."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "setup.py"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="asks for users and apt-get")


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, for an empty clone in a folder of its own."""
    spec = importlib.util.spec_from_file_location("moca_setup", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    venv = tmp_path / ".venv"
    for name, value in {
        "ROOT": tmp_path,
        "VENV": venv,
        "STAMP": venv / "moca-installed",
        "PIP_LOG": venv / "pip.log",
    }.items():
        monkeypatch.setattr(module, name, value)
    return module


def on_debian(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, user: int, lacks: str) -> None:
    """Pretend to be `user` on a Debian that lacks one library."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(setup.os, "geteuid", lambda: user)
    monkeypatch.setattr(setup.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(setup, "loads", lambda name: name != lacks)


def test_a_user_is_told_the_line_that_installs_what_lacks(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    on_debian(setup, monkeypatch, user=1000, lacks="libEGL.so.1")
    setup.install_libraries(required=False)
    line = "sudo apt-get update && sudo apt-get install -y --no-install-recommends libegl1\n"
    assert line in capfd.readouterr().err
    with pytest.raises(SystemExit):
        setup.install_libraries(required=True)


def test_the_tests_need_neither_sound_nor_a_screen(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    on_debian(setup, monkeypatch, user=1000, lacks="libportaudio.so.2")
    setup.install_libraries(required=True)
    assert "libportaudio2" in capfd.readouterr().err


def test_only_the_tests_ask_for_a_screen_without_a_monitor(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    on_debian(setup, monkeypatch, user=1000, lacks="")
    monkeypatch.setattr(
        setup.shutil, "which", lambda name: None if name == "Xvfb" else f"/usr/bin/{name}"
    )
    setup.install_libraries(required=False)
    assert capfd.readouterr().err == ""
    setup.install_libraries(required=True)
    assert "apt-get install -y --no-install-recommends xvfb\n" in capfd.readouterr().err


def test_root_gets_the_libraries_installed(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []

    def fake(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 100 * (len(ran) > 2), "", "E: no route")

    monkeypatch.setattr(setup.subprocess, "run", fake)
    on_debian(setup, monkeypatch, user=0, lacks="libGL.so.1")
    setup.install_libraries(required=True)
    assert ran[0] == ["apt-get", "update"]
    assert ran[1][-1] == "libgl1"
    with pytest.raises(SystemExit):
        setup.install_libraries(required=True)
    assert "E: no route" in capfd.readouterr().err


def test_a_library_is_asked_for_from_the_loader(setup: ModuleType) -> None:
    assert not setup.loads("libthere-is-no-such-thing.so.7")
    if sys.platform == "linux":
        assert setup.loads("libc.so.6")


def test_an_older_python_is_told_what_is_needed(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup.sys, "argv", ["setup.py", "demo"])
    monkeypatch.setattr(setup.sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    assert setup.main() == 1
    said = capfd.readouterr().err
    assert "Python 3.11 or newer is needed, and this is 3.9.2" in said
    assert "make demo PYTHON=" in said


def test_an_older_python_hands_over_to_a_newer_one(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken, newer = tmp_path / "broken", tmp_path / "newer"
    broken.write_text("#!/bin/sh\nexit 127\n")
    newer.write_text(f'#!/bin/sh\n[ "$1" = -V ] || echo "$@" > {tmp_path}/words\nexit 0\n')
    for path in (broken, newer):
        path.chmod(0o755)
    found = {"python3.13": str(broken), "python3.12": str(newer)}
    monkeypatch.setattr(setup.shutil, "which", found.get)
    monkeypatch.setattr(setup.sys, "argv", ["tools/setup.py", "demo", "--", "--no-gui"])
    assert setup.with_newer_python() == 0
    assert (tmp_path / "words").read_text().split() == ["tools/setup.py", "demo", "--", "--no-gui"]


def test_an_interrupted_environment_is_made_anew(setup: ModuleType) -> None:
    assert not setup.has_pip()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(setup.VENV)], check=True)
    left = setup.VENV / "left"
    left.write_text("")
    assert not setup.has_pip()
    setup.make_venv()
    assert setup.has_pip()
    assert not left.exists()


def test_what_is_installed_is_not_installed_again(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[str] = []

    def pip_install(what: str) -> int:
        installed.append(what)
        return 0

    def make_venv() -> None:
        setup.python().parent.mkdir(parents=True)
        setup.python().symlink_to(sys.executable)

    monkeypatch.setattr(setup, "pip_install", pip_install)
    monkeypatch.setattr(setup, "make_venv", make_venv)
    setup.make_environment()
    setup.make_environment()
    assert installed == [f"{setup.ROOT}[dev]"]
    (setup.ROOT / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    setup.make_environment()
    assert len(installed) == 2


def test_a_failed_install_is_tried_again(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup, "has_pip", lambda: True)
    monkeypatch.setattr(setup, "pip_install", lambda what: 1)
    with pytest.raises(SystemExit) as end:
        setup.make_environment()
    assert end.value.code == 1
    assert "Is there a network" in capfd.readouterr().err
    assert not setup.STAMP.exists()


def test_ctrl_c_leaves_the_child_time_to_end(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(setup, "python", lambda: Path(sys.executable))
    code = (
        "import os, pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "time.sleep(1)\n"
        "pathlib.Path('kept').touch()\n"
        "sys.exit(130)"
    )
    assert setup.run("-c", code) == 130
    assert (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("line", "name", "size"),
    [
        ("  Downloading torch-2.13.0%2Bcpu-cp311-cp311-any.whl (191.8 MB)", "torch", "191.8"),
        ("Downloading http://host/p/av-18.1.0-cp311-abi3-any.whl (35.8 MB)", "av", "35.8"),
    ],
)
def test_large_downloads_are_told(setup: ModuleType, line: str, name: str, size: str) -> None:
    found = setup.DOWNLOAD.search(line)
    assert found is not None
    assert (found["name"], found["size"], found["unit"]) == (name, size, "MB")
