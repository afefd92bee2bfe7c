"""A still as the CLIP image tower of DynamiCrafter sees it."""

import torch
import torch.nn.functional as F
from torch import Tensor

#: Mean and standard deviation of CLIP's training pictures (Radford et al. 2021).
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(images: Tensor, size: int = 224) -> Tensor:
    """Return pictures stretched to a square and normalised; as :func:`stretched`."""
    images = stretched(images, size)
    mean, std = (images.new_tensor(numbers).view(1, 3, 1, 1) for numbers in (_MEAN, _STD))
    return (images - mean) / std


def stretched(images: Tensor, size: int = 224) -> Tensor:
    """Return pictures stretched to a square, whole, not cropped.

    The released model was trained behind kornia's resize: a Gaussian blur where the picture
    shrinks, then bicubic interpolation that maps corner pixels onto corner pixels.

    Args:
        images: ``[B, 3, H, W]`` in 0..1.
        size: Side of the square.

    Returns:
        ``[B, 3, size, size]``, float32, about 0..1 (bicubic overshoots).

    Raises:
        ValueError: If the shape is another.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"pictures must be [B, 3, H, W]; got {tuple(images.shape)}")
    images = images.float()
    factors = [side / size for side in images.shape[-2:]]
    if max(factors) > 1:
        for axis, factor in zip((2, 3), factors, strict=True):
            images = _blur(images, axis, max((factor - 1) / 2, 0.001))
    return F.interpolate(images, (size, size), mode="bicubic", align_corners=True)


def _blur(images: Tensor, axis: int, sigma: float) -> Tensor:
    """Blur along one axis with a Gaussian of four sigmas, mirrored at the borders."""
    taps = int(max(4 * sigma, 3)) // 2 * 2 + 1
    places = torch.arange(taps, device=images.device, dtype=torch.float32) - taps // 2
    kernel = torch.exp(-places.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, taps)
    rows = images.movedim(axis, -1)
    padded = F.pad(rows.reshape(-1, 1, rows.shape[-1]), (taps // 2, taps // 2), mode="reflect")
    return F.conv1d(padded, kernel).view(rows.shape).movedim(-1, axis)
