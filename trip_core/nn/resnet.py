"""Convolutional blocks on frames. Hidden states are ``[B, F, H, W, C]`` in memory order."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from . import layers


def as_images(x: Tensor) -> Tensor:
    """View ``[B, F, H, W, C]`` as channels-last images ``[B F, C, H, W]``."""
    return x.flatten(0, 1).movedim(-1, 1)


def as_frames(images: Tensor, num_frames: int) -> Tensor:
    """View channels-last images ``[B F, C, H, W]`` as ``[B, F, H, W, C]``."""
    # contiguous() copies only where a convolution chose another layout than its input's.
    return images.movedim(1, -1).contiguous().unflatten(0, (-1, num_frames))


class ResBlock(nn.Module):
    """Two norm-SiLU-convolution pairs with the timestep added between them, and a shortcut.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        time_channels: Width of the timestep embedding.
        num_groups: Groups of the group norms.
        eps: Epsilon of the group norms.
        ops: Namespace that layers are taken from.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_channels: int,
        num_groups: int = 32,
        eps: float = 1e-5,
        ops: Any = layers,
    ) -> None:
        super().__init__()
        self.norm1 = ops.GroupNorm(num_groups, in_channels, eps=eps)
        self.conv1 = ops.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = ops.Linear(time_channels, out_channels)
        self.norm2 = ops.GroupNorm(num_groups, out_channels, eps=eps)
        self.conv2 = ops.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = (
            ops.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        )

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map ``[B, F, H, W, C]`` to ``[B, F, H, W, C']``.

        Args:
            x: Hidden states.
            time: SiLU of the timestep embedding, ``[B, T]``.
        """
        images = as_images(x)
        h = self.conv1(F.silu(self.norm1(images)))
        # One row per clip, not per frame: it is added to all frames of the clip at once.
        h = as_frames(h, x.shape[1]).add_(self.time_emb_proj(time)[:, None, None, None])
        h = self.conv2(F.silu(self.norm2(as_images(h))))
        shortcut = images if self.conv_shortcut is None else self.conv_shortcut(images)
        return as_frames(h.add_(shortcut), x.shape[1])


class Downsample(nn.Module):
    """Halves height and width with a strided convolution."""

    def __init__(self, channels: int, ops: Any = layers) -> None:
        super().__init__()
        self.conv = ops.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, F, H, W, C]`` to ``[B, F, ceil(H / 2), ceil(W / 2), C]``."""
        return as_frames(self.conv(as_images(x)), x.shape[1])


class Upsample(nn.Module):
    """Enlarges frames by repetition, then convolves."""

    def __init__(self, channels: int, ops: Any = layers) -> None:
        super().__init__()
        self.conv = ops.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Map ``[B, F, H, W, C]`` to ``[B, F, *size, C]``."""
        images = F.interpolate(as_images(x), size=size, mode="nearest")
        return as_frames(self.conv(images), x.shape[1])
