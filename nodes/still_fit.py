"""The host's IMAGE and MASK as the still of a clip."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..trip_core.stills import check_still_size, fit_still
from .sources import without_alpha

FITS = ("crop", "pad", "stretch", "overscan")


def fit_image(image: Tensor, width: int, height: int, fit: str) -> Tensor:
    """Return the still, ``[3, H, W]`` in 0..1, in the clip's size.

    Args:
        image: IMAGE ``[B, H, W, 3 or 4]``; the first is taken, alpha composited over white.
        width: Pixels; 0 = as the height asks, or the image's own.
        height: Pixels; 0 = as the width asks, or the image's own.
        fit: One of ``FITS``.
    """
    if image.ndim != 4 or not len(image):
        raise ValueError(f"image must be [B, H, W, C]; got {tuple(image.shape)}")
    still = without_alpha(image[0].movedim(-1, 0).float()).clamp(0, 1)
    check_still_size(still.shape[1], still.shape[2])
    size = wanted_size((still.shape[1], still.shape[2]), width, height)
    if fit == "pad":
        return _padded(still, size, "still")
    return fit_still(still, size, "stretch" if fit == "stretch" else "crop")


def fit_mask(mask: Tensor, image: Tensor, still: Tensor, fit: str) -> Tensor:
    """Return a MASK painted on ``image`` as ``[1, 1, H, W]`` over the fitted still."""
    painted = mask[:1] if mask.ndim == 3 else mask[None]
    painted = F.interpolate(painted[None].float(), image.shape[1:3], mode="bilinear")[0]
    size = (still.shape[-2], still.shape[-1])
    rgb = painted.expand(3, -1, -1)
    if fit == "pad":
        return _padded(rgb, size, "mask")[:1][None]
    return fit_still(rgb, size, "stretch" if fit == "stretch" else "crop")[:1][None]


def wanted_size(have: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """Return (height, width) of the clip; a side of 0 follows the other, or stays."""
    if not width and not height:
        return have
    if not width:
        return height, max(2, 2 * round(have[1] * height / have[0] / 2))
    if not height:
        return max(2, 2 * round(have[0] * width / have[1] / 2)), width
    return height, width


def _padded(picture: Tensor, size: tuple[int, int], kind: str) -> Tensor:
    """Scale to fit inside, fill the rest: a still with black, a mask as kept (borders stand)."""
    check_still_size(*size, name="the wanted size")
    height, width = picture.shape[1:]
    scale = min(size[0] / height, size[1] / width)
    inner = (
        max(1, min(size[0], round(height * scale))),
        max(1, min(size[1], round(width * scale))),
    )
    scaled = F.interpolate(picture[None], inner, mode="bicubic", antialias=True)[0].clamp(0, 1)
    out = torch.full((3, *size), 1.0 if kind == "mask" else 0.0)
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    out[:, top : top + inner[0], left : left + inner[1]] = scaled
    return out
