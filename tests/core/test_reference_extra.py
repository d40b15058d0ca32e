"""Against the official packages themselves, where the optional extra `reference` can be imported.

Their published builds want the CUDA build of torch and don't import beside a CPU one (`operator
torchvision::nms does not exist`), so these tests skip in the default installation; the vectors of
`tests/data/reference`, made by the same packages, stand for them there. To run them anywhere, also
without a GPU, in an environment of its own:

    pip install -e ".[dev]"
    pip install --upgrade torch torchvision torchaudio segment-anything
    python -m pytest tests/core/test_reference_extra.py
"""

from __future__ import annotations

import importlib
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from data.make_reference import load
from numpy.typing import NDArray
from sam_tiny import DECODER, VIT, official_state, tiny_sam, vectors
from torch import nn

from moca_core.models.sam import PIXEL_MEAN, PIXEL_STD
from moca_core.pipeline.automatic import automatic_masks
from moca_core.pipeline.proposals import GridSettings

# The same operations, summed in another order: ten times what the vectors' README measured.
LOGITS = 5e-5
IOU = 1e-5
# Of log energies, by the same README; float32 near the floor of a pure tone.
MEL, MEL_MEAN = 2e-3, 1e-4

# Masks of random weights are speckles; a high threshold makes small ones of them, and the rest
# keeps a part at every step.
SETTINGS = GridSettings(
    points_per_side=8,
    points_per_batch=9,
    pred_iou_thresh=0.02,
    stability_score_thresh=0.6,
    stability_score_offset=0.02,
    box_nms_thresh=0.5,
    mask_threshold=1.05,
)


