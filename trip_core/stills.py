"""Stills in: pictures as tensors.

Stills are sRGB. Nothing is repaired silently: a damaged file is an error, never a grey half.
"""

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from .sizes import check_still_size

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


def _size_on_disk(path: Path) -> str:
    return f"{path.stat().st_size} bytes"


def one_line(error: BaseException) -> str:
    """Return an error's own words without its number and file name, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
