"""Sweeps: their files, their rows, what is shared and kept, and the tables."""

from __future__ import annotations

import ast
import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from core.ablate_fakes import TRAIN, Here, Looks, cases, fake_pipeline, sweep_file
from core.train_fakes import REPLACED

from moca_core.ablation import children, run, store, tables, tasks
from moca_core.ablation.run import (
    FailureEvent,
    RowEvent,
    RunningEvent,
    TablesEvent,
    ablate,
    threads_for,
    visible_cards,
)
from moca_core.ablation.shared import _UNSEEN, SharedEncoders, looked_with
from moca_core.ablation.store import RowStore
from moca_core.ablation.sweep import Sweep, find_sweep, load_sweep, shipped
from moca_core.ablation.tables import entries
from moca_core.ablation.tasks import Task, scoring_tasks, shard_of
from moca_core.bench.random_models import random_encoders
from moca_core.config import SegmentConfig
from moca_core.device import choose_device
from moca_core.errors import ConfigError, DatasetError, StorageError
from moca_core.evaluation.layouts import Case, DataSet
from moca_core.evaluation.runner import evaluate, run_case
from moca_core.models import compact, imagebind_bundle
from moca_core.models.adapter import Adapter, AdapterConfig
from moca_core.models.bundles import adapter_of
from moca_core.models.filelock import FileLock
from moca_core.models.imagebind_bundle import ImageBindBundle
from moca_core.models.registry import BUNDLE_NAMES
from moca_core.pipeline.segmenter import Segmenter
from moca_core.types import NoteEvent, ReportEvent, StageEvent

