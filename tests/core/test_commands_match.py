"""`moca match`: what it reads, compares, draws and writes, with an encoder of a few numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from data.make_clips import ClipSpec, make_clip, read_number
from PIL import Image

from moca_core.cli import DONE, FAILED, USAGE, main
from moca_core.errors import ConfigError, MediaError
from moca_core.export.match_sheet import match_sheet
from moca_core.media.still import Still, open_still
from moca_core.pipeline import pma, pma_features
from moca_core.pipeline.pma import PmaConfig


class MeanColours:
    """Tokens are what 8 x 8 fields of the picture look like: 4 x 4 pixels of each, and a class."""

    grid = (8, 8)
    stop = 10

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def prefix(self, rgbs, first):
        """(B, 65, 48)."""
        assert first == self.stop
        self.seen += rgbs
        small = np.stack([cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_AREA) for rgb in rgbs])
        fields = small.reshape(len(rgbs), 8, 4, 8, 4, 3).transpose(0, 1, 3, 2, 4, 5)
        tokens = fields.reshape(len(rgbs), 64, 48).astype(np.float32) / 255
        return np.concatenate([np.full((len(rgbs), 1, 48), 9, np.float32), tokens], axis=1)


@pytest.fixture
def encoder(monkeypatch):
    """In place of every bundle's."""
    fake = MeanColours()
    monkeypatch.setattr(pma_features, "load_encoder", lambda bundle, device: fake)
    return fake


@pytest.fixture
def pictures(tmp_path) -> tuple[Path, Path]:
    """Noise of fields 128 x 128, and the same scene an eighth of it further right and down."""
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))
    paths = tmp_path / "a.png", tmp_path / "b.jpg"
    Image.fromarray(scene[16:144, 16:144]).save(paths[0])
    Image.fromarray(scene[:128, :128]).save(paths[1], quality=95)
    return paths


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Two seconds of numbered pictures, 160 x 128, ten a second."""
    folder = tmp_path_factory.mktemp("clips")
    return make_clip(folder / "count.mp4", ClipSpec(frames=20, fps=10))


def png(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    return np.asarray(Image.open(path).convert("RGB"))


def test_two_pictures(pictures, encoder, tmp_path, capsys):
    """A sheet, arrays, and a line; a shifted picture matches at the shift."""
    a, b = pictures
    out, arrays = tmp_path / "new" / "match.png", tmp_path / "other" / "match.npz"
    words = ["match", str(a), str(b), "--out", str(out), "--npz", str(arrays)]
    assert main([*words, "--quiet"]) == DONE
    assert capsys.readouterr().out == ""
    assert png(out).shape[1] > 1000
    with np.load(arrays) as found:
        about = json.loads(str(found["about"]))
        fields = found["match_a"].reshape(8, 8, 2)
        rows, columns = np.mgrid[:8, :8]
        assert (fields[:7, :7, 0] == rows[:7, :7] + 1).all()
        assert (fields[:7, :7, 1] == columns[:7, :7] + 1).all()
        assert found["costs"].shape == (64, 64) and tuple(found["grid"]) == (8, 8)
        assert found["cost_a"].shape == found["cost_b"].shape == (8, 8)
        expected = (found["cost_a"].mean() + found["cost_b"].mean()) / 2
        assert float(found["distance"]) == pytest.approx(expected, abs=1e-6)
    assert about["pictures"] == ["a.png", "b.jpg"] and about["window"] == 3
    assert main(words) == DONE
    line = capsys.readouterr().out
    assert line == f"a.png and b.jpg: distance {expected:.4f} -> {out}\n"


def test_times_of_clips(clip, encoder, tmp_path, capsys):
    """The frames that are shown then: the first one without a time."""
    out = tmp_path / "match.png"
    assert main(["match", str(clip), str(clip), "--at-b", "1.25", "--out", str(out)]) == DONE
    assert [read_number(rgb) for rgb in encoder.seen] == [0, 12]
    assert "count.mp4 at 0:00.00 and count.mp4 at 0:01.20: distance" in capsys.readouterr().out


def test_settings_reach_the_comparison(pictures, encoder, tmp_path):
    """The distance is that of the named settings, not of the defaults."""
    a, b = pictures
    config = PmaConfig(window=5, alpha=0.2, tau=0.02, radius=1, mode="ncc")
    words = ["--window", "5", "--alpha", "0.2", "--tau", "0.02", "--radius", "1", "--mode", "ncc"]
    out, arrays = tmp_path / "m.png", tmp_path / "m.npz"
    words += ["--out", str(out), "--npz", str(arrays), "--quiet"]
    assert main(["match", str(a), str(b), *words]) == DONE
    Fa, Fb = (pma_features.features(encoder, open_still(path).rgb) for path in pictures)
    expected = pma.compare(Fa, Fb, (8, 8), config)
    with np.load(arrays) as found:
        assert float(found["distance"]) == pytest.approx(expected.distance, abs=1e-6)
        np.testing.assert_allclose(found["costs"], expected.costs, atol=1e-6)
    assert abs(expected.distance - pma.compare(Fa, Fb, (8, 8)).distance) > 0.01


def test_bundles_and_devices_are_passed_on(pictures, monkeypatch, tmp_path):
    """The terms of imagebind are shown once, and its encoder is loaded."""
    asked = []

    def load(bundle: str, device: str) -> MeanColours:
        asked.append((bundle, device))
        return MeanColours()

    monkeypatch.setattr(pma_features, "load_encoder", load)
    words = ["match", *map(str, pictures), "--out", str(tmp_path / "m.png")]
    assert main([*words, "--bundle", "imagebind", "--device", "cpu"]) == DONE
    assert asked == [("imagebind", "cpu")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.png", "a.png"], "missing.png: no such file"),
        (["a.png", "missing.mp4"], "missing.mp4: no such file"),
        (["text.png", "a.png"], "text.png: not a picture that can be read"),
        (["a.png", "cut.jpg"], "cut.jpg: not a picture that can be read"),
        (["text.mp4", "a.png"], "text.mp4: not a media file"),
        (["empty.png", "a.png"], "empty.png: the file is empty"),
        (["folder", "a.png"], "a folder, not a clip"),
        (["CLIP", "a.png", "--at-a", "2.5"], "count.mp4: no picture at 2.5 s\n  It lasts 2.00 s."),
        (["a.png", "a.png", "--at-b", "1"], "a.png: a picture has no time"),
        (["a.png", "a.png", "--window", "2"], "window = 2"),
        (["a.png", "a.png", "--radius", "-1"], "radius = -1"),
        (["a.png", "a.png", "--tau", "0"], "tau = 0"),
        (["a.png", "a.png", "--alpha", "nan"], "alpha = nan"),
        (["a.png", "a.png", "--out", "a.png/m.png"], "can't be written"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_cannot_be_compared(
    words, message, clip, pictures, encoder, tmp_path, monkeypatch, capsys
):
    """Message and remedy, exit code 1, and no file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    for name in ("text.png", "text.mp4"):
        (tmp_path / name).write_text("words, again and again. " * 40)
    data = pictures[1].read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    words = [str(clip) if word == "CLIP" else word for word in words]
    out = [] if "--out" in words else ["--out", "m.png"]
    assert main(["match", *words, *out]) == FAILED
    shown = capsys.readouterr().err
    assert shown.startswith("moca: ") and message in shown and "\n  " in shown
    assert not (tmp_path / "m.png").exists()
    assert not encoder.seen


