"""Neighbours and far halves against a ranking by brute force; the table, and features kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from core.avsbench_fakes import write_png
from core.item_fakes import colours, flat, manifest

from moca_core.device import choose_device
from moca_core.errors import ConfigError, DatasetError, StorageError, WeightsError
from moca_core.models import weights
from moca_core.models.compact import CompactBundle
from moca_core.models.dino import OFFSET, Dino, official_name
from moca_core.models.imagebind_bundle import DINO_FILE
from moca_core.models.vit import ViTShape
from moca_core.training.data import Texts
from moca_core.training.layouts import Choice, open_items
from moca_core.training.memory import Memory
from moca_core.training.nearest import SCALE, knn, rounded
from moca_core.training.pairs import PairConfig, PairTable, make_pairs
from moca_core.training.retrieval import load_retriever, retrieval_features


def finish(steps):
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def unit(count, width, seed=0, kinds=0):
    """(count, width) int16 of random unit features; only `kinds` different ones unless it is 0."""
    values = np.random.default_rng(seed).standard_normal((kinds or count, width))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return rounded(values[np.arange(count) % len(values)])


def brute(features, groups):
    """For each picture the others of other groups, the most alike first, then by index."""
    alike = features.astype(np.int64) @ features.astype(np.int64).T
    ranked = []
    for place, row in enumerate(alike):
        others = np.flatnonzero(groups != groups[place])
        ranked.append(others[np.lexsort((others, -row[others]))])
    return alike, ranked


def table_of(features, groups, k=5, chunk=0):
    """A table of items each of which has a picture of its own."""
    found = knn(features, groups, k, chunk)
    own = np.arange(len(features), dtype=np.int32)
    return PairTable(
        PairConfig(k=k),
        Texts.of(f"item{place}" for place in own),
        own,
        own,
        groups.astype(np.int32),
        features,
        found.neighbours,
        found.likeness,
        found.edge,
    )


@pytest.mark.parametrize(
    ("count", "groups", "kinds"),
    [(60, 60, 0), (61, 12, 0), (80, 20, 7), (40, 3, 1), (9, 2, 0), (40, 40, 2)],
    ids=["all apart", "recordings", "ties", "all alike", "few", "two kinds"],
)
def test_neighbours_and_far_halves_are_those_of_the_whole_ranking(count, groups, kinds):
    features = unit(count, 16, kinds=kinds)
    of = np.random.default_rng(1).integers(0, groups, count)
    table = table_of(features, of, k=5)
    alike, ranked = brute(features, of)
    for place, order in enumerate(ranked):
        near = (len(order) + 1) // 2
        kept = min(5, near)
        assert table.neighbours[place, :kept].tolist() == order[:kept].tolist()
        assert (table.neighbours[place, kept:] == -1).all()
        assert table.likeness[place, :kept] == pytest.approx(alike[place, order[:kept]] / SCALE**2)
        everyone = np.arange(count)[None]
        far = np.flatnonzero(table.is_far(np.array([[place]]), everyone)[0])
        assert far.tolist() == sorted(order[near:])


def test_the_size_of_a_chunk_changes_nothing():
    features = unit(500, 384, kinds=100)
    groups = np.arange(500) // 3
    whole = knn(features, groups, 5, 500)
    for chunk in (1, 7, 64, 499):
        part = knn(features, groups, 5, chunk)
        for name in ("neighbours", "likeness", "edge"):
            assert getattr(part, name).tobytes() == getattr(whole, name).tobytes(), (chunk, name)


def test_products_of_rounded_features_are_exact_in_float32():
    features = unit(200, 1280, seed=3)
    exact = features.astype(np.int64) @ features.astype(np.int64).T
    single = features.astype(np.float32)
    assert (single @ single.T == exact).all()
    assert abs(np.diag(exact) / SCALE**2 - 1).max() < 2e-3
    values = np.random.default_rng(3).standard_normal((200, 1280))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    assert abs(exact / SCALE**2 - values @ values.T).max() < 2e-3


def test_draws_are_the_same_whatever_else_is_drawn():
    table = table_of(unit(300, 32), np.arange(300) // 2)
    everyone = np.arange(300)
    for draw in (table.positives, table.negatives):
        whole = draw(everyone, 5)
        assert (draw(everyone, 5) == whole).all()
        assert (draw(everyone[::-1], 5) == whole[::-1]).all()
        assert [int(draw([place], 5)[0]) for place in range(20)] == whole[:20].tolist()
        assert (draw(everyone, 6) != whole).mean() > 0.5
        assert len(draw([], 5)) == 0


def test_positives_and_negatives_are_drawn_evenly_from_the_right_ones():
    features, groups = unit(41, 16, kinds=30), np.arange(41) // 2
    table = table_of(features, groups, k=5)
    ranked = brute(features, groups)[1]
    positives = np.array([table.positives(np.arange(41), seed) for seed in range(600)])
    negatives = np.array([table.negatives(np.arange(41), seed) for seed in range(600)])
    for place, order in enumerate(ranked):
        far = order[(len(order) + 1) // 2 :]
        for drawn, right in ((positives, order[:5]), (negatives, far)):
            counts = np.bincount(drawn[:, place], minlength=41)
            assert set(np.flatnonzero(counts)) == set(right)
            # Each is drawn 600 / n times, within five standard deviations.
            mean = 600 / len(right)
            assert abs(counts[right] - mean).max() < 5 * mean**0.5


def test_a_recording_that_is_nearly_everything_still_gets_its_negatives():
    """Draws at random hardly ever meet the far half of six pictures among 3000."""
    features = unit(3000, 16)
    groups = np.zeros(3000, np.int64)
    groups[-6:] = np.arange(1, 7)
    table = table_of(features, groups)
    alike = features[0].astype(np.int64) @ features[-6:].astype(np.int64).T
    order = 2994 + np.argsort(-alike)
    drawn = [int(table.negatives([0], seed)[0]) for seed in range(60)]
    assert set(drawn) == set(order[3:].tolist())
    assert max(drawn.count(place) for place in set(drawn)) < 40
    assert table.near(0)[0].tolist() == order[:3].tolist()


def test_5000_pictures_in_chunks():
    features = unit(5000, 384, seed=2)
    groups = np.arange(5000) // 5
    table = table_of(features, groups, chunk=700)
    alike = features[:50].astype(np.int64) @ features.astype(np.int64).T
    for place in range(50):
        row = np.where(groups == groups[place], -(2**40), alike[place])
        order = np.lexsort((np.arange(5000), -row))
        assert table.neighbours[place].tolist() == order[:5].tolist()
        far = set(order[2498:4995].tolist())
        drawn = table.negatives([place], place)
        assert set(drawn.tolist()) <= far
    negatives = table.negatives(np.arange(5000), 1)
    assert (groups[negatives] != groups).all()


def colour_of(rgbs):
    """(B, 3) mean colours, of length 1."""
    means = np.stack([rgb.reshape(-1, 3).mean(axis=0) for rgb in rgbs])
    return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


def test_pictures_of_one_colour_are_neighbours(tmp_path):
    items = open_items(colours(tmp_path))
    table = finish(make_pairs(items, PairConfig(k=1), colour_of))
    assert [int(table.near(place)[0][0]) for place in range(6)] == [1, 0, 3, 2, 5, 4]
    assert table.near(0)[1][0] == pytest.approx(table.cosine(0, 1))
    for seed in range(20):
        negatives = table.negatives(range(6), seed)
        assert (negatives // 2 != np.arange(6) // 2).all()


def test_a_picture_with_several_sounds_is_one_picture(tmp_path):
    colours(tmp_path)
    rows = [
        [f"item{number}", "dev", "ms_one", "", f"{number // 2}.png", f"{number}.wav"]
        for number in range(6)
    ]
    more = [[f"more{n}", "dev", "single", "", f"{n}.png", "0.wav"] for n in (3, 4, 5)]
    items = open_items(manifest(tmp_path, rows + more))
    table = finish(make_pairs(items, PairConfig(k=3), colour_of))
    assert table.picture_of.tolist() == [0, 0, 1, 1, 2, 2, 3, 4, 5]
    assert table.item_of.tolist() == [0, 2, 4, 6, 7, 8]
    assert (len(table), table.recordings.shape) == (9, (9,))
    assert table.recordings[0] == table.recordings[1]
    near = table.near(1)[0].tolist()
    assert near[0] == 2
    assert len(near) == len(set(near)) == 3
    assert set(table.negatives([0] * 9, 1).tolist()) <= {0, 2, 4, 6, 7, 8} - {0, 2}
    table.check_items(items)


def test_a_table_outlives_saving_and_loading(tmp_path):
    items = open_items(colours(tmp_path))
    config = PairConfig(data=str(tmp_path), subsets=("single",), k=2)
    table = finish(make_pairs(items, config, colour_of))
    table.save(tmp_path / "run" / "pairs.npz")
    again = PairTable.load(tmp_path / "run" / "pairs.npz")
    assert again.config == config
    assert list(again.keys) == [item.key for item in items]
    assert (again.negatives(range(6), 4) == table.negatives(range(6), 4)).all()
    assert again.near(3)[0].tolist() == table.near(3)[0].tolist()
    again.check_items(items)
    with pytest.raises(DatasetError, match="its 5 items aren't the 6 of the pairs"):
        again.check_items(items[:5])
    with pytest.raises(DatasetError, match="Make the pairs again"):
        again.check_items(items.take([1, 0, 2, 3, 4, 5]))


def test_what_is_no_table_is_told(tmp_path):
    path = tmp_path / "pairs.npz"
    with pytest.raises(StorageError, match="no such file"):
        PairTable.load(path)
    table = table_of(unit(20, 8), np.arange(20))
    table.save(path)
    whole = path.read_bytes()
    for data in (b"", b"something else", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(StorageError, match="not a table of pairs, or damaged"):
            PairTable.load(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(StorageError, match="not a table of pairs"):
        PairTable.load(path)
    replace(table, edge=table.edge[:-1]).save(path)
    with pytest.raises(StorageError, match="don't fit"):
        PairTable.load(path)
    replace(table, neighbours=table.neighbours + np.int32(20)).save(path)
    with pytest.raises(StorageError, match="don't fit"):
        PairTable.load(path)


def test_features_are_computed_once(tmp_path):
    items = open_items(colours(tmp_path))
    seen = []

    def counted(rgbs):
        seen.append(len(rgbs))
        return colour_of(rgbs)

    path = tmp_path / "known.sqlite"
    with Memory(path) as memory:
        steps = retrieval_features(items, counted, "compact", memory, batch=2)
        for event in steps:
            if event.done == 4:
                break
        steps.close()
    assert seen == [2, 2]
    with Memory(path) as memory:
        rest = finish(retrieval_features(items, counted, "compact", memory, batch=2))
    assert seen == [2, 2, 2]
    write_png(tmp_path / "0.png", flat((1, 2, 250)))
    with Memory(path) as memory:
        changed = finish(retrieval_features(items, counted, "compact", memory))
        assert seen[3:] == [1]
        finish(retrieval_features(items, counted, "another", memory))
        assert seen[4:] == [6]
    assert (changed[1:] == rest[1:]).all()
    assert changed[0, 2] > SCALE * 0.9 > rest[0, 2]


def test_a_picture_that_can_not_be_read_and_an_encoder_without_numbers(tmp_path):
    items = open_items(colours(tmp_path))
    with pytest.raises(WeightsError, match="isn't a number"):
        finish(retrieval_features(items, lambda rgbs: np.full((len(rgbs), 3), np.nan), "compact"))
    (tmp_path / "4.png").write_text("broken")
    with pytest.raises(DatasetError, match="item4: "):
        finish(make_pairs(items, PairConfig(), colour_of))


@pytest.mark.parametrize("k", [0, 101])
def test_a_senseless_number_of_neighbours_is_refused(k):
    with pytest.raises(ConfigError, match=f"k = {k}"):
        PairConfig(k=k)


@pytest.mark.weights
def test_the_bundle_and_the_light_retriever_give_the_same(weights_dir):
    rgbs = [
        np.random.default_rng(seed).integers(0, 255, (60 + 30 * seed, 90, 3)).astype(np.uint8)
        for seed in range(3)
    ]
    bundle = CompactBundle(choose_device("cpu"))
    for _ in bundle.load():
        pass
    features = bundle.retrieve(rgbs)
    assert (features.shape, features.dtype) == ((3, 1280), np.float32)
    assert np.linalg.norm(features, axis=1) == pytest.approx(1, abs=1e-5)
    assert load_retriever("compact")(rgbs) == pytest.approx(features, abs=1e-6)
    assert bundle.retrieve(rgbs[1:2])[0] == pytest.approx(features[1], abs=1e-5)


def test_imagebinds_retriever_is_dino_alone(tmp_path, monkeypatch):
    dino = Dino(ViTShape(64, 1, 1, 16, (14, 14), offset=OFFSET))
    state = {official_name(key): value for key, value in dino.state_dict().items()}
    torch.save(state, tmp_path / "small.pth")
    asked = []

    def locate(name):
        asked.append(name)
        return tmp_path / "small.pth"

    monkeypatch.setattr(weights, "locate", locate)
    rgbs = [flat((200, 10, 10)), flat((10, 10, 200))]
    features = load_retriever("imagebind")(rgbs)
    assert asked == [DINO_FILE]
    assert (features.shape, features.dtype) == ((2, 64), np.float32)
    assert np.linalg.norm(features, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.data
@pytest.mark.weights
def test_neighbours_of_real_pictures_are_often_of_their_category(dev_data, weights_dir):
    items = open_items(dev_data / "avs_pairs", choice=Choice(subsets=("single",))).limited(66)
    table = finish(make_pairs(items, PairConfig(k=3), load_retriever("compact")))
    names = np.array([item.category for item in items])
    near = np.array([table.near(place)[0] for place in range(len(items))])
    far = np.array([table.negatives(range(len(items)), seed) for seed in range(10)])
    assert (names[near] == names[:, None]).mean() > 0.35
    assert (names[far] == names).mean() < 0.08
