"""The person nets: decoding found back on pictures whose answer is known, and a real portrait."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from moca_core.errors import WeightsError
from moca_core.media.video import VideoReader
from moca_core.models.person import (
    FACE,
    POSE,
    SELFIE_SIDE,
    Detections,
    DetectorSpec,
    PersonEvidence,
    PersonNets,
    _anchors,
    _detect,
    _merged,
    _tiles,
)
from moca_core.paths import resource

KEYS = 4
SURE = 0.5
"""MediaPipe's own least score; weaker detections only count when something else agrees."""


class SquareFinder:
    """Stands for a detector: it reports the white field of its input, relative to one anchor."""

    def __init__(self, spec: DetectorSpec, anchor: int) -> None:
        self.spec, self.anchor = spec, anchor
        self.centres = _anchors(spec)

    def run(self, picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        side = self.spec.side
        assert picture.shape == (side, side, 3)
        assert picture.dtype == np.float32
        assert picture.min() == -1.0  # black, and the border
        values = np.zeros((1, len(self.centres), 4 + 2 * KEYS), dtype=np.float32)
        logits = np.full((1, len(self.centres), 1), -200.0, dtype=np.float32)
        rows, columns = np.nonzero(picture[:, :, 0] > 0)
        if len(rows):
            low = np.array([columns.min(), rows.min()], dtype=np.float32)
            high = np.array([columns.max() + 1, rows.max() + 1], dtype=np.float32)
            base = self.centres[self.anchor] * side
            corners = [low, high, (low + high) / 2, low]
            values[0, self.anchor, :2] = (low + high) / 2 - base
            values[0, self.anchor, 2:4] = high - low
            values[0, self.anchor, 4:] = np.concatenate([corner - base for corner in corners])
            logits[0, self.anchor] = 3.0
        # The order of the outputs isn't fixed by the files.
        return [logits, values]


class WholeField:
    """Stands for the segmentation: everything that is white."""

    def run(self, picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        assert picture.shape == (SELFIE_SIDE, SELFIE_SIDE, 3)
        assert 0 <= picture.min() <= picture.max() <= 1
        return [picture[None, :, :, :1]]


def fake_nets() -> PersonNets:
    nets = PersonNets.__new__(PersonNets)
    fakes = {
        "_pose": SquareFinder(POSE, 777),
        "_face": SquareFinder(FACE, 1500),
        "_selfie": WholeField(),
        "_pose_anchors": _anchors(POSE),
        "_face_anchors": _anchors(FACE),
    }
    for name, fake in fakes.items():
        setattr(nets, name, fake)
    return nets


def picture_with_field(
    height: int, width: int, box: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    rgb = np.zeros((height, width, 3), dtype=np.uint8)
    rgb[box[1] : box[3], box[0] : box[2]] = 255
    return rgb


def detections(*rows: tuple[float, tuple[float, ...]], points: int = 3) -> Detections:
    """Of (score, box) rows; key point k of a box is its corner moved by k."""
    score = np.array([row[0] for row in rows], dtype=np.float32)
    box = np.array([row[1] for row in rows], dtype=np.float32).reshape(-1, 4)
    keys = np.stack([box[:, :2] + 10 * k for k in range(points)], axis=1)
    return Detections(score, box, keys)


def evidence(poses: Detections, faces: Detections) -> PersonEvidence:
    empty = np.zeros((100, 200), dtype=np.float32)
    return PersonEvidence(poses, faces, empty, empty)


@pytest.fixture(scope="module")
def nets(weights_dir: Path) -> PersonNets:
    return PersonNets.from_folder(weights_dir)


@pytest.fixture(scope="module")
def demo_frame() -> NDArray[np.uint8]:
    """A cat on the left half; on the right one the portrait of an astronaut."""
    with VideoReader(resource("demo/demo.mp4")) as reader:
        return np.array(reader.frame(0))


@pytest.fixture(scope="module")
def found(nets: PersonNets, demo_frame: NDArray[np.uint8]) -> PersonEvidence:
    return nets.find(demo_frame)


# --- anchors ---


@pytest.mark.parametrize(("spec", "count"), [(POSE, 2254), (FACE, 2304)], ids=["pose", "face"])
def test_number_of_anchors(spec: DetectorSpec, count: int) -> None:
    anchors = _anchors(spec)
    assert anchors.shape == (count, 2)
    assert anchors.dtype == np.float32
    assert 0 < anchors.min() < anchors.max() < 1


def test_anchors_lie_in_the_middle_of_their_cells() -> None:
    anchors = _anchors(POSE)
    # Two in each of 28 x 28 cells, row by row; then two in 14 x 14, then six in 7 x 7.
    assert anchors[0].tolist() == anchors[1].tolist() == pytest.approx([0.5 / 28, 0.5 / 28])
    assert anchors[2].tolist() == pytest.approx([1.5 / 28, 0.5 / 28])
    assert anchors[56].tolist() == pytest.approx([0.5 / 28, 1.5 / 28])
    assert anchors[1568].tolist() == pytest.approx([0.5 / 14, 0.5 / 14])
    assert len(np.unique(anchors[-6:], axis=0)) == 1
    assert anchors[-1].tolist() == pytest.approx([6.5 / 7, 6.5 / 7])


# --- decoding ---


@pytest.mark.parametrize("spec", [POSE, FACE], ids=["pose", "face"])
@pytest.mark.parametrize(
    ("height", "width", "box"),
    [
        (360, 640, (400, 40, 520, 120)),
        (640, 360, (40, 400, 120, 520)),
        (224, 224, (10, 20, 60, 80)),
        (33, 97, (60, 10, 90, 30)),
    ],
)
def test_a_field_is_found_where_it_is(
    spec: DetectorSpec, height: int, width: int, box: tuple[int, int, int, int]
) -> None:
    rgb = picture_with_field(height, width, box)
    offset = np.array([1000, 2000], dtype=np.float32)
    rows = _detect(SquareFinder(spec, 900), spec, _anchors(spec), rgb, offset)  # type: ignore[arg-type]
    assert rows.shape == (1, 1 + 4 + 2 * KEYS)
    assert rows[0, 0] == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-6)
    pixel = max(height, width) / spec.side + 0.01  # of the net's input, in the picture's pixels
    expected = np.array(box) + np.tile(offset, 2)
    np.testing.assert_allclose(rows[0, 1:5], expected, atol=pixel)
    keys = rows[0, 5:].reshape(KEYS, 2)
    np.testing.assert_allclose(keys[:2].ravel(), expected, atol=pixel)
    np.testing.assert_allclose(keys[2], (expected[:2] + expected[2:]) / 2, atol=pixel)


def test_nothing_is_found_in_black() -> None:
    rgb = picture_with_field(90, 160, (0, 0, 0, 0))
    nothing = fake_nets().find(rgb)
    assert nothing.poses.score.shape == nothing.faces.score.shape == (0,)
    assert nothing.poses.box.shape == (0, 4)
    assert nothing.poses.points.shape == (0, KEYS, 2)
    assert nothing.presence == 0.0
    assert nothing.hints().shape == (0, 2)
    assert nothing.pose_map.shape == nothing.tiled_map.shape == (90, 160)
    assert not nothing.pose_map.any()


def test_one_field_seen_in_several_tiles_is_one_detection() -> None:
    box = (150, 80, 210, 130)  # in the middle: in the picture and in all four tiles
    everything = fake_nets().find(picture_with_field(210, 360, box))
    assert len(everything.poses.score) == len(everything.faces.score) == 1
    np.testing.assert_allclose(everything.poses.box[0], box, atol=2)
    np.testing.assert_allclose(everything.poses.points[0, 2], (180, 105), atol=2)
    # The segmentation of every tile lands where the tile was cut out.
    field = np.zeros((210, 360), dtype=bool)
    field[80:130, 150:210] = True
    assert everything.tiled_map[field].mean() > 0.95
    assert everything.tiled_map[~field].mean() < 0.02


def test_pose_map_is_segmented_inside_the_circle_around_the_body() -> None:
    # Key points 0 and 1, middle and rim of the circle, are the corners of the field here.
    everything = fake_nets().find(picture_with_field(300, 300, (120, 120, 150, 160)))
    score = float(everything.poses.score[0])
    assert everything.pose_map.max() == pytest.approx(score, abs=1e-3)
    assert everything.pose_map[125:155, 125:145].min() > 0.9 * score
    reach = 1.25 * np.hypot(30, 40)
    outside = np.ones((300, 300), dtype=bool)
    low, high = int(120 - reach) - 2, int(120 + reach) + 2
    outside[low:high, low:high] = False
    assert not everything.pose_map[outside].any()


def test_merging_takes_the_weighted_mean() -> None:
    rows = np.array(
        [
            [0.4, 12, 0, 22, 10, 4, 4],
            [0.8, 9, 0, 19, 10, 1, 1],
            [0.5, 60, 60, 70, 70, 8, 8],
            [0.3, 17, 0, 27, 10, 0, 0],  # 2 of 18 pixels in common with the best
        ],
        dtype=np.float32,
    )
    merged = _merged(rows)
    assert merged[:, 0].tolist() == pytest.approx([0.8, 0.5, 0.3])
    # (0.8 * 9 + 0.4 * 12) / 1.2
    np.testing.assert_allclose(merged[0, 1:], [10, 0, 20, 10, 2, 2], atol=1e-5)
    np.testing.assert_array_equal(merged[1], rows[2])
    assert _merged(np.zeros((0, 7), dtype=np.float32)).shape == (0, 7)


def test_tiles_cover_the_picture_in_place() -> None:
    rgb = np.random.default_rng(6).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    tiles = list(_tiles(rgb))
    assert [tile.shape[:2] for _, _, tile in tiles] == [(50, 80)] + [(30, 48)] * 4
    seen = np.zeros((50, 80), dtype=bool)
    for x, y, tile in tiles[1:]:
        rows, columns = slice(y, y + tile.shape[0]), slice(x, x + tile.shape[1])
        np.testing.assert_array_equal(tile, rgb[rows, columns])
        seen[rows, columns] = True
    assert seen.all()
    assert len(list(_tiles(rgb[:20]))) == 1  # too small to be worth it


# --- what follows from detections ---


@pytest.mark.parametrize(
    ("score", "presence"), [(0.2, 0.0), (0.3, 0.0), (0.55, 0.5), (0.8, 1.0), (0.95, 1.0)]
)
def test_presence_is_a_ramp_of_the_best_pose(score: float, presence: float) -> None:
    poses = detections((score, (0, 0, 10, 10)), (0.1, (0, 0, 10, 10)))
    faces = detections((0.99, (0, 0, 10, 10)))
    assert evidence(poses, faces).presence == pytest.approx(presence, abs=1e-6)


def test_hints_lie_on_shoulders_chest_and_faces() -> None:
    poses = detections((0.9, (40, 30, 60, 50)), (0.29, (0, 0, 10, 10)))
    faces = detections((0.8, (100, 10, 120, 40)))
    # Key point 2 is 20 beside the corner, the chest half way to key point 0.
    assert evidence(poses, faces).hints().tolist() == [[60, 50], [50, 40], [110, 25]]
    assert len(evidence(poses, faces).hints(least=0.2)) == 5
    assert len(evidence(poses, faces).hints(least=0.95)) == 0


def test_hints_are_limited_and_inside_the_picture() -> None:
    far = detections(*[(0.9, (500.0, -80.0, 520.0, -60.0))] * 9)
    hints = evidence(far, far).hints(most=4)
    assert hints.shape == (12, 2)
    assert hints.dtype == np.float32
    assert hints.min() >= 0
    assert hints[:, 0].max() == 199
    assert hints[:, 1].max() <= 99


# --- the real nets ---


@pytest.mark.weights
@pytest.mark.parametrize("name", ["_pose", "_face"])
def test_the_files_have_an_output_for_every_anchor(nets: PersonNets, name: str) -> None:
    spec, keys = (POSE, 4) if name == "_pose" else (FACE, 6)
    outputs = getattr(nets, name).run(np.zeros((spec.side, spec.side, 3), dtype=np.float32))
    count = len(_anchors(spec))
    assert sorted(output.shape for output in outputs) == [(1, count, 1), (1, count, 4 + 2 * keys)]


@pytest.mark.weights
def test_the_astronaut_is_found(found: PersonEvidence, demo_frame: NDArray[np.uint8]) -> None:
    height, width = demo_frame.shape[:2]
    assert found.presence > 0.8
    assert found.faces.score[0] > 0.8
    assert found.poses.score[0] > 0.7
    face = found.faces.box[0]
    middle, size = (face[:2] + face[2:]) / 2, face[2:] - face[:2]
    assert width / 2 < face[0] < face[2] < width
    assert 0 < face[1] < face[3] < height
    assert size.min() > 0.1 * height
    hip, rim, shoulder = found.poses.points[0, :3]
    # From above: the rim of the circle, face, shoulders, hips, which the portrait cuts off.
    assert rim[1] < middle[1] < face[3] < shoulder[1] < hip[1]
    assert abs(shoulder - middle).max() < 1.5 * size.max()
    assert hip[1] - shoulder[1] > 1.5 * size[1]


@pytest.mark.weights
def test_the_cat_is_no_person(found: PersonEvidence, demo_frame: NDArray[np.uint8]) -> None:
    middle = demo_frame.shape[1] / 2
    for kind in (found.poses, found.faces):
        sure = kind.score >= SURE
        assert sure.any()
        assert (kind.box[sure, 0] > middle).all()
    right = found.hints(least=SURE)
    assert len(right) >= 3
    assert (right[:, 0] > middle).all()


@pytest.mark.weights
def test_her_body_is_segmented(found: PersonEvidence, demo_frame: NDArray[np.uint8]) -> None:
    assert found.pose_map.shape == found.tiled_map.shape == demo_frame.shape[:2]
    assert found.pose_map.dtype == found.tiled_map.dtype == np.float32
    left, top, right, bottom = found.faces.box[0].astype(int)
    assert found.pose_map[top:bottom, left:right].mean() > 0.6
    below = found.pose_map[bottom + (bottom - top) : bottom + 2 * (bottom - top), left:right]
    assert below.size > 100
    assert below.mean() > 0.6  # the chest
    side = (right - left) // 2
    assert found.pose_map[top : top + side, left - 2 * side : left - side].mean() < 0.3  # the wall


@pytest.mark.weights
def test_detections_keep_their_order_and_bounds(found: PersonEvidence) -> None:
    for kind in (found.poses, found.faces):
        assert (np.diff(kind.score) <= 0).all()
        assert ((kind.score > 0.2) & (kind.score <= 1)).all()
        assert (kind.box[:, 2:] > kind.box[:, :2]).all()


@pytest.mark.weights
def test_she_is_found_in_any_tile_of_a_larger_picture(
    nets: PersonNets, demo_frame: NDArray[np.uint8]
) -> None:
    """Small, and in one tile: the tile's place is added to what is found in it."""
    height, width = demo_frame.shape[:2]
    large = np.full((2 * height, 2 * width, 3), 90, dtype=np.uint8)
    large[:height, :width] = demo_frame
    moved = np.full_like(large, 90)
    moved[height:, width:] = demo_frame
    box = nets.find(large).faces.box[0]
    other = nets.find(moved).faces.box[0]
    assert width / 2 < box[0] < box[2] < width
    np.testing.assert_allclose(other - [width, height, width, height], box, atol=0.03 * height)


@pytest.mark.weights
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (17, 31)])
def test_odd_pictures(nets: PersonNets, size: tuple[int, int]) -> None:
    rgb = np.random.default_rng(8).integers(0, 256, (*size, 3), dtype=np.uint8)
    result = nets.find(rgb)
    assert result.pose_map.shape == result.tiled_map.shape == size
    assert np.isfinite(result.tiled_map).all()
    assert 0 <= result.tiled_map.min() <= result.tiled_map.max() <= 1


# --- files ---


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"pose_detection\.tflite: not there"):
        PersonNets.from_folder(tmp_path)
    (tmp_path / "pose_detection.tflite").write_bytes(b"no network")
    with pytest.raises(WeightsError, match=r"pose_detection\.tflite: not a TFLite file"):
        PersonNets.from_folder(tmp_path)
