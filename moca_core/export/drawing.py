"""Masks, outlines and words drawn on a picture, the same in the overlay video and the sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from moca_core.types import FrameResult, Mask, RgbImage, SoundingObject

Colour = tuple[int, int, int]

# Okabe & Ito 2008 without black, which is lost on dark pictures.
OBJECT_COLOURS: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)
INK: Colour = (240, 240, 240)
PAPER: Colour = (22, 22, 24)
_TINT = 0.45
_HEAT = 0.75
"""Weight of a map's colours against the grey picture beneath them."""


def colour_of(number: int) -> Colour:
    """Colour of the object with this number, from 1; they repeat after seven."""
    return OBJECT_COLOURS[(number - 1) % len(OBJECT_COLOURS)]


def draw_result(picture: RgbImage, result: FrameResult) -> None:
    """Draw the objects of a frame on (H, W, 3) uint8 `picture`, which may have any size.

    Each has a tint, an outline, its number and its name: never colour alone.
    """
    size = picture.shape[1], picture.shape[0]
    shown = [(item, _scaled(item.mask, size)) for item in result.objects]
    for item, mask in shown:
        tint(picture, mask, colour_of(item.number))
    for item, mask in shown:
        outline(picture, mask, colour_of(item.number))
    text_px = text_size(picture.shape[0])
    for item, mask in shown:
        _label(picture, item, mask, text_px)


