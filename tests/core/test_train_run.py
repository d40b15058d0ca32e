"""A whole run on small clips: what it writes, how it is stopped and repeated, and bad input."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from core.item_fakes import clip, colours, manifest
from core.train_fakes import REPLACED, clips, config

from moca_core.errors import ConfigError, DatasetError, MocaError, StorageError, WeightsError
from moca_core.models.adapter import Adapter, AdapterConfig
from moca_core.training import checkpoint, run
from moca_core.training.config import TrainConfig
from moca_core.training.events import SavedEvent, StepEvent, TrainEvent, ValidationEvent
from moca_core.training.learner import Learner
from moca_core.training.log import RunLog
from moca_core.training.pairs import PairTable
from moca_core.training.run import fit, resume_config
from moca_core.training.trainer import TrainingError
from moca_core.types import NoteEvent, StageEvent


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The small encoders, a cache of its own, and sums in one order."""
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    for module, name, value in REPLACED:
        monkeypatch.setattr(module, name, value)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrainEvent]]:
    """The folder and the events of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOCA_CACHE_DIR", str(folder / "cache"))
        for module, name, value in REPLACED:
            patch.setattr(module, name, value)
        torch.set_num_threads(1)
        events = list(fit(config(data), folder / "run"))
    return folder / "run", events


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def lines(folder: Path) -> list[dict[str, object]]:
    found = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "path"} for line in found]


def open_files() -> set[str]:
    """What this process has open."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own
            found.add(str(link.readlink()))
    return found


def test_the_folder_has_all_that_a_run_is(whole: tuple[Path, list[TrainEvent]], data: Path) -> None:
    folder, events = whole
    names = {path.name for path in folder.iterdir()} - {run._LOCK}
    assert names == {
        *("config.toml", "check.csv", "pairs-training.npz", "pairs-validation.npz"),
        *("metrics.csv", "events.jsonl", "last.pt", "best.safetensors", "adapter.safetensors"),
    }
    assert resume_config(folder) == config(data)
    assert (folder / "check.csv").read_text().count("\n") == 1  # nothing is left out
    table = PairTable.load(folder / "pairs-training.npz")
    held = PairTable.load(folder / "pairs-validation.npz")
    recordings = [{key.split("@")[0] for key in part.keys} for part in (table, held)]
    assert recordings[0].isdisjoint(recordings[1])
    steps = [event for event in events if isinstance(event, StepEvent)]
    assert [int(row["step"]) for row in rows(folder)] == [1, 2, 3, 4, 5, 6]
    assert [float(row["loss"]) for row in rows(folder)] == [event.loss for event in steps]
    assert {"triplet", "audio", "near", "heard", "lr", "gradient"} <= rows(folder)[0].keys()
    told = [line["step"] for line in lines(folder) if line["event"] == "validation"]
    assert told == [2, 4, 6]
    assert events[-1] == SavedEvent(6, folder / "adapter.safetensors")


def test_the_adapter_names_its_data_and_settings_but_no_place(
    whole: tuple[Path, list[TrainEvent]], data: Path
) -> None:
    folder, events = whole
    adapter = Adapter.load(folder / "adapter.safetensors", "compact")
    info = adapter.info
    assert info["data"] == {"name": data.name, "layout": "clips", "items": 10}
    assert (info["training"]["iterations"], info["training"]["data"]) == (6, data.name)
    assert str(data.parent) not in json.dumps(info)
    validations = [event for event in events if isinstance(event, ValidationEvent)]
    assert (info["step"], info["validation"]) == (6, validations[-1].scores)
    best = Adapter.load(folder / "best.safetensors").info
    last_best = [event for event in validations if event.best][-1]
    assert (best["step"], best["validation"]) == (last_best.step, last_best.scores)
    assert any(part.gate.item() != 0 for part in adapter.parts.values())


