"""What `summary.json` says of the weights with which a run was made."""

from __future__ import annotations

import pytest
from core.cli_fakes import LeftHalf, fake_segmenter, read_json
from core.weights_fakes import make_row, sha256
from data.make_clips import ClipSpec, make_clip

from moca_core.cli import DONE, main
from moca_core.commands import method
from moca_core.models import importing, specs, structure


@pytest.fixture
def summary(cache, tmp_path, monkeypatch):
    """Segment a clip of one second with a fake bundle; returns its summary."""
    monkeypatch.setattr(method, "load_segmenter", fake_segmenter(LeftHalf()))
    clip = make_clip(tmp_path / "bell.mp4", ClipSpec(frames=10, fps=10, audio="aac"))

    def run():
        assert main(["segment", str(clip), "--out", str(tmp_path), "--quiet"]) == DONE
        return read_json(tmp_path / "bell" / "summary.json")

    return run


def test_files_and_stand_ins_are_named_with_their_hashes(summary, cache, tmp_path, monkeypatch):
    official = b"official"
    rows = (
        make_row(name="a.pth", size=8, sha=sha256(official)),
        make_row(name="b.pth"),
        make_row(name="absent.pth"),
        make_row(name="optional.pth", optional=True),
    )
    monkeypatch.setattr(specs, "ROWS", rows)
    monkeypatch.setattr(structure, "check", lambda name, path: None)
    cache.mkdir(parents=True)
    (cache / "a.pth").write_bytes(official)
    (tmp_path / "mine").write_bytes(b"mine")
    importing.import_file(tmp_path / "mine", "b.pth")
    (cache / "optional.pth").write_bytes(b"x")
    found = summary()
    assert found["weights"] == {"a.pth": sha256(official), "b.pth": sha256(b"mine")}
    assert found["weights_not_official"] == ["b.pth"]
