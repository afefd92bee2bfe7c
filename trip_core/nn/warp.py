"""Backward warping: every frame fetches its pixels from one still.

``out(p) = still(p + u(p))`` with a backward flow ``u`` in pixels; flow 0 returns the still exactly.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Padding = Literal["reflection", "border", "zeros"]
Interpolation = Literal["bilinear", "bicubic", "nearest"]


def pixel_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Return the pixel centres' coordinates, ``[2, H, W]``: x (columns), then y (rows)."""
    y, x = torch.meshgrid(
        torch.arange(height, device=like.device, dtype=torch.float32),
        torch.arange(width, device=like.device, dtype=torch.float32),
        indexing="ij",
    )
    return torch.stack((x, y))


def sample_at(
    image: Tensor,
    positions: Tensor,
    padding: Padding = "reflection",
    mode: Interpolation = "bilinear",
) -> Tensor:
    """Read an image at given positions.

    Args:
        image: ``[B, C, H, W]``.
        positions: Pixel coordinates (x, y) in ``image``, ``[B, 2, h, w]``; the centre of the first
            pixel is (0, 0).
        padding: What lies outside: the mirrored image, its border pixels, or zeros.
        mode: Interpolation.

    Returns:
        ``[B, C, h, w]`` in the image's dtype.
    """
    height, width = image.shape[-2:]
    size = positions.new_tensor([width, height]).view(1, 2, 1, 1)
    # Normalised so that -1 and 1 are the outer edges (align_corners=False).
    grid = ((positions + 0.5) * (2.0 / size) - 1.0).permute(0, 2, 3, 1)
    out = F.grid_sample(image.float(), grid, mode, padding, align_corners=False)
    return out.to(image.dtype)


def warp(
    image: Tensor,
    flow: Tensor,
    padding: Padding = "reflection",
    mode: Interpolation = "bilinear",
) -> Tensor:
    """Warp one image into every frame of a clip.

    Args:
        image: ``[B, C, H, W]``.
        flow: Backward flow in pixels, ``[B, 2, F, H, W]``: x, then y.
        padding: What lies outside of the image.
        mode: Interpolation.

    Returns:
        ``[B, C, F, H, W]``; where the flow is 0, the image's own values.

    Raises:
        ValueError: If image and flow do not share batch, height and width.
    """
    b, c, height, width = image.shape
    if flow.shape[:2] != (b, 2) or flow.shape[-2:] != (height, width):
        raise ValueError(
            f"flow must be [{b}, 2, F, {height}, {width}] to warp an image "
            f"{tuple(image.shape)}; got {tuple(flow.shape)}"
        )
    frames = flow.shape[2]
    positions = pixel_grid(height, width, image) + flow.movedim(2, 1).flatten(0, 1).float()
    repeated = image.unsqueeze(1).expand(-1, frames, -1, -1, -1).flatten(0, 1)
    out = sample_at(repeated, positions, padding, mode)  # [B*F, C, H, W]
    return out.unflatten(0, (b, frames)).movedim(1, 2)