@pytest.mark.parametrize("words", [["a.png"], ["a.png", "b.png"], ["a", "b", "--at-a", "-1"]])
def test_wrong_usage(words, capsys):
    assert main(["match", *words]) == USAGE
    assert "usage: moca match" in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from moca_core.cli import main; main(['match', '--help']); "
        "heavy = {'torch', 'cv2', 'av'} & set(sys.modules); sys.exit(f'{heavy}' if heavy else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


# --- pictures -----------------------------------------------------------------------------------


def test_pictures_are_upright_and_rgb(tmp_path):
    """A picture that a camera turned, one with transparency, and a grey one."""
    turned = Image.new("RGB", (40, 20), (250, 0, 0))
    exif = turned.getexif()
    exif[0x0112] = 6  # turn by a quarter
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert open_still(tmp_path / "turned.jpg").rgb.shape == (40, 20, 3)
    Image.new("RGBA", (8, 4), (1, 2, 3, 0)).save(tmp_path / "clear.PNG")
    assert (open_still(tmp_path / "clear.PNG").rgb == (1, 2, 3)).all()
    Image.new("L", (8, 4), 7).save(tmp_path / "grey.png")
    still = open_still(tmp_path / "grey.png")
    assert (still.rgb == 7).all() and still.rgb.shape == (4, 8, 3) and still.time_s is None


def test_a_time_before_the_end_and_at_it(clip, tmp_path):
    still = open_still(clip, 1.99)
    assert still.time_s == pytest.approx(1.9) and read_number(still.rgb) == 19
    with pytest.raises(MediaError, match="no picture at 2 s"):
        open_still(clip, 2.0)
    Image.new("L", (8, 4), 7).save(tmp_path / "grey.png")
    with pytest.raises(ConfigError, match="no time"):
        open_still(tmp_path / "grey.png", 0.0)


# --- the sheet ----------------------------------------------------------------------------------


