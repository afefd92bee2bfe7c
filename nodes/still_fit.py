"""The host's IMAGE and MASK as the still of a clip."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..trip_core.sizes import check_still_size, fit_still
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


def kept_places(mask: Tensor | None, image: Tensor, still: Tensor, fit: str) -> Tensor | None:
    """Return where the still stays as it is, ``[1, 1, H, W]``; None = nowhere.

    Those are the painted places and the borders of "pad".
    """
    if mask is None:
        if fit != "pad":
            return None
        mask = torch.zeros(image.shape[:3])
    return fit_mask(mask, image, still, fit)


def wanted_size(have: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """Return (height, width) of the clip; a side of 0 follows the other, or stays."""
    if not width and not height:
        return have
    if not width:
        return height, max(2, 2 * round(have[1] * height / have[0] / 2))
    if not height:
        return max(2, 2 * round(have[0] * width / have[1] / 2)), width
    return height, width


def inner_box(
    have: tuple[int, int], size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (first, end) of rows and of columns that a picture fills in a size with borders."""
    scale = min(size[0] / have[0], size[1] / have[1])
    inner = [max(1, min(size[axis], round(have[axis] * scale))) for axis in (0, 1)]
    starts = [(size[axis] - inner[axis]) // 2 for axis in (0, 1)]
    return (starts[0], starts[0] + inner[0]), (starts[1], starts[1] + inner[1])


def _padded(picture: Tensor, size: tuple[int, int], kind: str) -> Tensor:
    """Scale to fit inside, fill the rest: a still with black, a mask as kept (borders stand)."""
    check_still_size(*size, name="the wanted size")
    rows, columns = inner_box((picture.shape[1], picture.shape[2]), size)
    inner = (rows[1] - rows[0], columns[1] - columns[0])
    scaled = F.interpolate(picture[None], inner, mode="bicubic", antialias=True)[0].clamp(0, 1)
    out = torch.full((3, *size), 1.0 if kind == "mask" else 0.0)
    out[:, slice(*rows), slice(*columns)] = scaled
    return out
