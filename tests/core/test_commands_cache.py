"""`moca cache`: what is there is shown, and what is cleared has gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from moca_core import cli
from moca_core.commands.cache_checks import kept_features
from moca_core.commands.findings import Status
from moca_core.training.feature_folders import InUse


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with 30 MB of features in two folders, notes, a result and a weights file."""
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("MOCA_FEATURES_GB", raising=False)
    for name, size in (
        ("training/features-a/0.visual", 20_000_000),
        ("training/features-b/0.visual", 10_000_000),
        ("training/check-12.sqlite", 40_000_000),
        ("training/check-12.sqlite-journal", 10),
        ("results/clip/frame.png", 50_000_000),
        ("weights/net.onnx", 60_000_000),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            stream.truncate(size)
    return tmp_path


def test_the_list_has_all_kinds_with_their_sizes(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use = InUse(kept / "training" / "features-a")
    assert cli.main(["cache"]) == cli.DONE
    lines = capsys.readouterr().out.splitlines()
    use.close()
    sizes = {line.split()[0]: line.split()[1] for line in lines if " GB  " in line[:20]}
    expected = {"features": "0.03", "notes": "0.04", "results": "0.05", "weights": "0.06"}
    assert expected.items() <= sizes.items()
    assert next(line for line in lines if "features-a" in line).endswith("in use")
    assert not next(line for line in lines if "features-b" in line).endswith("in use")
    assert cli.main(["cache", "list"]) == cli.DONE


def test_an_empty_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "none"))
    assert cli.main(["cache"]) == cli.DONE
    assert cli.main(["cache", "clear", "features", "notes"]) == cli.DONE
    said = capsys.readouterr().out
    assert "features   0.00 GB" in said and "features: 0 removed" in said


def test_what_is_cleared_has_gone_and_the_rest_stays(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use = InUse(kept / "training" / "features-a")
    assert cli.main(["cache", "clear", "features"]) == cli.DONE
    use.close()
    assert capsys.readouterr().out == "features: 1 removed, 0.01 GB; 1 stay, in use\n"
    assert sorted(path.name for path in (kept / "training").glob("[!.]*")) == [
        "check-12.sqlite",
        "check-12.sqlite-journal",
        "features-a",
    ]
    assert cli.main(["cache", "clear", "notes", "features", "--quiet"]) == cli.DONE
    assert capsys.readouterr().out == ""
    assert not list((kept / "training").glob("[!.]*"))
    assert (kept / "results/clip/frame.png").exists() and (kept / "weights/net.onnx").exists()


@pytest.mark.parametrize("words", [["clear"], ["clear", "weights"], ["list", "features"], ["x"]])
def test_wrong_words(kept: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cache", *words]) == cli.USAGE
    assert "error" in capsys.readouterr().err
    assert (kept / "training/features-b").exists()


def test_doctor_tells_the_size_and_a_limit_that_is_none(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finding,) = kept_features()
    assert finding.status is Status.INFO
    assert finding.found == "0.03 of 32 GB, in 2 folders (`moca cache`)"
    monkeypatch.setenv("MOCA_FEATURES_GB", "much")
    (finding,) = kept_features()
    assert finding.status is Status.FAIL and "much" in finding.found and finding.remedy
