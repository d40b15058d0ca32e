"""Opening a media file, the errors it can give, and the clock that picture and sound share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from moca_core.errors import MediaError, NoAudioError, NoVideoError

_MIB = 2**20
_WHOLE_HASH_LIMIT = 64 * _MIB
_HASH_SAMPLES = 8


@dataclass(frozen=True)
class AudioInfo:
    """The sound track of a clip: codec name, sample rate in Hz, number of channels."""

    codec: str
    rate_hz: int
    channels: int


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open `path` for the length of a `with` block; raises `MediaError` as `open_container`."""
    container = open_container(path)
    try:
        yield container
    finally:
        container.close()


def open_container(path: Path) -> InputContainer:
    """Open a media file; the caller closes it.

    Raises
    ------
    MediaError : it is missing, a folder, empty, not readable, or not a media file.
    """
    path = Path(path)
    check_readable(path)
    try:
        # Titles in an odd encoding must not keep a clip from opening.
        return av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(
            f"{path.name}: not a media file, or damaged beyond reading ({_words(error)})",
            "Check that it plays elsewhere, or convert it again from its source.",
        ) from error


def check_readable(path: Path) -> None:
    """Raise `MediaError` unless `path` is a file with content that may be read."""
    try:
        if path.is_dir():
            raise MediaError(
                f"{path}: a folder, not a clip", "Choose one of the files inside the folder."
            )
        if path.exists() and not path.is_file():
            # Reading a pipe or a device could wait forever.
            raise MediaError(f"{path}: a pipe or a device, not a file", "Save it as a file first.")
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except FileNotFoundError as error:
        raise MediaError(
            f"{path}: no such file", "It may have been moved or renamed; choose it again."
        ) from error
    except PermissionError as error:
        raise MediaError(
            f"{path}: no permission to read it", "Change the file's permissions, or copy it."
        ) from error
    except OSError as error:
        raise MediaError(
            f"{path}: can't be read ({error.strerror or error})",
            "Check the disk or the network drive that holds it.",
        ) from error
    if empty:
        raise MediaError(
            f"{path.name}: the file is empty (0 bytes)",
            "The copy or download may have failed; fetch it again.",
        )


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The moving picture of the file; raises `NoVideoError` (a cover picture isn't one)."""
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None
    ]
    if not streams:
        has_sound = find_audio_stream(container) is not None
        raise NoVideoError(
            f"{path.name}: has sound only, no picture" if has_sound else f"{path.name}: no picture",
            "Choose a file with a video track.",
        )
    best = container.streams.best("video")
    return best if best in streams else streams[0]


def find_audio_stream(container: InputContainer) -> AudioStream | None:
    """The main sound track, None without one."""
    streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if not streams:
        return None
    best = container.streams.best("audio")
    return best if best in streams else streams[0]


def audio_stream(container: InputContainer, path: Path) -> AudioStream:
    """The main sound track; raises `NoAudioError` without one."""
    stream = find_audio_stream(container)
    if stream is None:
        raise NoAudioError(f"{path.name}: no audio track", "Masks of this clip will be empty.")
    return stream


def audio_info(container: InputContainer) -> AudioInfo | None:
    """Facts of the main sound track, None without one."""
    stream = find_audio_stream(container)
    if stream is None:
        return None
    context = stream.codec_context
    return AudioInfo(
        context.codec.canonical_name, int(context.sample_rate or 0), int(context.channels or 0)
    )


def clock_zero(path: Path) -> float:
    """Time stamp in seconds at which the clip's clock reads 0.

    It is the earlier of the first picture and the first sample that come *out of the decoders*:
    priming samples of AAC and Opus, and what an edit list cuts off, don't count.

    Raises
    ------
    MediaError : the file can't be opened.
    """
    starts = [_first_output_s(path, kind) for kind in ("video", "audio")]
    return min((start for start in starts if start is not None), default=0.0)


def _first_output_s(path: Path, kind: str) -> float | None:
    with opened(path) as container:
        try:
            stream = (
                video_stream(container, path) if kind == "video" else audio_stream(container, path)
            )
        except MediaError:
            return None
        for packet in safe_demux(container, stream):
            try:
                for frame in packet.decode():
                    if frame.pts is not None and frame.time_base:
                        return float(frame.pts * frame.time_base)
                    return None
            except av.FFmpegError:
                continue  # damaged; the next one may do
    return None


def safe_demux(
    container: InputContainer, *streams: VideoStream | AudioStream
) -> Iterator[av.Packet]:
    """Packets of `streams` to the end of the file, or to where it can't be read any further."""
    try:
        yield from container.demux(*streams)
    except (av.FFmpegError, IndexError):
        # A truncated file ends here; what was read before is good. PyAV raises IndexError for a
        # damaged file in which a stream turns up that it didn't announce.
        return


def clip_hash(path: Path) -> str:
    """Hash of a file's content, 64 hexadecimal digits.

    SHA-256 over the size and the content; of a file of 64 MiB or more over its first and last
    MiB and 8 MiB spread in between, so that a long clip opens at once.

    Raises
    ------
    MediaError : the file can't be read.
    """
    path = Path(path)
    check_readable(path)
    size = path.stat().st_size
    digest = hashlib.sha256(size.to_bytes(8, "big"))
    with path.open("rb") as stream:
        if size < _WHOLE_HASH_LIMIT:
            while block := stream.read(_MIB):
                digest.update(block)
            return digest.hexdigest()
        parts = _HASH_SAMPLES + 2
        for part in range(parts):
            stream.seek((size - _MIB) * part // (parts - 1))
            digest.update(stream.read(_MIB))
    return digest.hexdigest()


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error).lower()
