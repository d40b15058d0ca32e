"""The rules of the layers: what may import what, and what the repository may name."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CORE = sorted((REPOSITORY / "moca_core").rglob("*.py"))
GUI = sorted((REPOSITORY / "moca_gui").rglob("*.py"))
QT = ("PySide6", "PyQt5", "PyQt6", "shiboken6", "pyqtgraph", "qtpy")
# Their builds on the registry bring a CUDA torch along, or don't import beside a CPU one.
UNWANTED = ("torchvision", "torchaudio", "timm")
# Spelt apart, so that this file may be searched too.
REGISTRIES = tuple(f"{name}." + "org" for name in ("pypi", "files.pythonhosted", "pythonhosted"))


def imports(path):
    """(line, module) of every import of a file, those within functions included."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, item.name) for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def imports_at_once(path):
    """The modules that importing a file imports: none within functions or for types only."""
    found = []

    def walk(nodes):
        for node in nodes:
            if isinstance(node, ast.Import):
                found.extend(item.name for item in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.append(node.module or "")
            elif isinstance(node, ast.If):
                if "TYPE_CHECKING" not in ast.unparse(node.test):
                    walk(node.body)
                walk(node.orelse)
            elif isinstance(node, ast.Try | ast.With | ast.ClassDef):
                walk(node.body)

    walk(ast.parse(path.read_text()).body)
    return found


def named(module, packages):
    return module.split(".")[0] in packages


def name_of(path):
    return str(path.relative_to(REPOSITORY))


def test_there_is_something_to_look_at():
    assert len(CORE) > 40
    assert len(GUI) > 10


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_imports_neither_qt_nor_the_gui(path):
    bad = [(line, module) for line, module in imports(path) if named(module, (*QT, "moca_gui"))]
    assert bad == []


@pytest.mark.parametrize("path", [*CORE, *GUI], ids=name_of)
def test_nothing_needs_what_the_default_install_lacks(path):
    assert [found for found in imports(path) if named(found[1], UNWANTED)] == []


def test_the_plain_data_and_the_errors_import_nothing_heavy():
    for name in ("types", "errors", "config", "paths", "fileio", "device"):
        heavy = ("torch", "cv2", "av", "scipy", "sklearn", "onnx", "soxr", "sounddevice")
        found = imports_at_once(REPOSITORY / "moca_core" / f"{name}.py")
        assert [module for module in found if named(module, heavy)] == [], name


def test_lower_layers_know_no_higher_ones():
    """media < models and pipeline < export and evaluation < commands."""
    above = {
        "media": ("models", "pipeline", "export", "evaluation", "commands"),
        "models": ("export", "evaluation", "commands"),
        "pipeline": ("export", "evaluation", "commands"),
        "export": ("commands", "evaluation"),
    }
    bad = [
        (name_of(path), module)
        for layer, higher in above.items()
        for path in (REPOSITORY / "moca_core" / layer).glob("*.py")
        for _, module in imports(path)
        if module.startswith(tuple(f"moca_core.{name}" for name in higher))
    ]
    assert bad == []


def loaded_by(statement):
    """Top names of the modules that are loaded after a statement in a new process."""
    code = (
        f"import sys\n{statement}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import moca_core.cli",
        "from moca_core.cli import main\nassert main(['--version']) == 0",
        "import moca_core.types, moca_core.config, moca_core.models.weights, moca_core.media.video",
    ],
)
def test_starting_is_quick_because_nothing_heavy_is_imported(statement):
    loaded = loaded_by(statement)
    assert "moca_core" in loaded
    assert loaded.isdisjoint(
        {*QT, "moca_gui", "torch", "onnx", "sklearn", "scipy", "ai_edge_litert"}
    )


def test_the_window_starts_without_torch():
    """It is imported by the worker, after the window is there."""
    loaded = loaded_by("import moca_gui.main_window")
    assert "PySide6" in loaded
    assert "torch" not in loaded


def tracked():
    """The text files that belong to the repository."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    names = [name for name in done.stdout.split("\0") if name]
    if done.returncode or not names:
        pytest.skip("not a git checkout")
    for name in names:
        path = REPOSITORY / name
        if path.is_file() and path.stat().st_size < 2**20:
            try:
                yield name, path.read_text()
            except UnicodeDecodeError:
                continue


def test_no_registry_is_named():
    """pip finds its index by the user's own settings; a mirror must do."""
    found = [(name, host) for name, text in tracked() for host in REGISTRIES if host in text]
    assert found == []


def test_no_place_of_one_machine_is_named():
    places = tuple("/" + place for place in ("work/main", "work/shared", "home/", "root/"))
    found = [
        (name, place)
        for name, text in tracked()
        for place in places
        if place in text and name.endswith((".py", ".toml", ".md", ".json", ".csv"))
    ]
    assert found == []
