"""Settings: checked on creation, named by their values, saved as TOML and read again."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass

import pytest

from moca_core import config as module
from moca_core import paths
from moca_core.config import SegmentConfig, fingerprint, load_toml, save_toml, with_values
from moca_core.errors import ConfigError, MocaError, StorageError
from moca_core.models.bundles import default_settings
from moca_core.models.registry import BUNDLE_NAMES, BUNDLES, SAMS


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [
        ("bundle", "huge", "compact"),
        ("proposals", "everything", "guided, grid, none"),
        ("regions", "guess", "paint, kmeans, diffuse"),
        ("sam", "vit_x", "mobile, vit_b, vit_l, vit_h"),
        ("patches", "some", "alone, attended"),
        ("image_side", 225, "multiple of 14"),
        ("image_side", 98, "from 112 to 896"),
        ("image_side", 910, "from 112 to 896"),
        ("clusters", 1, "2 to 32"),
        ("clusters", 33, "2 to 32"),
    ],
)
def test_values_that_cant_work(name, value, known):
    with pytest.raises(ConfigError) as caught:
        SegmentConfig(**{name: value})
    assert str(value) in caught.value.message
    assert known in caught.value.hint


def test_every_listed_value_works():
    for bundle in BUNDLE_NAMES:
        for proposals in module.PROPOSAL_MODES:
            for regions in module.REGION_STRATEGIES:
                for sam in SAMS:
                    SegmentConfig(bundle, proposals, regions, sam, "attended", 448, 2, 1)
    SegmentConfig(clusters=32)


def test_what_is_left_open_is_the_bundles_own():
    for row in BUNDLES:
        config = SegmentConfig(row.name)
        assert (config.regions, config.sam, config.image_side) == (
            row.regions,
            row.sam,
            row.image_side,
        )
    # What was taken is stored: naming it makes no other configuration.
    assert SegmentConfig() == SegmentConfig(regions="paint", sam="mobile", image_side=224)
    assert SegmentConfig("imagebind").regions == "kmeans"
    # What an adapter changes are the tokens, which painted regions don't read.
    assert SegmentConfig(adapter="one.safetensors").regions == "kmeans"
    assert SegmentConfig(adapter="one.safetensors", regions="paint").regions == "paint"


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SegmentConfig().seed = 1


def test_the_regions_are_those_of_the_pipeline():
    from moca_core.pipeline.regions import STRATEGIES

    assert set(module.REGION_STRATEGIES) == set(STRATEGIES)


def test_fingerprints_tell_every_setting_apart():
    others = [
        SegmentConfig(),
        SegmentConfig(proposals="grid"),
        SegmentConfig(bundle="imagebind"),
        SegmentConfig(regions="kmeans"),
        SegmentConfig(sam="vit_b"),
        SegmentConfig(image_side=448),
        SegmentConfig(patches="attended"),
        SegmentConfig(clusters=6),
        SegmentConfig(seed=1),
    ]
    names = [fingerprint(config) for config in others]
    assert len(set(names)) == len(others)
    assert names[0] == fingerprint(SegmentConfig())
    assert all(len(name) == 12 and int(name, 16) >= 0 for name in names)


@dataclass(frozen=True)
class Sample:
    text: str = "a"
    number: float = 0.5
    whole: int = 3
    switch: bool = True
    values: tuple[float, ...] = ()


def test_toml_round_trip(tmp_path):
    path = tmp_path / "run.toml"
    config = SegmentConfig(proposals="grid", clusters=7, seed=12)
    save_toml(config, path)
    assert load_toml(SegmentConfig, path) == config
    sample = Sample('say "ä\\n" \t', 1e-7, -2, False, (0.25, 1.0))
    save_toml(sample, path)
    assert load_toml(Sample, path) == sample
    assert tomllib.loads(path.read_text(encoding="utf-8"))["text"] == sample.text


def test_whole_numbers_do_for_times(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("number = 2\n")
    assert load_toml(Sample, path).number == 2.0


def test_missing_keys_take_their_defaults(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("seed = 4\n")
    assert load_toml(SegmentConfig, path) == SegmentConfig(seed=4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sede = 4\n", "sede"),
        ("seed = = 4\n", "run.toml"),
        ("clusters = 99\n", "99"),
        ('clusters = "many"\n', "'many'"),
        ("seed = true\n", "True"),
        ("proposals = 3\n", "3"),
        (b"\xff\xfe\x00", "run.toml"),
    ],
)
def test_toml_that_cant_be_used(tmp_path, text, words):
    path = tmp_path / "run.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_toml(SegmentConfig, path)
    assert words in caught.value.message
    assert caught.value.hint


def test_toml_that_isnt_there(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_toml(SegmentConfig, tmp_path / "none.toml")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        save_toml(SegmentConfig(), tmp_path / "file" / "run.toml")


def test_errors_say_what_happened_and_what_to_do():
    error = MocaError("clip.mp4: no picture", "Choose another file.")
    assert str(error) == "clip.mp4: no picture\nChoose another file."
    assert str(MocaError("clip.mp4: no picture")) == "clip.mp4: no picture"


def test_the_cache_can_be_put_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path))
    assert paths.weights_dir() == tmp_path / "weights"
    assert paths.results_dir() == tmp_path / "results"
    monkeypatch.setenv("MOCA_CACHE_DIR", "")
    assert paths.cache_dir().name == "moca-studio"
    assert paths.cache_dir().is_absolute()
    assert len({paths.cache_dir(), paths.config_dir(), paths.log_dir()}) == 3


def test_resources_are_found_and_missing_ones_named():
    assert paths.resource("sound_groups").exists() or paths.resource("demo").exists()
    with pytest.raises(FileNotFoundError, match=r"nothing\.png"):
        paths.resource("nothing.png")


@dataclass(frozen=True)
class Inner:
    depth: float = 1.5
    kept: bool = True


@dataclass(frozen=True)
class Outer:
    level: float = 0.5
    name: str = "x"
    inner: Inner = dataclasses.field(default_factory=Inner)


def test_values_take_the_place_of_a_dataclasses_own():
    changed = with_values(Outer(), [("level", "1"), ("inner.depth", "-2.5e-1"), ("name", "a b")])
    assert changed == Outer(1.0, "a b", Inner(-0.25))
    assert type(changed.level) is float
    assert with_values(Outer(), [("inner.kept", "false")]).inner.kept is False
    # The last one counts, and none is no change.
    assert with_values(Outer(), [("level", "2"), ("level", "3")]).level == 3.0
    assert with_values(Outer(), []) == Outer()


@pytest.mark.parametrize(
    ("name", "text"),
    [("depth", "1"), ("inner", "1"), ("inner.none", "1"), ("level.x", "1"), ("", "1")],
)
def test_a_name_that_is_no_setting_is_told_with_those_that_are(name, text):
    with pytest.raises(ConfigError) as caught:
        with_values(Outer(), [(name, text)])
    assert repr(name) in caught.value.message
    assert "level, name, inner.depth, inner.kept" in caught.value.hint


@pytest.mark.parametrize("text", ["high", "true", "[1]", "1 2"])
def test_a_value_of_another_type_is_told_by_its_name(text):
    with pytest.raises(ConfigError, match=r"inner\.depth"):
        with_values(Outer(), [("inner.depth", text)])


def test_every_threshold_of_every_bundle_has_a_name():
    for bundle in BUNDLE_NAMES:
        settings = default_settings(SegmentConfig(bundle))
        moved = with_values(settings, [("hearing.empty_below", "0.125"), ("least_share", "0.25")])
        assert (moved.hearing.empty_below, moved.least_share) == (0.125, 0.25)
        assert moved.region == settings.region
