"""Sizes of stills: which a clip can be made of, and how a still is brought to its clip's."""

import math

import torch.nn.functional as F
from torch import Tensor

#: Shortest side of a still in pixels: below it there is no picture to move.
MIN_SIDE = 16
#: Longest side in pixels: what H.264 and WebP can hold.
MAX_SIDE = 16383
#: Most pixels of a still; checked in the header, before anything is decoded.
MAX_PIXELS = 64_000_000
#: Longest side over shortest side.
MAX_ASPECT = 8.0


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
        ValueError: If the still has no three channels, the wanted size is outside the limits of
            this module or ``fit`` is unknown.
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
