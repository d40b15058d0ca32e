"""The wheel that users install: complete, with every dependency declared, and able to start."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("moca_core", "moca_gui")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel, and sees this one's dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / Path(sys.executable).name
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install"]
    pip += ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    # A path in a .pth file is added without that folder's own .pth files, so that the editable
    # installation of this tree stays out of sight.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


def run(*command: Path | str) -> str:
    """The output of a command that must succeed, run far from the source tree."""
    done = subprocess.run([str(word) for word in command], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_module_and_every_resource(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        for path in (item for item in (ROOT / "resources").rglob("*") if item.is_file()):
            name = f"moca_core/_resources/{path.relative_to(ROOT / 'resources').as_posix()}"
            assert name in inside
            assert archive.read(name) == path.read_bytes()
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert modules <= inside
    assert not [name for name in inside if name.startswith(("tests/", "tools/", "benchmarks/"))]


def test_the_installed_commands_start(installed: Path) -> None:
    moca = installed.with_name("moca")
    assert PROJECT["version"] in run(moca, "--version")
    assert "mobile_sam.pt" in run(moca, "weights", "list")
    assert "usage: moca-gui" in run(installed.with_name("moca-gui"), "--help")


def test_the_installed_program_finds_its_own_resources(installed: Path) -> None:
    code = "from moca_core.paths import resource; print(resource('demo/demo.mp4'))"
    found = Path(run(installed, "-c", code).strip())
    assert found.is_file()
    assert found.parents[2].name == "moca_core"
    assert ROOT not in found.parents


def test_the_desktop_entry_starts_the_program_and_has_its_icon() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "resources" / "moca-studio.desktop")
    entry = parser["Desktop Entry"]
    assert entry["exec"].split()[0] in PROJECT["gui-scripts"]
    icon = ROOT / "resources" / "icons" / f"{entry['icon']}.svg"
    assert icon.read_text().startswith("<svg")


def third_party(folder: Path) -> Iterator[tuple[str, str]]:
    """(file, top module) for each import in `folder` from outside of it and Python's library."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [item.name for item in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                # Namespace packages (google.protobuf) are told apart by their second name.
                names = [node.module]
            for name in names:
                top = name.split(".")[0]
                if top not in sys.stdlib_module_names and top not in PACKAGES:
                    yield str(path.relative_to(ROOT)), name


def canonical(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    declared = {
        canonical(re.split(r"[<>=!~ \[]", row, maxsplit=1)[0]) for row in PROJECT["dependencies"]
    }
    homes = packages_distributions()
    used = set()
    for package in PACKAGES:
        for path, module in third_party(ROOT / package):
            top = module.split(".")[0]
            owners = {canonical(owner) for owner in homes.get(top, [])}
            if top == "PySide6":
                owners = {"pyside6-essentials"}
            assert owners & declared, f"{path} imports {module}: declare one of {sorted(owners)}"
            used |= owners & declared
    assert used == declared, f"declared and never imported: {sorted(declared - used)}"
