"""What happens along time, at each pixel: convolution and attention over frames.

Hidden states are ``[B, F, H, W, C]`` in memory order. Time then is the row axis of a channels-last
image ``[B, C, F, H * W]``, so neither block moves a number to get at it.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from . import layers
from .attention import SelfAttention, TransformerBlock


def as_timelines(x: Tensor) -> Tensor:
    """View ``[B, F, H, W, C]`` as a channels-last image ``[B, C, F, H W]``."""
    return x.flatten(2, 3).movedim(-1, 1)


def frame_conv(channels: int, ops: Any = layers) -> nn.Module:
    """Return a (3, 1, 1) convolution that takes ``[B, C, F, H W]``.

    The layer is a Conv3d in all that concerns its weights (shape, name, casting by a host), but
    computes as a (3, 1) convolution in 2-D: the same numbers, by far better kernels.
    """

    class FrameConv(ops.Conv3d):
        # torch's layers and a host's all end up here; some hosts add options of their own.
        def _conv_forward(
            self, input: Tensor, weight: Tensor, bias: Tensor | None, **_: Any
        ) -> Tensor:
            return F.conv2d(input, weight.squeeze(-1), bias, padding=(1, 0))

    return FrameConv(channels, channels, (3, 1, 1), padding=(1, 0, 0))


class TemporalConv(nn.Module):
    """Four norm-SiLU-convolutions over neighbouring frames, added; the last starts at zero.

    Group norm statistics are taken over the whole clip (ModelScopeT2V, Wang et al. 2023).

    Args:
        channels: Width of the hidden states.
        num_groups: Groups of the group norms.
        ops: Namespace that layers are taken from.
    """

    def __init__(self, channels: int, num_groups: int = 32, ops: Any = layers) -> None:
        super().__init__()

        def stage(*dropout: nn.Module) -> nn.Sequential:
            norm = ops.GroupNorm(num_groups, channels)
            return nn.Sequential(norm, nn.SiLU(), *dropout, frame_conv(channels, ops))

        # Released checkpoints number a dropout between SiLU and convolution in all but the first.
        self.conv1 = stage()
        self.conv2 = stage(nn.Identity())
        self.conv3 = stage(nn.Identity())
        self.conv4 = stage(nn.Identity())
        for parameter in self.conv4[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, F, H, W, C]`` to the same shape."""
        h = self.conv4(self.conv3(self.conv2(self.conv1(as_timelines(x)))))
        return h.movedim(1, -1).reshape(x.shape).add_(x)


class TemporalTransformer(nn.Module):
    """Lets each pixel's frames see each other, twice.

    Args:
        channels: Width of the hidden states.
        num_heads: Attention heads.
        head_dim: Width of a head; the transformer is ``num_heads * head_dim`` wide inside.
        num_groups: Groups of the group norm, whose statistics are taken over the whole clip.
        ops: Namespace that layers are taken from.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        head_dim: int,
        num_groups: int = 32,
        ops: Any = layers,
    ) -> None:
        super().__init__()
        width = num_heads * head_dim
        self.norm = ops.GroupNorm(num_groups, channels, eps=1e-6)
        self.proj_in = ops.Linear(channels, width)
        first, second = SelfAttention(width, head_dim, ops), SelfAttention(width, head_dim, ops)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, first, second, ops)])
        self.proj_out = ops.Linear(width, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, F, H, W, C]`` to the same shape."""
        tokens = self.norm(as_timelines(x)).movedim(1, -1)  # [B, F, H W, C]
        tokens = self.transformer_blocks[0](self.proj_in(tokens))
        return self.proj_out(tokens).view(x.shape).add_(x)
