"""`moca pairs`: its table, its sheet, what it leaves out, its exit codes."""

from __future__ import annotations

import signal

import cv2
import numpy as np
import pytest
from core.avsbench_fakes import write_wav
from core.item_fakes import clip, colours, read_csv, silence

from moca_core.cli import DONE, FAILED, STOPPED, USAGE, main
from moca_core.commands import pairs as command
from moca_core.training.layouts import LAYOUTS, open_items
from moca_core.training.pair_sheet import _name
from moca_core.training.pairs import PairTable


class Colours:
    """A retriever by mean colour.

    Attributes
    ----------
    seen : pictures so far.
    stop_at : Ctrl-C is pressed when so many were seen.
    """

    def __init__(self):
        self.seen = 0
        self.stop_at = None

    def __call__(self, rgbs):
        for _ in rgbs:
            self.seen += 1
            if self.seen == self.stop_at:
                signal.raise_signal(signal.SIGINT)
        means = np.stack([rgb.reshape(-1, 3).mean(axis=0) + 1 for rgb in rgbs])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def retriever(monkeypatch, tmp_path):
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    fake = Colours()
    monkeypatch.setattr(command, "load_retriever", lambda bundle, device: fake)
    return fake


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return colours(folder)


def run(data, tmp_path, *words):
    return main(["pairs", str(data), "--out", str(tmp_path / "out" / "pairs.npz"), *words])


def test_the_table_is_written_and_described(data, retriever, tmp_path, capsys):
    assert run(data, tmp_path, "--k", "2") == DONE
    table = PairTable.load(tmp_path / "out" / "pairs.npz")
    assert len(table) == 6
    config = table.config
    assert (config.k, config.layout, config.bundle) == (2, "pairs", "compact")
    assert table.near(0)[0][0] == 1
    out, err = capsys.readouterr()
    assert out.startswith("6 items, 6 pictures of 6 recordings, 2 neighbours -> ")
    assert "Looking at pictures" in err


def test_the_sheet_shows_the_pictures_in_their_rows(data, retriever, tmp_path, capsys):
    sheet = tmp_path / "new" / "sheet.png"
    assert run(data, tmp_path, "--k", "2", "--sheet", str(sheet), "--quiet") == DONE
    assert capsys.readouterr() == ("", "")
    picture = cv2.cvtColor(cv2.imread(str(sheet)), cv2.COLOR_BGR2RGB).astype(int)
    # The first row: a red anchor, a red neighbour, another colour, and three that aren't red.
    row = picture[100]
    starts = [98, 98 + 188 + 28, 98 + 2 * 188 + 28]
    assert [int(row[x].argmax()) for x in starts[:2]] == [0, 0]
    assert abs(row[starts[0]] - (250, 20, 20)).max() < 12
    assert abs(row[starts[1]] - (240, 60, 30)).max() < 12
    negatives = [starts[2] + 28 + 188 * number for number in (1, 2, 3)]
    assert all(row[x].argmax() != 0 and row[x].max() > 200 for x in negatives)
    # Words stand below the pictures.
    assert picture[176:210, 8:190].max() > 200


def test_what_can_not_be_used_is_listed_and_left_out(data, retriever, tmp_path, capsys):
    write_wav(data / "0.wav", silence())
    (data / "3.png").unlink()
    report = tmp_path / "new" / "left_out.csv"
    assert run(data, tmp_path, "--report", str(report)) == DONE
    out = capsys.readouterr().out
    assert "mute          item0  silence" in out
    assert "4 of 6 items can be used: 1 missing, 1 mute" in out
    assert [(row["key"], row["problem"]) for row in read_csv(report)] == [
        ("item0", "mute"),
        ("item3", "missing"),
    ]
    keys = list(PairTable.load(tmp_path / "out" / "pairs.npz").keys)
    assert keys == ["item1", "item2", "item4", "item5"]


def test_ctrl_c_keeps_the_features_and_writes_no_table(
    data, retriever, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("moca_core.training.retrieval.retrieval_features.__defaults__", (None, 2))
    retriever.stop_at = 4
    assert run(data, tmp_path) == STOPPED
    assert "What was found out is kept" in capsys.readouterr().err
    assert not (tmp_path / "out" / "pairs.npz").exists()
    assert retriever.seen == 4
    assert run(data, tmp_path) == DONE
    assert retriever.seen == 6


def test_clips_in_a_folder(retriever, tmp_path):
    for number in range(3):
        clip(tmp_path / "data" / "deep" / f"{number}.mp4", 2.0 + number)
    assert run(tmp_path / "data", tmp_path, "--every", "0.5", "--limit", "12", "--quiet") == DONE
    table = PairTable.load(tmp_path / "out" / "pairs.npz")
    assert (len(table), len(set(table.recordings.tolist()))) == (12, 3)
    assert (table.config.every_s, table.config.limit) == (0.5, 12)
    for place in range(12):
        near = table.near(place)[0]
        assert (table.recordings[near] != table.recordings[place]).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "holds no clip"),
        (lambda folder: clip(folder / "a.mp4"), "are of one recording"),
        (
            lambda folder: [clip(folder / f"{n}.mp4", 1.0 + n, None) for n in range(2)],
            "none of 3 items can be used (3 mute)",
        ),
        (lambda folder: (folder / "manifest.csv").write_text("id\n1\n"), "columns missing"),
    ],
    ids=["empty", "one clip", "mute", "manifest"],
)
def test_bad_data_are_told_with_a_remedy(make, words, retriever, tmp_path, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder)
    assert run(folder, tmp_path, "--quiet") == FAILED
    lines = capsys.readouterr().err.splitlines()
    assert words in lines[0]
    assert lines[1].startswith("  ")
    assert retriever.seen == 0
    assert not (tmp_path / "out" / "pairs.npz").exists()


@pytest.mark.parametrize("words", [("--k", "0"), ("--every", "nan"), ("--layout", "s4"), ("x",)])
def test_wrong_usage(words, data, tmp_path):
    assert run(data, tmp_path, *words) == USAGE


def test_too_many_neighbours_are_refused_before_the_work(data, retriever, tmp_path, capsys):
    assert run(data, tmp_path, "--k", "101", "--quiet") == FAILED
    assert "k = 101" in capsys.readouterr().err
    assert retriever.seen == 0


def test_missing_weights_are_told_before_the_check(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "empty"))
    assert run(data, tmp_path) == FAILED
    err = capsys.readouterr().err
    assert "moca weights get compact" in err
    assert "Decoding" not in err


def test_the_command_names_the_layouts_that_there_are():
    assert tuple(LAYOUTS) == command.LAYOUT_NAMES


def test_the_sheet_of_clips_names_the_clip_and_the_moment(retriever, tmp_path):
    for number in range(3):
        clip(tmp_path / "data" / f"{number}.mp4", 2.0 + 0.2 * number)  # no copies
    items = open_items(tmp_path / "data")
    assert _name(items[1]) == "0.mp4"
    sheet = tmp_path / "sheet.png"
    assert run(tmp_path / "data", tmp_path, "--sheet", str(sheet), "--quiet") == DONE
    # Six anchors in rows; of the four pictures of other clips two are near.
    assert cv2.imread(str(sheet)).shape[0] == 2 * 18 + 8 + 6 * (128 + 3 * 18 + 8) + 8
