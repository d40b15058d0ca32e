"""`moca doctor`: every finding, and the exit code that follows from it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from moca_core.cli import DONE, FAILED, main
from moca_core.commands import checks, gui, weights_checks
from moca_core.commands.checks import Finding, Library, Status, within
from moca_core.commands.doctor import as_text
from moca_core.errors import StorageError
from moca_core.models import licences, stored
from moca_core.models.weights import State

REPOSITORY = Path(__file__).resolve().parents[2]
ABSENT = Library("libnotthere.so.7", "libnotthere7")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))


def only(check) -> Finding:
    (finding,) = check()
    return finding


@pytest.mark.weights
def test_the_table_of_this_machine(monkeypatch, weights_dir, capsys):
    monkeypatch.delenv("MOCA_CACHE_DIR")
    code = main(["doctor"])
    out = capsys.readouterr().out
    lines = {line[6:30].strip(): line for line in out.splitlines() if line[:4].strip()}
    for name in ("Python", "torch", "av", "opencv-python-headless", "weights, compact"):
        assert lines[name].startswith("ok "), out
    assert {"device", "cache folder", "display", "sound", "Qt libraries", "video"} <= set(lines)
    assert "CPU float32: " in lines["device"] or "CUDA:0 float32: " in lines["device"]
    assert code == (FAILED if "FAIL" in out else DONE)


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (Status.OK, DONE, "Everything works."),
        (Status.WARN, DONE, "Everything that is needed works; 1 warning."),
        (Status.FAIL, FAILED, "1 thing that is needed is broken; 0 warnings."),
    ],
)
def test_only_what_is_needed_makes_it_fail(status, code, verdict, monkeypatch, capsys):
    monkeypatch.setattr(checks, "CHECKS", (lambda: iter([Finding(status, "x", "y", "Do z.")]),))
    assert main(["doctor"]) == code
    assert capsys.readouterr().out.splitlines()[-1] == verdict


def test_quiet_shows_problems_only(monkeypatch, capsys):
    rows = [
        Finding(Status.OK, "a", "fine"),
        Finding(Status.INFO, "c", "known"),
        Finding(Status.WARN, "b", "odd", "Look at it."),
    ]
    monkeypatch.setattr(checks, "CHECKS", (lambda: iter(rows),))
    assert main(["doctor", "--quiet"]) == DONE
    assert capsys.readouterr().out.split() == ["warn", "b", "odd", "Look", "at", "it."]


def test_the_remedy_stands_below():
    first, second = as_text(Finding(Status.WARN, "sound", "none", "Connect one.")).split("\n")
    assert first.index("none") == second.index("Connect one.")


@pytest.mark.parametrize(
    ("version", "bounds", "kept"),
    [
        ("2.13.0+cpu", "<2.14,>=2.4", True),
        ("2.14", "<2.14,>=2.4", False),
        ("2.14.0", "<2.14", False),
        ("2.4", ">=2.4.0", True),
        ("2.10.1", ">=2.9", True),
        ("1.26.4", ">=2", False),
        ("6.12.0", "<6.12,>=6.8", False),
        ("3.0rc1", ">=2,!=3.0", False),
        ("1.0", "any", True),
    ],
)
def test_versions_are_compared_as_numbers(version, bounds, kept):
    assert within(version, bounds) is kept


def test_the_bounds_are_those_of_the_package():
    declared = {checks._name(line).lower(): line for line in checks.requirements()}
    assert "<2.14" in declared["torch"]
    assert "<6.12" in declared["pyside6-essentials"]
    assert "pytest" not in declared  # an extra
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    names = {checks._name(line).lower().replace("_", "-") for line in project["dependencies"]}
    assert names == set(declared)


def test_a_dependency_that_lacks_or_is_too_old_or_broken(monkeypatch):
    monkeypatch.setitem(checks.MODULES, "soxr", "module_that_is_not_there")
    monkeypatch.setattr(
        checks, "requirements", lambda: ["not-a-package-of-ours>=1", "numpy>=999", "soxr>=0.4"]
    )
    lacking, old, broken = checks.dependencies()
    assert (lacking.status, lacking.found) == (Status.FAIL, "not installed")
    assert '-m pip install "not-a-package-of-ours>=1"' in lacking.remedy
    assert old.status is Status.FAIL
    assert "but >=999 is needed" in old.found
    assert broken.status is Status.FAIL
    assert "can't be imported" in broken.found


@pytest.mark.parametrize(
    ("trouble", "status"), [("", Status.FAIL), ("there is no display", Status.WARN)]
)
def test_qt_libraries_are_needed_where_there_is_a_display(trouble, status, monkeypatch):
    monkeypatch.setattr(gui, "display_trouble", lambda: trouble)
    monkeypatch.setattr(checks, "QT_LIBRARIES", (*checks.QT_LIBRARIES, ABSENT))
    monkeypatch.setattr(checks, "absent", lambda libraries: (ABSENT,))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    qt, x11, display = checks.window()
    assert (qt.status, x11.status) == (status, status)
    assert qt.found == "missing: libnotthere.so.7"
    assert qt.remedy == "Run `sudo apt-get install -y libnotthere7`."
    assert display.status is (Status.WARN if trouble else Status.OK)


def test_qt_that_does_not_load_is_told_with_its_reason(monkeypatch):
    monkeypatch.setattr(gui, "display_trouble", lambda: "")
    monkeypatch.setattr(checks, "absent", lambda libraries: ())
    monkeypatch.setattr(checks, "_probe", lambda code: (1, "Traceback\nImportError: no symbol\n"))
    finding = next(checks.window())
    assert finding.status is Status.FAIL
    assert finding.found == "Qt can't be loaded (ImportError: no symbol)"


def test_a_library_that_is_not_there_is_found_out():
    assert checks.absent((ABSENT, Library("libc.so.6", "libc6"))) == (ABSENT,)


def test_portaudio_missing_is_a_warning_with_the_apt_line(monkeypatch):
    monkeypatch.setattr(checks, "absent", lambda libraries: libraries)
    finding = only(checks.sound)
    assert finding.status is Status.WARN
    assert finding.remedy == "Run `sudo apt-get install -y libportaudio2`."


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ((0, "Built-in speaker\n"), Status.OK, "Built-in speaker"),
        ((1, "PortAudioError: Error querying device -1\n"), Status.WARN, "no output device"),
        ((-1, "no answer"), Status.WARN, "no answer"),
    ],
)
def test_sound_devices(answer, status, words, monkeypatch):
    monkeypatch.setattr(checks, "absent", lambda libraries: ())
    monkeypatch.setattr(checks, "_probe", lambda code: answer)
    finding = only(checks.sound)
    assert finding.status is status
    assert words in finding.found


def weights_findings() -> dict[str, Finding]:
    return {found.name.removeprefix("weights, "): found for found in checks.weights_files()}


def complete(bundle, monkeypatch):
    """Pretend that all files of a bundle are here."""
    real = weights_checks.weights.state

    def state(row):
        return State.READY if row.bundle == bundle else real(row)

    for module in (stored, weights_checks.weights):
        monkeypatch.setattr(module, "state", state)


def test_missing_weights_are_needed():
    finding = weights_findings()["compact"]
    assert finding.status is Status.FAIL
    assert "0 of 8 files ready: vit_s_focus.onnx missing" in finding.found
    assert "moca weights get compact" in finding.remedy


def test_a_bundle_that_nobody_asked_for_is_no_failure():
    finding = weights_findings()["imagebind"]
    assert finding.status is Status.INFO
    assert "moca weights get imagebind" in finding.remedy
    assert "5.27 GB" in finding.remedy
    assert "Its terms are shown before its first use." in finding.remedy


def test_one_complete_bundle_is_enough(monkeypatch):
    complete("imagebind", monkeypatch)
    licences.remember("imagebind")
    found = weights_findings()
    assert (found["compact"].status, found["imagebind"].status) == (Status.INFO, Status.OK)
    assert "3 of 3 files ready (5.27 GB); its terms were shown on 20" in found["imagebind"].found


def test_a_bundle_that_is_partly_there_is_a_warning(monkeypatch, tmp_path):
    complete("compact", monkeypatch)
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    (folder / "sam_vit_b_01ec64.pth").write_bytes(b"cut")
    found = weights_findings()
    assert (found["compact"].status, found["imagebind"].status) == (Status.OK, Status.WARN)
    assert "sam_vit_b_01ec64.pth damaged" in found["imagebind"].found


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    finding = only(checks.cache)
    assert finding.status is Status.FAIL
    assert "can't be written" in finding.found
    assert "MOCA_CACHE_DIR" in finding.remedy


def test_little_space_is_a_warning(monkeypatch):
    usage = checks.shutil.disk_usage("/")._replace(free=5 * 10**8)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage)
    finding = only(checks.cache)
    assert finding.status is Status.WARN
    assert "0.5 GB free" in finding.found


def test_a_card_that_torch_does_not_use_is_told(monkeypatch):
    from moca_core import device
    from moca_core.device import DeviceChoice

    monkeypatch.setattr(
        device, "choose_device", lambda: DeviceChoice("cpu", "float32", "torch has no CUDA")
    )
    monkeypatch.setattr(checks.Path, "exists", lambda self: True)
    finding = only(checks.device)
    assert finding.status is Status.WARN
    assert finding.found == "CPU float32: torch has no CUDA, though there is an NVIDIA card"


def test_pyav_without_an_encoder(monkeypatch):
    monkeypatch.setattr(checks, "_has_encoder", lambda av, name: name != "libx264")
    finding = only(checks.media)
    assert finding.status is Status.WARN
    assert "can't write libx264" in finding.found


def test_ffmpeg_is_not_needed():
    finding = only(checks.media)
    assert finding.status is Status.OK
    assert "ffmpeg is not needed" in finding.found


def test_a_resource_that_lacks(monkeypatch):
    def lost(name):
        raise FileNotFoundError(f"resource {name!r} is missing")

    monkeypatch.setattr(checks.paths, "resource", lost)
    assert only(checks.resources).status is Status.FAIL


def test_nothing_is_fetched(monkeypatch, capsys):
    def refuse(*_, **__):
        raise AssertionError("the doctor uses no network")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("moca_core.models.weights.fetch", refuse)
    monkeypatch.setattr(checks, "_probe", lambda code: (0, "fine"))
    assert main(["doctor"]) in (DONE, FAILED)
    assert "unexpected" not in capsys.readouterr().err


def test_storage_errors_name_the_folder(monkeypatch):
    def full(folder):
        raise StorageError(f"{folder}: can't be written (No space left on device)", "")

    monkeypatch.setattr("moca_core.export.results.prepare_folder", full)
    assert "No space left" in only(checks.cache).found