def test_the_sheet_shows_costs_in_the_colours_of_the_bar():
    """Of two black pictures: low costs are viridis's dark blue, high ones its yellow."""
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(64, 16)).astype(np.float32) for _ in range(2))
    b[:32] = a[:32]  # the upper half matches
    result = pma.compare(a, b, (8, 8), PmaConfig(tau=0.01))
    black = np.zeros((100, 200, 3), np.uint8)
    sheet = match_sheet(black, black, result, ("a", "b"), "heading")
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    # The map is the lowest 280 rows above a margin; its columns begin after the left margin.
    field = sheet[-14 - 280 : -14, 14 : 14 + 560].astype(int)
    upper, lower = field[20:60].mean(axis=(0, 1)), field[-60:-20].mean(axis=(0, 1))
    assert upper[2] > upper[0] and lower[0] > upper[0] + 40 and lower[1] > upper[1] + 40


def test_the_sheet_of_pictures_of_odd_shapes():
    """Tall beside wide, smaller than a location, and two that are the same."""
    a = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
    result = pma.compare(a, a, (8, 8))
    tall, wide = np.full((900, 30, 3), 90, np.uint8), np.full((3, 5, 3), 90, np.uint8)
    sheet = match_sheet(tall, wide, result, ("long name " * 30, "b"), "heading " * 40)
    assert sheet.shape[0] > 2 * 560
    flat = pma.compare(np.ones_like(a), np.ones_like(a), (8, 8))
    assert np.isfinite(match_sheet(wide, wide, flat, ("a", "b"), "")).all()


@pytest.mark.weights
def test_the_compact_encoder_finds_a_turned_picture_worse_than_the_same(weights_dir, tmp_path):
    """Real tokens, of the demo clip: the same picture, the next second, and upside down."""
    from moca_core import paths

    still = open_still(paths.resource("demo/demo.mp4"), 1.0)
    later = open_still(paths.resource("demo/demo.mp4"), 1.5)
    encoder = pma_features.load_encoder("compact", "cpu")
    a, b = (pma_features.features(encoder, x.rgb) for x in (still, later))
    assert a.shape == (256, 384)
    flipped = Still(still.path, np.ascontiguousarray(still.rgb[::-1]))
    same, near, far = (
        pma.compare(a, other, encoder.grid).distance
        for other in (a, b, pma_features.features(encoder, flipped.rgb))
    )
    assert same < near < far


class Hearing(MeanColours):
    """It hears how loud a sound is; what stands in for its adapter adds that to every token."""

    rate_hz, window_s = 16_000, 2.0

    def prefix(self, rgbs, first):
        self.entered = first
        return super().prefix(rgbs, self.stop)

    def hear(self, wave):
        return np.full((1, 1), np.abs(wave).mean(), np.float32)


class Louder:
    entry = 6

    def __init__(self) -> None:
        self.heard: list[float] = []

    def enhance(self, prefix, sound):
        self.heard.append(float(sound[0, 0]))
        return SimpleNamespace(tokens=torch.from_numpy(prefix[1:]) + sound[0, 0])


def test_with_an_adapter_both_pictures_hear_the_sound_of_the_first(pictures, tmp_path, monkeypatch):
    encoder, adapted = Hearing(), Louder()
    monkeypatch.setattr(pma_features, "load_encoder", lambda bundle, device: encoder)
    monkeypatch.setattr(pma_features, "load_adapted", lambda encoder, path: adapted)
    loud = make_clip(
        tmp_path / "loud.mp4", ClipSpec(frames=20, fps=10, audio="aac", audio_stop_ms=2000)
    )
    words = ["--out", str(tmp_path / "out.png"), "--adapter", str(tmp_path / "a.safetensors")]
    assert main(["match", str(loud), str(pictures[1]), *words, "--quiet"]) == DONE
    assert encoder.entered == adapted.entry
    assert len(adapted.heard) == 2
    assert adapted.heard[0] == adapted.heard[1] > 0.01


@pytest.mark.parametrize("kind", ["picture", "mute clip"])
def test_an_adapter_needs_a_sound(kind, pictures, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pma_features, "load_encoder", lambda bundle, device: Hearing())
    monkeypatch.setattr(pma_features, "load_adapted", lambda encoder, path: Louder())
    first = pictures[0] if kind == "picture" else clip
    words = ["--out", str(tmp_path / "out.png"), "--adapter", str(tmp_path / "a.safetensors")]
    assert main(["match", str(first), str(pictures[1]), *words, "--quiet"]) == FAILED
    told = capsys.readouterr().err
    assert first.name in told
    assert ("no sound" if kind == "picture" else "audio") in told


def test_an_adapter_that_is_none_is_told(pictures, tmp_path, monkeypatch, capsys):
    encoder = Hearing()
    encoder.bundle, encoder.trunk = "compact", None
    monkeypatch.setattr(pma_features, "load_encoder", lambda bundle, device: encoder)
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    words = ["--out", str(tmp_path / "out.png"), "--adapter", str(tmp_path / "a.safetensors")]
    assert main(["match", *map(str, pictures), *words, "--quiet"]) == FAILED
    assert "a.safetensors" in capsys.readouterr().err
