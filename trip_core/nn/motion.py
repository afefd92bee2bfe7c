"""The motion network: what moves in a still (regions, depth), and how (from the text).

Our extension of TRIP: run once per clip on the clean still and the text, it yields the flow of the
motion-compensated image noise prior. A trunk that never sees the text parses the still into
regions and depth; a head reads the motion parameters from the text; ``motion_field`` combines them.
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .motion_field import MOTION_PARAMETERS, REGIONS, StillMotion


@dataclass(frozen=True)
class MotionConfig:
    """Size of the motion network.

    Attributes:
        channels: Width at 1/2, 1/4, 1/8 and 1/16 of the input.
        fine_channels: Width at the input's full resolution, where outlines are drawn.
        attention_layers: Self-attention layers at 1/16.
        text_width: Channels of the text encoding.
        size: Short side, in pixels, that the network was trained for.
    """

    channels: tuple[int, ...] = (32, 64, 112, 176)
    fine_channels: int = 16
    attention_layers: int = 2
    text_width: int = 128
    size: int = 128


class MotionNetwork(nn.Module):
    """Still and text -> regions, depth, motion parameters."""

    def __init__(self, config: MotionConfig) -> None:
        """Build an untrained network: its motion parameters are zero, its flow is none."""
        super().__init__()
        self.config = config
        widths = config.channels
        self.stem = nn.Conv2d(12 + 2, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Sequential(_Residual(a), nn.Conv2d(a, b, 3, stride=2, padding=1))
            for a, b in itertools.pairwise(widths)
        )
        self.deep = nn.Sequential(
            _Residual(widths[-1]),
            *(_Attention(widths[-1]) for _ in range(config.attention_layers)),
            _Residual(widths[-1]),
        )
        self.join = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(widths))
        self.up = nn.ModuleList(_Residual(a) for a in widths[:-1])
        fine = config.fine_channels
        self.fine_stem = nn.Conv2d(3, fine, 3, padding=1)
        self.fine_up = nn.Conv2d(widths[0], fine, 1)
        self.fine = nn.Sequential(_Residual(fine), _Residual(fine))
        self.maps = nn.Conv2d(fine, len(REGIONS) + 1, 3, padding=1)

        width = config.text_width
        self.read = nn.Linear(width, 4)  # how much each of four questions asks of each word
        answer = nn.Linear(2 * width, len(MOTION_PARAMETERS))
        nn.init.zeros_(answer.weight)
        nn.init.zeros_(answer.bias)
        self.head = nn.Sequential(nn.Linear(4 * width, 2 * width), nn.GELU(), answer)
        scale = torch.tensor(list(MOTION_PARAMETERS.values()))
        self.register_buffer("parameter_scale", scale, persistent=False)

    def parse(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Parse a still without its text.

        Args:
            image: ``[B, 3, H, W]`` in 0..1; sides multiples of 16.

        Returns:
            (region logits ``[B, 4, H, W]``, nearness ``[B, 1, H, W]`` in 0..1).
        """
        height, width = image.shape[-2:]
        if height % 16 or width % 16:
            raise ValueError(
                f"the motion network takes sides that are multiples of 16; got {width}x{height}"
            )
        image = image * 2 - 1
        y = torch.linspace(-1, 1, height // 2, device=image.device, dtype=image.dtype)
        x = torch.linspace(-1, 1, width // 2, device=image.device, dtype=image.dtype)
        place = torch.stack(torch.meshgrid(y, x, indexing="ij")).expand(len(image), -1, -1, -1)
        h = self.stem(torch.cat((F.pixel_unshuffle(image, 2), place), dim=1))
        skips = []
        for down in self.down:
            skips.append(h)
            h = down(h)
        h = self.deep(h)
        for k in reversed(range(len(self.up))):
            coarse = F.interpolate(self.join[k](h), scale_factor=2.0, mode="nearest")
            h = self.up[k](skips[k] + coarse)
        fine = self.fine_stem(image) + F.interpolate(
            self.fine_up(h), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        regions, depth = self.maps(self.fine(fine)).float().split((len(REGIONS), 1), dim=1)
        return regions, torch.sigmoid(depth)

    def understand(self, text: Tensor) -> Tensor:
        """Read the motion parameters, ``[B, P]``, from a text encoding ``[B, L, D]``."""
        # Attention over words: every question weighs all words, the words answer. Padding encodes
        # as zeros and has no say.
        padding = (text == 0).all(dim=-1, keepdim=True)
        asked = self.read(text).float().masked_fill(padding, -torch.inf)
        weight = torch.softmax(asked, dim=1)  # [B, L, 4]
        answer = torch.einsum("blq,bld->bqd", weight, text.float()).flatten(1)
        return self.head(answer.to(text.dtype)).float() * self.parameter_scale

    def forward(self, image: Tensor, text: Tensor) -> StillMotion:
        """Return the motion of a still under a text.

        Args:
            image: ``[B, 3, H, W]`` in 0..1; sides multiples of 16.
            text: Text encoding, ``[B, L, D]``.
        """
        regions, depth = self.parse(image)
        return StillMotion(self.understand(text), torch.softmax(regions, dim=1), depth)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(min(8, channels // 4), channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(min(8, channels // 4), channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class _Attention(nn.Module):
    """Self-attention over all places, so that the sky knows where the ground is."""

    def __init__(self, channels: int, num_heads: int = 4) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.GroupNorm(8, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        qkv = self.qkv(self.norm(x)).view(b, 3, self.num_heads, c // self.num_heads, -1)
        q, k, v = qkv.transpose(-1, -2).unbind(1)  # [B, heads, H*W, c]
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(h.transpose(-1, -2).reshape(b, c, height, width))
