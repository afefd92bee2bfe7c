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
from torch import Tensor

#: Shortest side of a still in pixels: below it there is no picture to move.
MIN_SIDE = 16
#: Longest side in pixels: what H.264 and WebP can hold.
MAX_SIDE = 16383
#: Most pixels of a still; checked in the header, before anything is decoded.
MAX_PIXELS = 64_000_000
#: Longest side over shortest side.
MAX_ASPECT = 8.0

#: What Pillow's decoders raise for a file that ends too early or is damaged inside.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error)


def read_still(
    path: str | os.PathLike[str], background: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Tensor:
    """Read a picture as the still of a clip.

    The camera's orientation tag is followed, palettes are looked up, 16-bit greys keep their
    range, transparent pixels are composited over ``background``. Of an animation the first frame
    is taken.

    Args:
        path: A file of a format that Pillow reads (PNG, JPEG, WebP, TIFF, BMP, GIF ...).
        background: Colour behind transparent pixels, RGB, each 0..1.

    Returns:
        The still, ``[3, H, W]``, float32, 0..1.

    Raises:
        ValueError: If the file is missing, not a picture, damaged, or of a size that no clip can
            be made of; one sentence that names the file.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            # Pillow's own size limits speak in two ways; MAX_PIXELS below is the one that counts.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; give the path of a picture") from None
    except UnidentifiedImageError:
        raise ValueError(
            f"{path} is not a picture that can be read ({_size_on_disk(path)}); "
            "give a PNG, JPEG, WebP, TIFF, BMP or GIF file"
        ) from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} has too many pixels ({error}); scale it down") from None
    except _BROKEN as error:
        raise ValueError(f"{path} could not be opened: {one_line(error)}") from None
    with picture:
        check_still_size(picture.height, picture.width, str(path))
        if picture.mode == "F":
            raise ValueError(
                f"{path} has floating point pixels, which have no agreed range; save it with 8 or "
                "16 bit"
            )
        try:
            picture.load()
            picture = ImageOps.exif_transpose(picture)
            pixels = _rgb(picture, background)
        except _BROKEN as error:
            raise ValueError(
                f"{path} is a damaged or truncated {picture.format or 'picture'} "
                f"({one_line(error)}); copy or download it again"
            ) from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()  # [3, H, W]


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
    nearest = "{1}x{0}".format(*_nearest_size(height, width))
    if short < MIN_SIDE:
        raise ValueError(
            f"{what}; both sides must have at least {MIN_SIDE}, make it {nearest} or larger"
        )
    if long > MAX_ASPECT * short:
        raise ValueError(
            f"{what}, {long / short:.0f} times longer than wide; "
            f"at most {MAX_ASPECT:.0f} times can be animated, crop it to {nearest}"
        )
    if long > MAX_SIDE or height * width > MAX_PIXELS:
        raise ValueError(
            f"{what}; at most {MAX_SIDE} a side and {MAX_PIXELS // 1_000_000} megapixels "
            f"can be animated, scale it down to {nearest}"
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


def _rgb(picture: Image.Image, background: tuple[float, float, float]) -> np.ndarray:
    """Return ``[H, W, 3]`` float32 0..1 of any Pillow mode."""
    if picture.mode.startswith("I"):
        # 16-bit greys; convert("RGB") would clip them at 255.
        grey = np.clip(np.asarray(picture).astype(np.float32) / 65535, 0, 1)
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.has_transparency_data:
        rgba = np.asarray(picture.convert("RGBA"), dtype=np.float32) / 255
        alpha = rgba[..., 3:]
        return rgba[..., :3] * alpha + np.asarray(background, np.float32) * (1 - alpha)
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / 255


def _tile(frame: Tensor, height: int) -> Image.Image:
    picture = Image.fromarray(to_bytes(frame.detach().cpu().clamp(0, 1)))
    return picture.resize((max(1, round(picture.width * height / picture.height)), height))


def _nearest_size(height: int, width: int) -> tuple[int, int]:
    """Return height and width of what can be animated that is nearest to a size that cannot."""
    short = max(min(height, width), 1)
    long = min(max(height, width, short), int(MAX_ASPECT * short))  # cropped
    if short < MIN_SIDE:
        short, long = MIN_SIDE, round(long * MIN_SIDE / short)
    down = min(MAX_SIDE / long, math.sqrt(MAX_PIXELS / (short * long)), 1.0)
    short, long = int(short * down), int(long * down)
    long = min(long, int(MAX_ASPECT * short))
    return (long, short) if height > width else (short, long)


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))


def _size_on_disk(path: Path) -> str:
    return f"{path.stat().st_size} bytes"


def one_line(error: BaseException) -> str:
    """Return an error's own words without its number and file name, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