def needs(name: str) -> ModuleType:
    """An optional module; skips with the reason where it is absent, or broken as it may well be."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        pytest.skip(f"{name} can't be imported here: {type(error).__name__}: {error}")


@pytest.fixture(scope="module")
def official() -> Any:
    """The official small model with the same weights."""
    modeling = needs("segment_anything").modeling
    encoder = modeling.ImageEncoderViT(
        img_size=VIT.image,
        patch_size=16,
        embed_dim=VIT.width,
        depth=VIT.depth,
        num_heads=VIT.heads,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=VIT.global_blocks,
        window_size=VIT.window,
        out_chans=VIT.channels,
    )
    prompts = modeling.PromptEncoder(
        embed_dim=DECODER.width,
        image_embedding_size=(DECODER.grid, DECODER.grid),
        input_image_size=(VIT.image, VIT.image),
        mask_in_chans=DECODER.mask_channels,
    )
    decoder = modeling.MaskDecoder(
        num_multimask_outputs=3,
        transformer=modeling.TwoWayTransformer(
            depth=DECODER.depth,
            embedding_dim=DECODER.width,
            mlp_dim=DECODER.mlp,
            num_heads=DECODER.heads,
        ),
        transformer_dim=DECODER.width,
        iou_head_depth=3,
        iou_head_hidden_dim=DECODER.iou_hidden,
    )
    model = modeling.Sam(encoder, prompts, decoder, list(PIXEL_MEAN), list(PIXEL_STD))
    model.load_state_dict(official_state(vectors()))
    return model.eval().requires_grad_(False)


def picture(rows: int, columns: int) -> NDArray[np.uint8]:
    photo = load("photo")["input.image"].numpy()
    return np.ascontiguousarray(photo[20 : 20 + rows, 60 : 60 + columns])


@pytest.mark.parametrize("multimask", [True, False], ids=["multi1", "multi0"])
@pytest.mark.parametrize("size", [(200, 300), (231, 90), (64, 64), (17, 301)])
def test_sam_predictor(official: Any, size: tuple[int, int], multimask: bool) -> None:
    """Pictures of any shape, from their bytes to logits at their own size."""
    rgb = picture(*size)
    predictor = needs("segment_anything").SamPredictor(official)
    predictor.set_image(rgb)
    ours = tiny_sam()
    embedding = ours.embed(rgb)
    difference = (embedding.features - predictor.get_image_embedding()).abs().max()
    assert float(difference) < LOGITS
    height, width = size
    points = np.array([[0.3 * width, 0.6 * height], [0.8 * width, 0.1 * height]])
    labels = np.array([1, 0])
    box = np.array([0.1 * width, 0.2 * height, 0.9 * width, 0.7 * height])
    for with_points, with_box in ((True, False), (False, True), (True, True)):
        masks, iou, low = predictor.predict(
            points if with_points else None,
            labels if with_points else None,
            box if with_box else None,
            multimask_output=multimask,
            return_logits=True,
        )
        square, quality = ours.decode_square(
            embedding,
            points[None].astype(np.float32) if with_points else None,
            labels[None] if with_points else None,
            box[None].astype(np.float32) if with_box else None,
            multimask,
        )
        np.testing.assert_allclose(square[0].numpy(), low, rtol=0, atol=LOGITS)
        np.testing.assert_allclose(quality[0].numpy(), iou, rtol=0, atol=IOU)
        large = ours.enlarge(square, embedding)[0].numpy()
        np.testing.assert_allclose(large, masks, rtol=0, atol=LOGITS)


@pytest.mark.parametrize("size", [(90, 130), (200, 300), (231, 90)])
def test_sam_automatic_masks(
    official: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same masks in the same order, with the same numbers beside each."""
    monkeypatch.setattr(official, "mask_threshold", SETTINGS.mask_threshold, raising=False)
    rgb = picture(*size)
    generator = needs("segment_anything").SamAutomaticMaskGenerator(
        official,
        points_per_side=SETTINGS.points_per_side,
        points_per_batch=SETTINGS.points_per_batch,
        pred_iou_thresh=SETTINGS.pred_iou_thresh,
        stability_score_thresh=SETTINGS.stability_score_thresh,
        stability_score_offset=SETTINGS.stability_score_offset,
        box_nms_thresh=SETTINGS.box_nms_thresh,
    )
    expected = generator.generate(rgb)
    ours = tiny_sam()
    steps = automatic_masks(ours, ours.embed(rgb), SETTINGS)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found = end.value
            break
    assert len(found) == len(expected) > 2
    corners = found.boxes.copy()
    corners[:, 2:] -= corners[:, :2]
    np.testing.assert_array_equal(corners, [row["bbox"] for row in expected])
    np.testing.assert_array_equal(found.areas, [row["area"] for row in expected])
    np.testing.assert_allclose(found.quality, [row["predicted_iou"] for row in expected], atol=IOU)
    stability = [row["stability_score"] for row in expected]
    np.testing.assert_allclose(found.stability, stability, atol=1e-6)
    points = [row["point_coords"][0] for row in expected]
    np.testing.assert_allclose(found.points, points, atol=1e-3)


def test_the_official_settings_are_the_defaults() -> None:
    import inspect

    made = inspect.signature(needs("segment_anything").SamAutomaticMaskGenerator).parameters
    names = set(GridSettings.__dataclass_fields__) - {"mask_threshold"}
    assert {name: made[name].default for name in names} == {
        name: getattr(GridSettings(), name) for name in names
    }


@pytest.mark.parametrize("samples", [400, 5_000, 32_000, 40_123])
def test_kaldi_fbank(samples: int) -> None:
    """The call that ImageBind makes, on noise, a tone and near silence."""
    kaldi = needs("torchaudio.compliance.kaldi")
    from moca_core.models.fbank import log_mel

    noise = torch.randn(samples, generator=torch.Generator().manual_seed(samples))
    tone = torch.sin(2 * torch.pi * 440 / 16_000 * torch.arange(samples))
    for wave in (0.3 * noise, 0.5 * tone + 0.01 * noise, 3e-5 * noise + 0.1):
        expected = kaldi.fbank(
            (wave - wave.mean())[None],
            htk_compat=True,
            sample_frequency=16_000,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=128,
            dither=0.0,
            frame_length=25,
            frame_shift=10,
        )
        found = log_mel(wave)
        assert found.shape == expected.shape
        difference = (found - expected).abs()
        assert float(difference.max()) < MEL
        assert float(difference.mean()) < MEL_MEAN