def text_size(height: int) -> int:
    """Size of labels in pixels that reads well in a picture of this height."""
    return int(np.clip(height // 28, 12, 30))


def _scaled(mask: Mask, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) uint8, 0 or 1, at (width, height) `size`."""
    values = np.ascontiguousarray(mask).view(np.uint8)
    if mask.shape == size[::-1]:
        return values
    grown = cv2.resize(values * np.uint8(255), size, interpolation=cv2.INTER_LINEAR)
    return (np.asarray(grown) > 127).view(np.uint8)


def _box(mask: NDArray[np.uint8], margin: int = 0) -> tuple[slice, slice] | None:
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return None
    return (
        slice(max(top - margin, 0), top + height + margin),
        slice(max(left - margin, 0), left + width + margin),
    )


def tint(picture: RgbImage, mask: NDArray[np.uint8], colour: Colour) -> None:
    """Mix a colour into (H, W, 3) `picture` where (H, W) `mask` isn't 0."""
    box = _box(mask)
    if box is None:
        return
    part = picture[box]
    flat = np.full_like(part, colour)
    mixed = cv2.addWeighted(np.ascontiguousarray(part), 1 - _TINT, flat, _TINT, 0)
    np.copyto(part, mixed, where=mask[box][..., None] > 0)


def outline(picture: RgbImage, mask: NDArray[np.uint8], colour: Colour) -> None:
    """Draw the border of (H, W) `mask` on (H, W, 3) `picture`."""
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    width = max(2, round(picture.shape[0] / 240))
    # A dark rim keeps a light line visible on a light picture.
    cv2.drawContours(picture, contours, -1, PAPER, width + 2, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, colour, width, cv2.LINE_AA)


def _label(picture: RgbImage, item: SoundingObject, mask: NDArray[np.uint8], text_px: int) -> None:
    box = _box(mask)
    if box is None:
        return
    words = f"{item.number} {item.name} {item.score:.2f}"
    tag = label(words, text_px, colour_of(item.number))
    rows, columns = box
    y = rows.start - tag.shape[0] - 2
    if y < 0:
        y = rows.start + 2
    paste(picture, tag, (columns.start, y), keep_inside=True)


@lru_cache(maxsize=256)
def label(words: str, text_px: int, edge: Colour) -> NDArray[np.uint8]:
    """(h, w, 4) uint8 RGBA tag with `words` on a dark ground and a coloured edge."""
    text = write(words, text_px, INK)
    pad = max(2, text_px // 4)
    height, width = text.shape[0] + 2 * pad, text.shape[1] + 2 * pad + pad
    tag = np.empty((height, width, 4), np.uint8)
    tag[...] = (*PAPER, 200)
    tag[:, :pad] = (*edge, 255)
    paste(tag, text, (2 * pad, pad))
    tag.setflags(write=False)
    return tag


@lru_cache(maxsize=512)
def write(words: str, text_px: int, ink: Colour) -> NDArray[np.uint8]:
    """(h, w, 4) uint8 RGBA picture of a line of text, all lines of a size equally high."""
    font = ImageFont.load_default(text_px)
    width = max(1, round(font.getlength(words)))
    image = Image.new("L", (width, text_px + text_px // 3))
    ImageDraw.Draw(image).text((0, 0), words, font=font, fill=255)
    picture = np.empty((*image.size[::-1], 4), np.uint8)
    picture[..., :3] = ink
    picture[..., 3] = np.asarray(image)
    picture.setflags(write=False)
    return picture


def paste(
    picture: NDArray[np.uint8],
    top: NDArray[np.uint8],
    place: tuple[int, int],
    keep_inside: bool = False,
) -> None:
    """Blend (h, w, 4) RGBA `top` onto `picture` (RGB or RGBA) at (x, y); the rest is cut off."""
    x, y = place
    if keep_inside:
        x = max(0, min(x, picture.shape[1] - top.shape[1]))
        y = max(0, min(y, picture.shape[0] - top.shape[0]))
    left, upper = max(-x, 0), max(-y, 0)
    part = picture[max(y, 0) : y + top.shape[0], max(x, 0) : x + top.shape[1]]
    top = top[upper : upper + part.shape[0], left : left + part.shape[1]]
    if not top.size:
        return
    weight = top[..., 3:].astype(np.uint16)
    mixed = part[..., :3] * (255 - weight) + top[..., :3] * weight
    part[..., :3] = (mixed // 255).astype(np.uint8)
    if part.shape[2] == 4:
        part[..., 3:] = np.maximum(part[..., 3:], top[..., 3:])


def viridis(shares: NDArray[np.floating]) -> RgbImage:
    """Values (...) from 0 to 1 as colours (..., 3) uint8 RGB; those outside as 0 or 1."""
    levels = np.clip(np.rint(shares * 255), 0, 255).astype(np.uint8)
    flat = cv2.applyColorMap(levels.reshape(-1, 1), cv2.COLORMAP_VIRIDIS)
    return np.ascontiguousarray(flat.reshape(*levels.shape, 3)[..., ::-1])


def heat(picture: RgbImage, shares: NDArray[np.floating]) -> RgbImage:
    """(H, W, 3) uint8: a map (h, w) from 0 to 1 over the greyed picture, in fields of colour."""
    size = picture.shape[1], picture.shape[0]
    fields = cv2.resize(viridis(shares), size, interpolation=cv2.INTER_NEAREST)
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(fields, _HEAT, grey, 1 - _HEAT, 0), np.uint8)


def clock(time_s: float) -> str:
    """`0:04.56`: minutes, seconds and hundredths."""
    hundredths = round(time_s * 100)
    return f"{hundredths // 6000}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"


def heard_words(result: FrameResult) -> str:
    """What a frame's line says: the reason it is empty, and the names that were heard."""
    names = ", ".join(name for name, _ in result.heard[:3])
    heard = f"hears {names}" if names else ""
    return "; ".join(part for part in (result.reason, heard) if part)


def shortened(words: str, text_px: int, width: int) -> str:
    """`words`, cut with an ellipsis if they are wider than `width` pixels."""
    font = ImageFont.load_default(text_px)
    if font.getlength(words) <= width:
        return words
    for cut in _cuts(words):
        if font.getlength(cut) <= width:
            return cut
    return ""


def _cuts(words: str) -> Iterator[str]:
    for length in range(len(words) - 1, 0, -1):
        yield words[:length].rstrip(" ,;") + "..."


def envelope_picture(
    low: Sequence[float] | NDArray, high: Sequence[float] | NDArray, height: int, ink: Colour
) -> RgbImage:
    """(height, columns, 3) uint8: a waveform from its lowest and highest samples in [-1, 1]."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    # Quiet clips are stretched, but noise of near silence isn't blown up to full height.
    loudest = max(float(np.abs(low).max(initial=0)), float(np.abs(high).max(initial=0)), 0.05)
    middle = (height - 1) / 2
    rows = np.arange(height)[:, None]  # (height, 1) against (columns,)
    above = np.floor(middle - high / loudest * middle)
    below = np.ceil(middle - low / loudest * middle)
    picture = np.empty((height, len(low), 3), np.uint8)
    picture[...] = PAPER
    picture[(rows >= above) & (rows <= below)] = ink
    return picture