def labels(events: list[TrainEvent]) -> list[str]:
    """A name for each event that tells what was being done."""
    return [
        event.stage if isinstance(event, StageEvent) else f"{type(event).__name__}"
        for event in events
    ]


def test_a_run_that_was_stopped_anywhere_equals_one_that_was_not(
    whole: tuple[Path, list[TrainEvent]], data: Path, tmp_path: Path
) -> None:
    """At the first event of every kind, and at each one of iterations and what follows them."""
    folder, events = whole
    names = labels(events)
    training = names.index("StepEvent")
    cuts = sorted({names.index(name) for name in names} | set(range(training, len(names), 5)))
    assert {"Loading the encoders", "Decoding", "Features of the frozen blocks"} <= set(names)
    assert {"Looking at pictures", "Validating", "SavedEvent", "NoteEvent"} <= set(names)
    for cut in cuts:
        if cut < training:
            shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        place = tmp_path / str(cut)
        before = open_files()
        job = fit(config(data), place)
        if cut < training:
            assert labels([next(job) for _ in range(cut + 1)]) == names[: cut + 1]
        else:
            next(event for event in job if isinstance(event, StepEvent))
            after = labels([next(job) for _ in range(cut - training)])
            assert after == names[training + 1 : cut + 1]
        job.close()
        assert open_files() <= before, names[cut]
        list(fit(config(data), place))
        for name in ("adapter.safetensors", "best.safetensors", "metrics.csv"):
            assert (place / name).read_bytes() == (folder / name).read_bytes(), (names[cut], name)
        assert lines(place) == lines(folder), names[cut]


