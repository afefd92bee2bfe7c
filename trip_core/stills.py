"""Stills in: pictures as tensors, with every size that no clip can be made of refused.

Stills are sRGB. Nothing is repaired silently: a damaged file is an error, never a grey half.
"""

import math
import os
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

#: Shortest side of a still in pixels: below it there is no picture to move.
MIN_SIDE = 16
#: Longest side in pixels: what H.264 and WebP can hold.
MAX_SIDE = 16383
#: Most pixels of a still; checked in the header, before anything is decoded.
MAX_PIXELS = 64_000_000
#: Longest side over shortest side.
MAX_ASPECT = 8.0

#: What is read, by Pillow's names, what has no signature of its own last. Formats whose readers
#: start other programs (EPS), and those that no still comes in, are left out.
_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PSD", "JPEG2000", "PPM", "TGA")
#: What Pillow's decoders raise for a file that ends too early or is damaged inside.
BROKEN = (OSError, SyntaxError, ValueError, RuntimeError, EOFError, zlib.error, struct.error)
#: TIFF's tags.
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339


def read_still(
    path: str | os.PathLike[str], background: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Tensor:
    """Read a picture as the still of a clip.

    The camera's orientation tag is followed, palettes are looked up, greys of 16 and 32 bit keep
    their range, transparent pixels are composited over ``background``. Of an animation the first
    frame is taken.

    Args:
        path: A PNG, JPEG, WebP, AVIF (where Pillow has it), TIFF, BMP, GIF, PSD, JPEG 2000, PPM
            or TGA file.
        background: Colour behind transparent pixels, RGB, each 0..1.

    Returns:
        The still, ``[3, H, W]``, float32, 0..1.

    Raises:
        ValueError: If the file is missing, not a picture, damaged, or of a size that no clip can
            be made of; one sentence that names the file.
    """
    path = Path(path)
    try:
        picture = open_picture(path)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; give the path of a picture") from None
    except UnidentifiedImageError:
        raise ValueError(
            f"{path} is not a picture that can be read ({_size_on_disk(path)}); "
            "give a PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF, PSD, JPEG 2000, PPM or TGA file"
        ) from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} has too many pixels ({error}); scale it down") from None
    except BROKEN as error:
        raise ValueError(f"{path} could not be opened: {one_line(error)}") from None
    with picture:
        check_still_size(picture.height, picture.width, str(path))
        if kind := _without_range(picture):
            raise ValueError(
                f"{path} has {kind} pixels, which have no agreed range; save it with 8 or 16 bit"
            )
        try:
            white = _white(picture)
            picture.load()
            picture = ImageOps.exif_transpose(picture)
            pixels = _rgb(picture, background, white)
        except BROKEN as error:
            raise ValueError(
                f"{path} is a damaged or truncated {picture.format or 'picture'} "
                f"({one_line(error)}); copy or download it again"
            ) from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()  # [3, H, W]


def open_picture(path: Path) -> Image.Image:
    """Open a picture of the formats that are read; its pixels are not decoded yet.

    Raises:
        UnidentifiedImageError: If it is none of them.
        Exception: One of ``BROKEN``, if it is damaged, or Pillow's if it has far too many pixels.
    """
    Image.init()
    with warnings.catch_warnings():
        # Pillow's own size limits speak in two ways; MAX_PIXELS is the one that counts.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN])


def read_mask(path: str | os.PathLike[str]) -> Tensor:
    """Read a picture as a mask, ``[1, H, W]`` in 0..1: white is 1, black and transparent are 0.

    Errors as :func:`read_still`'s.
    """
    return read_still(path, background=(0.0, 0.0, 0.0)).mean(0, keepdim=True)


def check_still_size(height: int, width: int, name: str = "the still") -> None:
    """Refuse sizes no clip can be made of.

    Args:
        height: Pixels.
        width: Pixels.
        name: What the sentence calls the picture.

    Raises:
        ValueError: If a side, the area or the aspect is outside the limits of this module.
    """
    what = f"{name} is {width}x{height} pixels"
    short, long = min(height, width), max(height, width)
    nearest = [f"{size[1]}x{size[0]}" for size in _nearest_sizes(height, width)]
    if short < MIN_SIDE:
        raise ValueError(
            f"{what}; both sides must have at least {MIN_SIDE}, "
            f"make it {', '.join(nearest)} or larger"
        )
    if long > MAX_ASPECT * short:
        raise ValueError(
            f"{what}, {long / short:.0f} times longer than wide; "
            f"at most {MAX_ASPECT:.0f} times can be animated, "
            f"crop it to {nearest[0]} or scale it to {nearest[-1]}"
        )
    if long > MAX_SIDE or height * width > MAX_PIXELS:
        raise ValueError(
            f"{what}; at most {MAX_SIDE} a side and {MAX_PIXELS // 1_000_000} megapixels "
            f"can be animated, scale it down to {nearest[0]}"
        )


