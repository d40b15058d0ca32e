"""How to segment, by arguments: what `segment` and `evaluate` hand to the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_fakes import LeftHalf, fake_segmenter, read_json
from data.make_clips import ClipSpec, make_clip

from moca_core.cli import DONE, FAILED, USAGE, main
from moca_core.commands import method
from moca_core.config import SegmentConfig
from moca_core.models import weights
from moca_core.models.bundles import default_settings
from moca_core.models.registry import bundle_row


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "bell.mp4", ClipSpec(frames=10, fps=10, audio="aac"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, ...]]:
    """What the pipeline was asked for: configuration, device, thresholds, precision, compiled."""
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    calls: list[tuple[Any, ...]] = []
    load = fake_segmenter(LeftHalf())

    def note(*arguments: Any) -> Any:
        calls.append(arguments)
        return load(*arguments)

    monkeypatch.setattr(method, "load_segmenter", note)
    return calls


def segment(clip: Path, out: Path, *words: str) -> int:
    return main(["segment", str(clip), "--out", str(out), "--quiet", *words])


def test_without_arguments_everything_is_the_compact_bundles_own(
    asked: list[tuple[Any, ...]], clip: Path, tmp_path: Path
) -> None:
    assert segment(clip, tmp_path / "out") == DONE
    config = SegmentConfig()
    assert asked == [(config, "auto", default_settings(config), "auto", False)]


def test_every_argument_arrives(asked: list[tuple[Any, ...]], clip: Path, tmp_path: Path) -> None:
    words = "--bundle imagebind --proposals grid --sam vit_h --regions paint --image-side 448"
    words += " --patches attended --precision bfloat16 --compile --device cpu"
    words += " --set region_threshold=0.25 --set hearing.empty_below=0.125"
    assert segment(clip, tmp_path / "out", *words.split()) == DONE
    ((config, device, settings, precision, compiled),) = asked
    assert config == SegmentConfig("imagebind", "grid", "paint", "vit_h", "attended", 448)
    assert (device, precision, compiled) == ("cpu", "bfloat16", True)
    assert (settings.region_threshold, settings.hearing.empty_below) == (0.25, 0.125)
    # All others are the bundle's own.
    assert settings.region == default_settings(config).region
    summary = read_json(tmp_path / "out" / "bell" / "summary.json")
    assert summary["config"]["bundle"] == "imagebind"
    assert summary["thresholds"]["region_threshold"] == 0.25
    assert summary["thresholds"]["hearing"]["empty_below"] == 0.125


def test_the_terms_of_a_bundle_are_shown_once_and_on_stderr(
    asked: list[tuple[Any, ...]], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--bundle", "imagebind", "--device", "cpu")
    assert segment(clip, tmp_path / "a", *words) == DONE
    first = capsys.readouterr()
    assert "non-commercial purposes only" in " ".join(first.err.split())
    assert bundle_row("imagebind").terms.split(":")[0].split()[-1] in first.err
    assert "non-commercial" not in first.out
    assert segment(clip, tmp_path / "b", *words) == DONE
    assert "non-commercial" not in capsys.readouterr().err
    assert segment(clip, tmp_path / "c") == DONE
    assert "non-commercial" not in capsys.readouterr().err


def test_other_thresholds_are_computed_anew(
    asked: list[tuple[Any, ...]], clip: Path, tmp_path: Path
) -> None:
    for folder, words, stored in (
        ("a", (), False),
        ("b", (), True),
        ("c", ("--set", "least_share=0.25"), False),
        ("d", ("--set", "least_share=0.25"), True),
        ("e", ("--patches", "attended"), False),
    ):
        assert segment(clip, tmp_path / folder, *words) == DONE
        summary = read_json(tmp_path / folder / "bell" / "summary.json")
        assert (summary["stored_frames"] > 0) is stored


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--set", "hearing.none=1"), FAILED, "'hearing.none' is not a setting"),
        (("--set", "least_share=much"), FAILED, "least_share = 'much'"),
        (("--set", "least_share"), USAGE, "is not NAME=VALUE"),
        (("--set", "=1"), USAGE, "is not NAME=VALUE"),
        (("--image-side", "225"), FAILED, "multiple of 14"),
        (("--bundle", "huge"), USAGE, "imagebind"),
        (("--sam", "vit_x"), USAGE, "vit_b"),
    ],
)
def test_what_cant_work_is_told_before_anything_is_loaded(
    asked: list[tuple[Any, ...]],
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    told: str,
) -> None:
    assert segment(clip, tmp_path / "out", *words) == code
    assert told in capsys.readouterr().err
    assert asked == []


@pytest.mark.parametrize("words", [("--precision", "float16"), ("--compile",)])
def test_the_compact_bundle_is_neither_halved_nor_compiled(
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    assert segment(clip, tmp_path / "out", *words) == FAILED
    told = capsys.readouterr().err
    assert "the compact bundle" in told
    assert f"Leave {words[0]} out" in told


def test_missing_weights_of_one_bundle_are_told_with_the_command_that_gets_them(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    assert segment(clip, tmp_path / "out", "--bundle", "imagebind") == FAILED
    told = capsys.readouterr().err
    assert "imagebind_huge.pth" in told
    assert "moca weights get imagebind" in told


def test_what_is_told_of_weights_may_be_those_of_a_few_files(tmp_path, monkeypatch):
    (tmp_path / "there").touch()
    monkeypatch.setattr(weights, "path_of", lambda row: tmp_path / "there")
    monkeypatch.setattr(weights, "hash_of", lambda row: f"hash of {row.name}")
    monkeypatch.setattr(weights, "is_own", lambda row: True)
    config = SegmentConfig()
    assert len(method.weights_of(config)["weights"]) > 5
    assert method.weights_of(config, {"yamnet.tflite"}) == {
        "weights": {"yamnet.tflite": "hash of yamnet.tflite"},
        "weights_not_official": ["yamnet.tflite"],
    }