@pytest.mark.parametrize("at", [1, 2, 3, 6], ids=str)
def test_a_run_that_is_asked_to_stop_saves_and_equals_one_that_was_not(
    whole: tuple[Path, list[TrainEvent]], data: Path, tmp_path: Path, at: int
) -> None:
    """After an iteration; where a validation is due there, it is made up for."""
    folder, _ = whole
    seen: list[StepEvent] = []

    def stop() -> bool:
        return len(seen) == at

    events = fit(config(data), tmp_path / "run", stop=stop)
    seen.extend(event for event in events if isinstance(event, StepEvent))
    assert Adapter.load(tmp_path / "run" / "adapter.safetensors").info["step"] == at
    assert len(rows(tmp_path / "run")) == at
    list(fit(config(data), tmp_path / "run"))
    for name in ("adapter.safetensors", "best.safetensors", "metrics.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_stop_within_a_validation_is_heard(data: Path, tmp_path: Path) -> None:
    seen: list[TrainEvent] = []

    def stop() -> bool:
        return bool(seen) and isinstance(seen[-1], StageEvent) and seen[-1].stage == "Validating"

    seen.extend(fit(config(data), tmp_path, stop=stop))
    assert labels(seen)[-4:] == ["StepEvent", "Validating", "SavedEvent", "SavedEvent"]


def test_a_run_that_is_done_is_told_at_once(
    whole: tuple[Path, list[TrainEvent]], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = whole
    monkeypatch.setattr(run, "load_frozen", None)
    monkeypatch.setattr(run, "index_items", None)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    events = list(fit(config(data), folder))
    assert [type(event) for event in events] == [NoteEvent, SavedEvent]
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_saved_configuration_repeats_the_run(
    whole: tuple[Path, list[TrainEvent]], tmp_path: Path
) -> None:
    folder, _ = whole
    list(fit(resume_config(folder), tmp_path / "again"))
    for name in ("adapter.safetensors", "metrics.csv", "config.toml"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_another_configuration_is_refused_once_a_run_has_begun(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        list(fit(config(data / "typing error"), tmp_path / "run"))
    job = fit(config(data), tmp_path / "run")  # put right
    next(event for event in job if isinstance(event, SavedEvent))
    job.close()
    before = (tmp_path / "run" / "config.toml").read_bytes()
    with pytest.raises(ConfigError, match="another run is there") as caught:
        next(fit(config(data, lr=1.0), tmp_path / "run"))
    assert "--resume" in caught.value.hint
    assert (tmp_path / "run" / "config.toml").read_bytes() == before


def test_one_run_at_a_time_in_a_folder_but_several_side_by_side(data: Path, tmp_path: Path) -> None:
    one = fit(config(data), tmp_path / "one")
    next(event for event in one if isinstance(event, StageEvent) and "frozen" in event.stage)
    with pytest.raises(StorageError, match="a run is going on there"):
        next(fit(config(data), tmp_path / "one"))
    # While the first still computes features, and while it trains.
    list(fit(config(data, seed=1), tmp_path / "two"))
    next(event for event in one if isinstance(event, StepEvent))
    list(fit(config(data, seed=2), tmp_path / "three"))
    list(one)
    assert len({(tmp_path / name / "adapter.safetensors").read_bytes() for name in ("one", "two")})


def test_features_are_computed_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(fit(config(data), tmp_path / "one"))
    frozen = run.load_frozen("compact", None)  # type: ignore[arg-type]
    looked = []
    watched = replace(frozen, _embedded=lambda rgbs: looked.append(len(rgbs)))
    monkeypatch.setattr(run, "load_frozen", lambda *_: watched)
    events = list(fit(config(data, seed=1), tmp_path / "two"))
    assert not looked
    assert any(isinstance(event, StepEvent) for event in events)
    monkeypatch.setattr(run, "load_frozen", lambda *_: replace(watched, identity="other weights"))
    with pytest.raises(AttributeError):  # what None, the fake's tokens, is asked for
        list(fit(config(data, seed=2), tmp_path / "three"))
    assert looked


def test_data_that_changed_are_told_when_a_run_is_taken_up(tmp_path: Path) -> None:
    folder = clips(tmp_path / "data")
    job = fit(config(folder), tmp_path / "run")
    next(event for event in job if isinstance(event, SavedEvent))
    job.close()
    clip(folder / "new.mp4", 3.1)
    with pytest.raises(DatasetError, match="have changed since the run began"):
        list(fit(config(folder), tmp_path / "run"))
    (folder / "new.mp4").unlink()
    assert isinstance(list(fit(config(folder), tmp_path / "run"))[-1], SavedEvent)


def test_nothing_of_the_process_is_changed(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    list(fit(config(data, seed=9), tmp_path))
    assert torch.equal(torch.rand(4), expected)


def nothing(folder: Path) -> None:
    """An empty folder."""


def one_clip(folder: Path) -> None:
    clip(folder / "a.mp4", 3.0)


def mute(folder: Path) -> None:
    for number in range(3):
        clip(folder / f"{number}.mp4", 1.0 + number, None)


def one_sound(folder: Path) -> None:
    colours(folder)
    heads = ("id", "split", "subset", "category", "image", "audio")
    manifest(
        folder, [[f"item{n}", "dev", "single", "x", f"{n}.png", "0.wav"] for n in range(6)], heads
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (nothing, "holds no clip"),
        (one_clip, "are of one recording"),
        (mute, r"none of \d+ items can be used \(\d+ mute\)"),
        (one_sound, "all items have one sound"),
        (lambda folder: folder.rmdir(), "no such"),
    ],
    ids=["empty", "one clip", "mute", "one sound", "missing"],
)
def test_bad_data_are_told_with_a_remedy(make, words: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder)
    before = open_files()
    with pytest.raises(DatasetError, match=words) as caught:
        list(fit(config(folder), tmp_path / "run"))
    assert caught.value.hint
    assert open_files() <= before
    assert not (tmp_path / "run" / "last.pt").exists()


def saved_adapter(path: Path, **values: object) -> Path:
    facts = {"bundle": "compact", "visual_width": 16, "audio_width": 6, "blocks": (1, 2)}
    sizes = {"reduction": 4, "latents": 3}
    Adapter(AdapterConfig(**(facts | sizes | values))).save(path, {})  # type: ignore[arg-type]
    return path


def test_a_run_starts_from_an_adapter(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "start.safetensors"
    adapter = Adapter.load(saved_adapter(path))
    with torch.no_grad():
        adapter.parts["1"].gate.fill_(0.75)
    adapter.save(path)
    list(fit(config(data, start=str(path), lr=1e-9), tmp_path / "run"))
    trained = Adapter.load(tmp_path / "run" / "adapter.safetensors")
    assert trained.parts["1"].gate.item() == pytest.approx(0.75, abs=1e-4)
    assert trained.info["training"]["start"] == "start.safetensors"


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"latents": 5}, ConfigError, "set blocks=2, latents=5, reduction=4"),
        ({"blocks": (2,)}, ConfigError, "set blocks=1, latents=3, reduction=4"),
        ({"blocks": (0, 2)}, ConfigError, "Start from another"),
        ({"bundle": "imagebind"}, WeightsError, "of the imagebind bundle, not of compact"),
        (None, WeightsError, "not an adapter"),
    ],
    ids=["latents", "fewer blocks", "other blocks", "bundle", "checkpoint"],
)
def test_a_start_that_does_not_fit_is_told_before_the_data_are_looked_at(
    values, error: type[MocaError], words: str, data: Path, tmp_path: Path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "start"
    if values is None:
        torch.save({"version": 1}, path)
    else:
        saved_adapter(path, **values)
    monkeypatch.setattr(run, "index_items", None)
    with pytest.raises(error) as caught:
        list(fit(config(data, start=str(path)), tmp_path / "run"))
    assert words in str(caught.value)
    assert caught.value.hint


def full(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_disk_that_fills_up_while_features_are_kept(
    whole: tuple[Path, list[TrainEvent]], data: Path, tmp_path: Path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    job = fit(config(data), tmp_path / "run")
    stage = (event for event in job if isinstance(event, StageEvent) and "frozen" in event.stage)
    assert next(stage).done == 1
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(StorageError, match="No space left") as caught:
            list(job)
    assert "MOCA_CACHE_DIR" in caught.value.hint
    list(fit(config(data), tmp_path / "run"))
    name = "adapter.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (whole[0] / name).read_bytes()


def test_a_disk_that_is_too_small_is_told_before_features_are_computed(
    data: Path, tmp_path: Path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 100))
    with pytest.raises(StorageError, match="features of 10 items need"):
        list(fit(config(data), tmp_path / "run"))


@pytest.mark.parametrize("what", ["checkpoint", "tables"])
def test_a_disk_that_fills_up_while_it_trains(
    what: str, whole: tuple[Path, list[TrainEvent]], data: Path, tmp_path: Path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "run"
    job = fit(config(data), folder)
    next(event for event in job if isinstance(event, SavedEvent))
    good = (folder / "last.pt").read_bytes()
    with monkeypatch.context() as patch:
        if what == "checkpoint":
            patch.setattr("os.fsync", full)
        else:
            patch.setattr(RunLog, "_add_row", full)
        with pytest.raises(StorageError, match="No space left") as caught:
            list(job)
    assert caught.value.hint
    assert (folder / "last.pt").read_bytes() == good
    assert not list(folder.glob(".*.tmp"))
    list(fit(config(data), folder))
    for name in ("adapter.safetensors", "metrics.csv"):
        assert (folder / name).read_bytes() == (whole[0] / name).read_bytes()


def test_numbers_that_are_not_finite_stop_the_run_with_advice(
    data: Path, tmp_path: Path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    right = Learner.forward

    def forward(self, batch):  # type: ignore[no-untyped-def]
        loss, said = right(self, batch)
        return loss * np.nan, said

    monkeypatch.setattr(Learner, "forward", forward)
    with pytest.raises(TrainingError, match="10 times in a row") as caught:
        list(fit(config(data, iterations=40), tmp_path))
    assert "lr" in caught.value.hint
    # The tenth ends the run before it is told.
    assert [row["skipped"] for row in rows(tmp_path)] == [str(n) for n in range(1, 10)]
    assert [row["loss"] for row in rows(tmp_path)] == ["nan"] * 9


def test_a_checkpoint_of_another_program_is_told(data: Path, tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"last\.pt: damaged") as caught:
        list(fit(config(data), tmp_path))
    assert caught.value.hint


def test_half_a_checkpoint_that_a_kill_left_goes(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".last.pt.0a1b2c3d.tmp").write_bytes(b"half")
    list(fit(config(data), folder))
    assert (folder / "last.pt").exists()
    assert not list(folder.glob("*.tmp"))


@pytest.mark.parametrize(
    "values", [{"learner": {}}, {"optimiser": {"a": 1}}, {"step": "x"}, {"step": -5}]
)
def test_a_checkpoint_that_does_not_fit_is_told(
    values: dict[str, object], whole: tuple[Path, list[TrainEvent]], data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    (folder / "adapter.safetensors").unlink()  # it isn't done
    content = torch.load(folder / "last.pt", weights_only=True)
    torch.save(content | values, folder / "last.pt")
    with pytest.raises(WeightsError, match=r"last\.pt: damaged"):
        list(fit(config(data), folder))


def test_too_few_recordings_to_hold_some_out(tmp_path: Path) -> None:
    for number in range(2):
        clip(tmp_path / "data" / f"{number}.mp4", 2.0 + 0.2 * number)
    events = list(fit(config(tmp_path / "data"), tmp_path / "run"))
    told = [event.message for event in events if isinstance(event, NoteEvent)]
    assert any("nothing is validated" in message and "no best" in message for message in told)
    assert not any(isinstance(event, ValidationEvent) for event in events)
    assert not (tmp_path / "run" / "best.safetensors").exists()
    assert Adapter.load(tmp_path / "run" / "adapter.safetensors").info["validation"] == {}


def test_lines_of_iterations_that_come_again_go(tmp_path: Path) -> None:
    """What a kill leaves: lines after the checkpoint, and one that is cut short."""

    def event(step: int) -> StepEvent:
        return StepEvent(step, 9, 0.5, {"triplet": 0.25}, 1e-3, 1.0, 0)

    with RunLog(tmp_path, 0) as log:
        for step in range(1, 6):
            log.note(event(step))
        # There before it is closed: a kill takes none of them.
        assert len(rows(tmp_path)) == len(lines(tmp_path)) == 5
    for name, cut in (("metrics.csv", "6,0.5"), ("events.jsonl", '{"event": "st')):
        with (tmp_path / name).open("a") as stream:
            stream.write(cut)
    with RunLog(tmp_path, 3) as log:
        log.note(event(4))
    assert [row["step"] for row in rows(tmp_path)] == ["1", "2", "3", "4"]
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]


@pytest.mark.weights
def test_two_iterations_with_the_real_encoders(
    weights_dir: Path, data: Path, tmp_path: Path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.undo()
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "weights").symlink_to(weights_dir)
    settings = TrainConfig(
        data=str(data), iterations=2, batch=1, warmup=0, validation=0, device="cpu"
    )
    events = list(fit(settings, tmp_path / "run"))
    steps = [event for event in events if isinstance(event, StepEvent)]
    assert len(steps) == 2
    assert all(np.isfinite(event.loss) and event.gradient > 0 for event in steps)
    adapter = Adapter.load(tmp_path / "run" / "adapter.safetensors", "compact")
    assert adapter.config.blocks == (6, 7, 8, 9)
    assert all(part.gate.item() != 0 for part in adapter.parts.values())
    assert checkpoint.load(run.fingerprint(settings), tmp_path / "run").step == 2  # type: ignore[union-attr]