def fit_still(still: Tensor, size: int | tuple[int, int] | None, fit: str = "crop") -> Tensor:
    """Bring a still to the size of its clip.

    Args:
        still: ``[3, H, W]``, 0..1.
        size: Length of the short side (the aspect is kept, sides are rounded to even numbers),
            or ``(height, width)``, or None for the still as it is. Pixels.
        fit: For ``(height, width)`` of another aspect: "crop" scales to cover and cuts the
            middle, "stretch" changes the aspect.

    Returns:
        ``[3, height, width]``, 0..1; ``still`` itself when it has that size already.

    Raises:
        ValueError: If the wanted size is outside the limits of this module or ``fit`` is unknown.
    """
    if still.ndim != 3 or still.shape[0] != 3:
        raise ValueError(f"still must be [3, H, W]; got {tuple(still.shape)}")
    if fit not in ("crop", "stretch"):
        raise ValueError(f'fit must be "crop" or "stretch"; got {fit!r}')
    have_height, have_width = still.shape[1:]
    if size is None:
        size = (have_height, have_width)
    elif isinstance(size, int):
        scale = size / min(have_height, have_width)
        size = (_even(have_height * scale), _even(have_width * scale))
    height, width = size
    check_still_size(height, width, "the wanted size")
    if (height, width) == (have_height, have_width):
        return still
    scaled = (height, width)
    if fit == "crop":
        cover = max(height / have_height, width / have_width)
        scaled = (
            max(height, round(have_height * cover)),
            max(width, round(have_width * cover)),
        )
    resized = F.interpolate(
        still.unsqueeze(0), size=scaled, mode="bicubic", antialias=True, align_corners=False
    )[0].clamp(0, 1)
    top, left = (scaled[0] - height) // 2, (scaled[1] - width) // 2
    return resized[:, top : top + height, left : left + width].contiguous()


def fit_mask(mask: Tensor, size: int | tuple[int, int] | None, fit: str = "crop") -> Tensor:
    """Bring a mask over a still, ``[1, H, W]``, to its clip's size, as :func:`fit_still` does."""
    return fit_still(mask.expand(3, -1, -1), size, fit)[:1]


def contact_sheet(
    rows: Sequence[Sequence[Tensor]], labels: Sequence[str], height: int = 128
) -> Image.Image:
    """Draw clips as rows of frames, each row under its label.

    Args:
        rows: Per row the frames to show, each ``[3, H, W]``, 0..1.
        labels: One line of text a row, e.g. the prompt.
        height: Height of a frame on the sheet, pixels; the aspect is kept.

    Returns:
        The sheet, an RGB picture.

    Raises:
        ValueError: If there are no rows, an empty row, or as many labels as rows are not given.
    """
    if not rows or not all(len(row) for row in rows) or len(rows) != len(labels):
        raise ValueError(
            f"a contact sheet needs rows of at least one frame and one label each; "
            f"got {len(rows)} rows of {[len(row) for row in rows]} frames and {len(labels)} labels"
        )
    gap, caption = 4, 20
    tiles = [[_tile(frame, height) for frame in row] for row in rows]
    widths = [sum(tile.width + gap for tile in row) + gap for row in tiles]
    sheet = Image.new("RGB", (max(widths), len(rows) * (height + caption + gap) + gap), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    top = gap
    for row, label in zip(tiles, labels, strict=True):
        draw.text((gap, top), label, fill="black", font=font)
        left = gap
        for tile in row:
            sheet.paste(tile, (left, top + caption))
            left += tile.width + gap
        top += height + caption + gap
    return sheet


def to_bytes(frame: Tensor) -> np.ndarray:
    """Return ``[H, W, 3]`` uint8, rounded to the nearest level (truncation darkens by half)."""
    return (frame * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _without_range(picture: Image.Image) -> str | None:
    """Return the kind of a picture's pixels if nothing says which of them is white."""
    if picture.mode == "F":
        return "floating point"
    signed = isinstance(picture, TiffImageFile) and 2 in picture.tag_v2.get(_SAMPLE_FORMAT, ())
    return "signed integer" if signed else None


def _white(picture: Image.Image) -> int:
    """Return the level of white of a grey picture of more than 8 bits (mode ``I`` or ``I;16``)."""
    if isinstance(picture, TiffImageFile):
        return 2 ** picture.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0] - 1  # Pillow leaves them as is
    return 65535  # to which Pillow brings those of every other format


def _rgb(picture: Image.Image, background: tuple[float, float, float], white: int) -> np.ndarray:
    """Return ``[H, W, 3]`` float32 0..1 of any Pillow mode; ``white`` is that of ``_white``."""
    if picture.mode.startswith("I"):
        # convert("RGB") would clip at 255. Pillow's 32 bits are signed, the file's are not.
        levels = np.asarray(picture).astype(np.uint32)
        grey = np.clip(levels / white, 0, 1).astype(np.float32)
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.has_transparency_data:
        rgba = np.asarray(picture.convert("RGBA"), dtype=np.float32) / 255
        alpha = rgba[..., 3:]
        return rgba[..., :3] * alpha + np.asarray(background, np.float32) * (1 - alpha)
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / 255


def _tile(frame: Tensor, height: int) -> Image.Image:
    picture = Image.fromarray(to_bytes(frame.detach().cpu().clamp(0, 1)))
    return picture.resize((max(1, round(picture.width * height / picture.height)), height))


def _nearest_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Return the (height, width) nearest to one that cannot be animated, of those that can.

    The first crops the long side, the second (where it is another) stretches the short one.
    """
    short = max(min(height, width), 1)
    long = max(height, width, short)
    cropped = _within(short, min(long, int(MAX_ASPECT * short)))
    stretched = _within(max(short, math.ceil(long / MAX_ASPECT)), long)
    sizes = dict.fromkeys((cropped, stretched))
    return [(b, a) if height > width else (a, b) for a, b in sizes]


def _within(short: int, long: int) -> tuple[int, int]:
    """Scale the sides of a picture that is not too long, until neither is too small or large."""
    if short < MIN_SIDE:
        short, long = MIN_SIDE, round(long * MIN_SIDE / short)
    down = min(MAX_SIDE / long, math.sqrt(MAX_PIXELS / (short * long)), 1.0)
    short, long = int(short * down), int(long * down)
    return short, min(long, int(MAX_ASPECT * short))


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))


def _size_on_disk(path: Path) -> str:
    return f"{path.stat().st_size} bytes"


def one_line(error: BaseException) -> str:
    """Return an error's own words without its number and file name, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