THRESHOLDS = """
seeds = [0, 1]
[axes]
match.hearing.empty_below = [0.25, 1.1]
"""
CLUSTERS = """
seeds = [0, 1, 2]
segment.regions = "kmeans"
[axes]
segment.clusters = [2, 4]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cases(tmp_path_factory.mktemp("data"))


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Looks:
    """All processes are this one, and all encoders this one."""
    fake = Looks()
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(run, "Children", Here)
    monkeypatch.setattr(run, "_LOOK_S", 0.0)
    for module, name, value in (*REPLACED, (tasks, "Segmenter", fake_pipeline(fake))):
        monkeypatch.setattr(module, name, value)
    return fake


def sweep_of(tmp_path: Path, text: str, data: Path, **settings: object) -> Sweep:
    sweep = sweep_file(tmp_path / "own.toml", text)
    return sweep.changed([("data.path", str(data)), *settings.items()])  # type: ignore[list-item]


def events_of(sweep: Sweep, folder: Path, **more: object):  # type: ignore[no-untyped-def]
    return list(ablate(sweep, folder, **more))  # type: ignore[arg-type]


def of_kind(events, kind):  # type: ignore[no-untyped-def]
    return [event for event in events if isinstance(event, kind)]


def table(folder: Path, name: str = "table.csv") -> list[dict[str, str]]:
    with (folder / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


# The file of a sweep


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_sweep_can_be_run(name: str, tmp_path: Path) -> None:
    sweep = load_sweep(find_sweep(name))
    assert sweep.title
    assert sweep.about
    assert len(sweep.seeds) >= 3
    assert len(sweep.rows) == len(sweep.seeds) * len(sweep.axes[0][1])
    assert len({row.folder for row in sweep.rows}) == len(sweep.rows)
    # What is kept of it is the same sweep.
    sweep.save(tmp_path / "kept.toml")
    assert load_sweep(tmp_path / "kept.toml") == sweep


def test_the_shipped_sweeps_are_those_of_the_method() -> None:
    """METHOD.md section 9, but for the front end of the sound: there is one for each bundle."""
    axes = {name: dict(load_sweep(path).axes) for name, path in shipped().items()}
    for name, setting, values in (
        ("n-adapters", "train.blocks", (2, 4, 6)),
        ("pma", "train.pma_mode", ("ssd", "ncc", "ssd+ncc")),
        ("neighbours", "train.neighbours", (3, 5, 7)),
        ("latents", "train.latents", (2, 4, 8, 16, 32)),
        ("window", "train.pma_window", (1, 3, 5)),
        ("audio-negatives", "train.audio_negatives", (True, False)),
        ("bundle", "bundle", BUNDLE_NAMES),
    ):
        assert axes[name] == {setting: values}
    for name in ("radius", "clusters", "mpm-threshold"):
        assert name in axes


def test_a_row_has_its_values_where_they_belong(tmp_path: Path) -> None:
    text = """
    bundle = "imagebind"
    device = "cpu"
    train.iterations = 7
    segment.proposals = "grid"
    match.region.background = 0
    [data]
    layout = "s4"
    [axes]
    train.blocks = [2, 3]
    match.least_fit = [0, 0.5]
    """
    rows = sweep_file(tmp_path / "a.toml", text).rows
    assert len(rows) == 2 * 2 * 3
    row = rows[4]  # the second value of the second axis, the second seed
    assert row.values == (("train.blocks", 2), ("match.least_fit", 0.5))
    assert row.train is not None
    assert (row.train.blocks, row.train.iterations, row.train.seed) == (2, 7, 1)
    assert (row.train.bundle, row.train.device) == ("imagebind", "cpu")
    assert (row.segment.bundle, row.segment.proposals, row.segment.seed) == ("imagebind", "grid", 1)
    # The bundle's own, and not those of the default one.
    assert (row.segment.regions, row.segment.sam) == ("kmeans", "vit_b")
    settings = row.settings()
    assert (settings.least_fit, settings.region.background, settings.region.seed) == (0.5, 0.0, 1)
    assert settings.region.relative is False
    assert (row.data.layout, row.device) == ("s4", "cpu")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no axis"),
        ("[axes]\ntrain.block = [1]", "'block' is not a setting"),
        ("[axes]\nblocks = [1]", "'blocks' is not a setting of a sweep"),
        ("[axes]\ntrain.blocks = [0, 1]", "blocks = 0"),
        ("[axes]\ntrain.blocks = []", "train.blocks = []"),
        ("[axes]\ntrain.blocks = [2, 2]", "each once"),
        ("[axes]\ntrain.blocks = 2", "in brackets"),
        ("[axes]\ntrain.blocks = ['two']", "blocks = 'two'"),
        ("[axes]\nsegment.clusters = [3, 99]", "clusters = 99"),
        ("[axes]\nmatch.least = [0.1]", "'least' is not a setting"),
        ("[axes]\ntrain.seed = [1]", "Name seeds"),
        ("[axes]\ntrain.bundle = ['compact']", "Set bundle, for both"),
        ("seeds = []\n[axes]\ntrain.blocks = [2]", "seeds = []"),
        ("seeds = [1, 1]\n[axes]\ntrain.blocks = [2]", "each once"),
        ("seeds = 3\n[axes]\ntrain.blocks = [2]", "seeds = 3"),
        ("seeds = [true]\n[axes]\ntrain.blocks = [2]", "seeds = [True]"),
        ("plot = 'miou'\n[axes]\ntrain.blocks = [2]", "'miou' is not a metric"),
        ("adapter = 'first'\n[axes]\ntrain.blocks = [2]", "'first' is not a choice of adapter"),
        ("segment.adapter = 'a'\n[axes]\ntrain.blocks = [2]", "evaluates what it trained"),
        ("data.layout = 'x'\n[axes]\ntrain.blocks = [2]", "'x' is not a layout"),
        ("[axes", "TOML"),
        ("a = " + "[" * 5000, "too many brackets"),
        (".".join("a" * 3000) + " = 1", "tables too deep"),
        ("seeds = [[1]]\n[axes]\ntrain.blocks = [2]", "seeds = [[1]]"),
        ("seeds = [4294967296]\n[axes]\ntrain.blocks = [2]", "from 0 to 4294967295"),
        ("[axes]\nsegment.clusters = [2020-01-01]", "segment.clusters = 2020-01-01"),
        ("[axes]\nsegment.clusters = [[[1]]]", "segment.clusters = [[1]]"),
        ("train.data = 12:00:00\n[axes]\ntrain.blocks = [2]", "train.data = 12:00:00"),
    ],
)
def test_what_cannot_work_is_said_before_anything_runs(
    text: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        sweep_file(tmp_path / "bad.toml", text)
    assert words in str(error.value)
    assert "bad.toml" in error.value.message
    assert error.value.hint


def test_a_sweep_with_any_letter_is_kept(tmp_path: Path) -> None:
    sweep = sweep_file(tmp_path / "a.toml", "[axes]\nsegment.clusters = [3]")
    odd = replace(sweep, title='"\x7f\x01\n\\😀"')
    odd.save(tmp_path / "kept.toml")
    assert load_sweep(tmp_path / "kept.toml") == replace(odd, name="a")


def test_a_path_that_toml_cannot_hold_is_said(tmp_path: Path) -> None:
    sweep = sweep_file(tmp_path / "a.toml", "[axes]\nsegment.clusters = [3]")
    with pytest.raises(ConfigError, match=r'^data.path = "/\\udcff": isn\'t UTF-8'):
        sweep.changed([("data.path", "/\udcff")]).save(tmp_path / "kept.toml")
    assert not (tmp_path / "kept.toml").exists()


def test_an_unknown_sweep_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no such sweep") as error:
        find_sweep("adapters")
    assert "n-adapters" in error.value.hint


def test_settings_are_laid_over_a_sweep(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    sweep = sweep_file(tmp_path / "a.toml", CLUSTERS)
    changed = sweep.changed([("data.path", data.name), ("segment.clusters", (3, 5, 8))], (4,))
    assert changed.rows[0].data.path == str(data)  # from any folder
    assert [row.segment.clusters for row in changed.rows] == [3, 5, 8]
    assert {row.seed for row in changed.rows} == {4}
    with pytest.raises(ConfigError, match="it is an axis"):
        sweep.changed([("segment.clusters", 3)])


# What is shared


@pytest.mark.parametrize(
    ("name", "module"), [("compact", compact), ("imagebind", imagebind_bundle)]
)
def test_a_bundle_reads_no_setting_that_is_taken_for_unseen(name: str, module: ModuleType) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text())
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    read = {node.attr for node in attributes if ast.unparse(node.value) == "config"}
    assert read >= {"proposals", "image_side"}
    assert read.isdisjoint(_UNSEEN[name])
    own = SegmentConfig(bundle=name)
    assert looked_with(replace(own, proposals="grid")) != looked_with(own)
    assert looked_with(replace(own, image_side=448)) != looked_with(own)


def test_imagebind_asks_sam_at_its_clusters() -> None:
    own = SegmentConfig(bundle="imagebind")
    assert looked_with(replace(own, clusters=9)) != looked_with(own)
    assert looked_with(replace(own, seed=1)) != looked_with(own)
    assert looked_with(replace(own, regions="paint")) == looked_with(own)


def test_shared_encoders_look_once_at_a_picture_and_again_where_they_must() -> None:
    bundle = Looks()
    shared = SharedEncoders(bundle)
    picture, other = np.zeros((32, 32, 3), np.uint8), np.ones((32, 32, 3), np.uint8)

    def look(rgb: np.ndarray, **values: object) -> object:
        config = SegmentConfig(**values)  # type: ignore[arg-type]
        return Segmenter(config, "cpu", bundle=shared.view(config)).analysed(rgb)

    first = look(picture)
    assert look(picture, clusters=3, seed=4) is first
    assert look(picture.copy()) is first  # the same picture, read again
    assert bundle.looks == 1
    assert look(picture, proposals="grid") is not first
    assert look(other) is not first
    assert bundle.looks == 3


def test_cases_with_one_picture_stay_together() -> None:
    made = [Case(f"c{n}", "s", "", Path(), Path(), Path(), group=f"g{n % 3}") for n in range(7)]
    parts = [shard_of(DataSet(tuple(made)), shard, 2) for shard in range(2)]
    assert [[case.id for case in part] for part in parts] == [
        ["c0", "c3", "c6", "c2", "c5"],
        ["c1", "c4"],
    ]


def test_rows_with_the_same_encoders_are_one_task_for_each_process(tmp_path: Path) -> None:
    text = "[axes]\nbundle = ['compact', 'imagebind']\nmatch.least_fit = [0.1, 0.2]"
    sweep = sweep_file(tmp_path / "a.toml", text)
    every = [row.number for row in sweep.rows]
    first, second = tuple(range(6)), tuple(range(6, 12))
    assert scoring_tasks(sweep, every, 1) == [Task(first), Task(second)]
    assert scoring_tasks(sweep, every, 3) == [
        Task(numbers, shard=shard, shards=2) for numbers in (first, second) for shard in (0, 1)
    ]


def test_views_with_adapters_are_as_bundles_of_their_own(tmp_path: Path) -> None:
    """Two adapters of the same blocks, one of others, and none, on one look for each kind."""
    torch.manual_seed(3)
    encoders = random_encoders(choose_device("cpu"), tiny=True)
    bundle = ImageBindBundle(choose_device("cpu"))
    bundle.use(encoders.imagebind, encoders.dino, encoders.sam)
    configs = [SegmentConfig("imagebind", proposals="none")]
    for number, blocks in enumerate(((1, 2), (1, 2), (2,))):
        adapter = Adapter(AdapterConfig("imagebind", 64, 48, blocks, reduction=4, latents=3))
        with torch.no_grad():
            for part in adapter.parts.values():
                part.gate.fill_(1.0)
        adapter.save(tmp_path / f"{number}.safetensors")
        configs.append(replace(configs[0], adapter=str(tmp_path / f"{number}.safetensors")))
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    wave = random.normal(0, 0.1, 32_000).astype(np.float32)
    own = []
    for config in configs:
        path = adapter_of(config)
        bundle.adapt(None if path is None else Adapter.load(path))
        own.append(Segmenter(config, "cpu", bundle=bundle).predict(picture, wave).soft)
    looks: list[SegmentConfig] = []
    look = bundle.look
    bundle.look = lambda rgbs, config: looks.append(config) or look(rgbs, config)  # type: ignore
    shared = SharedEncoders(bundle)
    for config, expected in zip(configs, own, strict=True):
        segmenter = Segmenter(config, "cpu", bundle=shared.view(config))
        np.testing.assert_array_equal(segmenter.predict(picture, wave).soft, expected)
    assert len(looks) == 3
    # They do differ.
    assert len({soft.tobytes() for soft in own}) == 4


@pytest.mark.parametrize(
    ("jobs", "own", "expected"),
    [(1, "", (1, 6)), (2, "", (2, 3)), (4, "", (4, 1)), (9, "", (6, 1)), (2, "1", (2, 1))],
)
def test_processes_share_the_cores(
    jobs: int, own: str, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_cores", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", own)
    assert threads_for(jobs) == expected


def test_processes_take_the_gpus_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, sys; open(sys.argv[-1], 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])"
    monkeypatch.setattr(children, "WORKER", (sys.executable, "-S", "-c", code))
    with children.Children(tmp_path, tmp_path, 1, ("4", "7")) as started:
        for number in range(3):
            started.start(Task((number,)))
        while len(started):
            list(started.poll())
    written = [(tmp_path / f"scoring-{number:03d}-0.jsonl").read_text() for number in range(3)]
    assert sorted(written) == ["4", "4", "7"]


@pytest.mark.parametrize(
    ("count", "named", "cards"), [(0, "", ()), (2, "", ("0", "1")), (2, "3,5", ("3", "5"))]
)
def test_the_gpus_are_those_that_the_user_left_visible(
    count: int, named: str, cards: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_cards() == cards


# A sweep that trains nothing


def test_every_picture_is_looked_at_once_for_all_rows(
    bundle: Looks, data: Path, tmp_path: Path
) -> None:
    sweep = sweep_of(tmp_path, CLUSTERS, data)
    events = events_of(sweep, tmp_path / "out")
    assert bundle.looks == 6
    assert [event.done for event in of_kind(events, RowEvent)] == [1, 2, 3, 4, 5, 6]
    end = events[-1]
    assert isinstance(end, TablesEvent)
    assert (end.done, end.total) == (6, 6)
    assert not (tmp_path / "out" / "work").exists()


def test_processes_that_share_the_cases_count_them_together(
    bundle: Looks, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_cores", lambda: 4)
    events = events_of(sweep_of(tmp_path, THRESHOLDS, data), tmp_path / "out", jobs=4)
    told = [event for event in of_kind(events, RunningEvent) if event.stage == tasks.SCORING]
    assert [event.done for event in told] == [1, 2, 3, 4, 5, 6]
    assert (told[-1].total, told[-1].label) == (6, "4 rows")
    assert len(of_kind(events, RowEvent)) == 4


def test_a_row_scores_as_evaluate_does(bundle: Looks, data: Path, tmp_path: Path) -> None:
    """Sharing what is seen changes no number."""
    sweep = sweep_of(tmp_path, CLUSTERS, data)
    events = events_of(sweep, tmp_path / "out", jobs=2)
    for event in of_kind(events, RowEvent):
        row = event.row
        alone = Segmenter(row.segment, "cpu", row.settings(), Looks())
        report = of_kind(evaluate(row.data.read(), alone.predict), ReportEvent)[0].report
        for name in set(report) - {"seconds", "config"}:
            assert event.report[name] == report[name], name


def test_a_row_keeps_what_it_was_made_with(bundle: Looks, data: Path, tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, THRESHOLDS, data)
    events_of(sweep, tmp_path / "out")
    folder = tmp_path / "out" / "rows" / "003-match.hearing.empty_below=1.1-seed=1"
    report = json.loads((folder / "report.json").read_text())
    config = report["config"]
    assert (config["seed"], config["values"]) == (1, {"match.hearing.empty_below": 1.1})
    assert config["thresholds"]["hearing"]["empty_below"] == 1.1
    assert (config["segment"]["seed"], config["data"]["path"]) == (1, str(data))
    assert config["versions"]["moca"]
    assert config["train"] is None
    assert report["per_subset"].keys() == {"single", "ms_both"}
    assert (report["n"], report["share_empty"], report["m_j"]) == (6, 1.0, 0.0)


def test_the_table_has_mean_and_deviation_of_hand_made_rows(tmp_path: Path) -> None:
    sweep = sweep_file(tmp_path / "a.toml", THRESHOLDS)
    subset = {"n": 2, "m_j": 0.5, "f_binary": None}
    reports = [
        {"n": 3, "m_j": score, "f_binary": None, "per_subset": {"single": subset}}
        for score in (0.2, 0.6, 0.9)
    ]
    made = entries(sweep, list(zip(sweep.rows, reports, strict=False)))
    found = {(entry.values, entry.subset): entry for entry in made}
    whole = found[("0.25",), "all"]
    assert (whole.cases, whole.seeds) == (3, 2)
    assert whole.metrics["m_j"].mean == pytest.approx(0.4)
    # sqrt(((0.2 - 0.4)^2 + (0.6 - 0.4)^2) / (2 - 1))
    assert whole.metrics["m_j"].deviation == pytest.approx(0.08**0.5)
    assert "f_binary" not in whole.metrics
    assert found[("0.25",), "single"].metrics["m_j"].deviation == 0.0
    alone = found[("1.1",), "all"].metrics["m_j"]
    assert (alone.mean, alone.deviation, alone.count) == (0.9, None, 1)


def test_table_and_plot_tell_what_there_is(bundle: Looks, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    events_of(sweep_of(tmp_path, THRESHOLDS, data), out)
    lines = {(row["match.hearing.empty_below"], row["subset"]): row for row in table(out)}
    assert len(lines) == 2 * 3
    assert (lines["0.25", "single"]["cases"], lines["0.25", "all"]["seeds"]) == ("4", "2")
    assert float(lines["0.25", "all"]["m_j"]) > 0.9
    assert float(lines["1.1", "all"]["m_j"]) == 0.0
    rows = table(out, "rows.csv")
    assert [row["seed"] for row in rows if row["subset"] == "all"] == ["0", "1", "0", "1"]
    text = (out / "table.md").read_text()
    assert "| 1.1 | 2 | 0.000 ± 0.000 | 0.000 ± 0.000 | 0.000 ± 0.000 |" in text
    assert "The seed changes nothing here" in text
    assert "missing" not in text
    drawing = ElementTree.parse(out / "plot.svg")
    words = {item.text for item in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"own", "single", "ms_both", "all", "0.25", "1.1", "m_j"} <= words


def test_two_axes_make_a_line_for_each_point_of_the_second(
    bundle: Looks, data: Path, tmp_path: Path
) -> None:
    text = "seeds=[0]\n[axes]\nsegment.regions=['paint', 'kmeans']\nsegment.clusters=[2, 3]"
    events_of(sweep_of(tmp_path, text, data), tmp_path / "out")
    drawing = ElementTree.parse(tmp_path / "out" / "plot.svg")
    words = {item.text for item in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"segment.clusters 2", "segment.clusters 3", "paint", "kmeans"} <= words


# Going on


def test_done_rows_stay_and_nothing_is_looked_at_again(
    bundle: Looks, data: Path, tmp_path: Path
) -> None:
    sweep, out = sweep_of(tmp_path, THRESHOLDS, data), tmp_path / "out"
    events_of(sweep, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    events = events_of(sweep, out)
    assert bundle.looks == 6
    assert all(event.kept for event in of_kind(events, RowEvent))
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_cases_that_were_scored_are_not_scored_again(
    bundle: Looks, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, out = sweep_of(tmp_path, CLUSTERS, data), tmp_path / "out"
    events_of(sweep, out)
    whole = (out / "table.csv").read_text()
    # As after a kill: two rows have no report, one of them half of its records, the last cut short.
    for number, count in ((0, 6), (5, 3)):
        folder = RowStore(out, sweep.rows[number]).folder
        (folder / "report.json").unlink()
        lines = (folder / "records.jsonl").read_text().splitlines(keepends=True)
        (folder / "records.jsonl").unlink()
        cut = lines[count][:40] if count < len(lines) else ""
        (folder / "records-0.jsonl").write_text("".join(lines[:count]) + cut)
    scored: list[str] = []

    def counted(loaded, predict):  # type: ignore[no-untyped-def]
        scored.append(loaded.case.id)
        return run_case(loaded, predict)

    monkeypatch.setattr(tasks, "run_case", counted)
    bundle.looks = 0
    events_of(sweep, out)
    assert (bundle.looks, scored) == (3, ["case3", "case4", "case5"])
    assert (out / "table.csv").read_text() == whole


def test_another_sweep_is_refused(bundle: Looks, data: Path, tmp_path: Path) -> None:
    sweep, out = sweep_of(tmp_path, THRESHOLDS, data), tmp_path / "out"
    events_of(sweep, out)
    with pytest.raises(ConfigError, match="another sweep is there") as error:
        events_of(sweep.changed([("data.limit", 3)]), out)
    assert "data.limit" in error.value.message
    assert "Choose another folder" in error.value.hint
    # Words and plot aren't another sweep.
    events = events_of(replace(sweep, title="New", plot="f_binary"), out)
    assert "# New" in (out / "table.md").read_text()
    assert len(of_kind(events, RowEvent)) == 4


def test_before_anything_was_scored_settings_may_be_put_right(
    bundle: Looks, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(DatasetError):
        events_of(sweep_of(tmp_path, THRESHOLDS, data).changed([("data.split", "no")]), out)
    events_of(sweep_of(tmp_path, CLUSTERS, data), out, stop=lambda: True)
    (out / "rows" / "000-old").mkdir(parents=True)
    events_of(sweep_of(tmp_path, THRESHOLDS, data), out)
    assert len(list((out / "rows").iterdir())) == 4


def test_one_sweep_at_a_time_in_a_folder(bundle: Looks, data: Path, tmp_path: Path) -> None:
    sweep, out = sweep_of(tmp_path, THRESHOLDS, data), tmp_path / "out"
    with store.occupied(out), pytest.raises(StorageError, match="a sweep is going on there"):
        events_of(sweep, out)


def test_it_waits_for_processes_whose_sweep_was_killed(
    bundle: Looks, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "work").mkdir(parents=True)
    events = ablate(sweep_of(tmp_path, THRESHOLDS, data), out)
    with FileLock(out / "work" / "000-0.lock") as left:
        assert left.acquire()
        waiting = [event for event, _ in zip(events, range(4), strict=False)][-2:]
        assert {event.stage for event in of_kind(waiting, StageEvent)} == {
            "Waiting for processes of a run that was killed"
        }
        assert bundle.looks == 0
    assert len(of_kind(list(events), RowEvent)) == 4


def test_stopped_before_it_began_it_writes_the_tables_of_what_is_there(
    bundle: Looks, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    events = events_of(sweep_of(tmp_path, THRESHOLDS, data), out, stop=lambda: True)
    assert (events[-1].done, bundle.looks) == (0, 0)
    assert "**4 of 4 rows are missing.**" in (out / "table.md").read_text()


# What goes wrong


def test_a_case_that_cannot_be_read_is_told_once_and_left_out(
    bundle: Looks, data: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    cases(broken)
    (broken / "2.wav").write_bytes(b"noise")
    events = events_of(sweep_of(tmp_path, THRESHOLDS, broken), tmp_path / "out")
    notes = [event.message for event in of_kind(events, NoteEvent)]
    assert len([note for note in notes if "case2 is left out" in note]) == 1
    for event in of_kind(events, RowEvent):
        assert (event.report["n"], event.report["failed"]) == (5, ["case2"])


def test_rows_without_a_case_fail(bundle: Looks, data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    cases(broken)
    for path in broken.glob("*.wav"):
        path.unlink()
    events = events_of(sweep_of(tmp_path, THRESHOLDS, broken), tmp_path / "out")
    failures = of_kind(events, FailureEvent)
    assert {event.error.message for event in failures} == {"none of 6 cases could be read"}
    assert events[-1].done == 0


def test_a_data_set_that_is_not_there_shows_before_anything_runs(
    bundle: Looks, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        events_of(sweep_of(tmp_path, THRESHOLDS, tmp_path / "none"), tmp_path / "out")


# A sweep that trains

TRAINING = """
seeds = [0, 1]
segment.regions = "kmeans"
[axes]
train.blocks = [1, 2]
"""


def test_a_training_row_is_trained_and_scored_with_its_adapter(
    bundle: Looks, data: Path, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        sweep = sweep_of(tmp_path, TRAINING, data).changed([*TRAIN, ("device", "cpu")])
        events = events_of(sweep, tmp_path / "out")
    finally:
        torch.set_num_threads(threads)
    assert [event.error.message for event in of_kind(events, FailureEvent)] == []
    for event in of_kind(events, RowEvent):
        folder = RowStore(tmp_path / "out", event.row).folder
        config = event.report["config"]
        assert config["segment"]["adapter"] == str(folder / "train" / "adapter.safetensors")
        assert config["train"]["blocks"] == dict(event.row.values)["train.blocks"]
        assert config["train"]["seed"] == event.row.seed
        assert (folder / "train" / "metrics.csv").exists()
    assert len(of_kind(events, RowEvent)) == 4
    assert len(table(tmp_path / "out", "rows.csv")) == 4 * 3
    # One look for each block at which adapters begin, not for each adapter.
    assert bundle.looks == 2 * 6
    told = of_kind(events, RunningEvent)
    assert max(event.trained for event in told if event.stage == tasks.TRAINING) == 3
    assert {event.of for event in told if event.stage == tasks.SCORING} == {0}


def test_a_row_that_fails_to_train_is_told_and_the_others_are_scored(
    bundle: Looks, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = tasks.run.fit

    def failing(config, folder, **more):  # type: ignore[no-untyped-def]
        if (config.blocks, config.seed) == (2, 1):
            raise ConfigError("no", "yes")
        return fit(config, folder, **more)

    monkeypatch.setattr(tasks.run, "fit", failing)
    sweep = sweep_of(tmp_path, TRAINING, data).changed([*TRAIN, ("device", "cpu")])
    events = events_of(sweep, tmp_path / "out")
    (failure,) = of_kind(events, FailureEvent)
    assert [row.label for row in failure.rows] == ["train.blocks=2, seed=1"]
    assert [event.row.number for event in of_kind(events, RowEvent)] == [0, 1, 2]
    assert "**1 of 4 rows are missing.**" in (tmp_path / "out" / "table.md").read_text()
    # Again: the one that is missing is trained, and no other.
    monkeypatch.setattr(tasks.run, "fit", fit)
    again = events_of(sweep, tmp_path / "out")
    assert {event.label for event in of_kind(again, RunningEvent)} == {"train.blocks=2, seed=1"}
    assert again[-1].done == 4


def test_the_best_adapter_is_scored_if_it_is_asked_for(tmp_path: Path) -> None:
    sweep = sweep_file(tmp_path / "a.toml", 'adapter = "best"\n' + TRAINING)
    store_of = RowStore(tmp_path, sweep.rows[0])

    def scored(of: Sweep) -> str:
        return Path(tasks._with_adapter(of, of.rows[0], store_of).segment.adapter).name

    assert scored(sweep) == "adapter.safetensors"  # nothing was held out
    store_of.run.mkdir(parents=True)
    (store_of.run / "best.safetensors").touch()
    assert scored(sweep) == "best.safetensors"
    assert scored(replace(sweep, adapter="last")) == "adapter.safetensors"


def test_a_table_says_where_the_best_adapter_could_not_be_told(tmp_path: Path) -> None:
    sweep = sweep_file(tmp_path / "a.toml", 'adapter = "best"\n' + TRAINING)
    told = "In 1 of 4 rows nothing was held out"

    def text(name: str, of: Sweep = sweep) -> str:
        report = {"config": {"segment": {"adapter": name}}, "per_subset": {}}
        return tables.markdown(of, [], [(of.rows[0], report)])

    assert told in text("run/adapter.safetensors")
    assert "held out" not in text("run/best.safetensors")
    assert "held out" not in text("run/adapter.safetensors", replace(sweep, adapter="last"))
