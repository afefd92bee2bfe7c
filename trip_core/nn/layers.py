"""The layers a network is made of: torch.nn's, with two of them sent where a CPU is fast.

A network takes its layers from a namespace (``ops``). This module is the default one; `torch.nn`
gives the same numbers more slowly, and a host may bring its own. Parameters, names and shapes are
torch.nn's, and so is everything on other devices.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Conv1d, Conv2d, Conv3d, LayerNorm

__all__ = ["Conv1d", "Conv2d", "Conv3d", "GroupNorm", "LayerNorm", "Linear"]

# A matrix product of float32 goes to MKL, which leaves AVX-512 unused on processors of other makes;
# a convolution goes to oneDNN, which uses what is there: 2.2 times as fast on an AMD EPYC.
_FLOAT32_BY_CONVOLUTION = (
    torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
)
_IMAGES = 16  # from this batch size on, torch gives 1 x 1 convolutions to oneDNN on a single thread
_SMALL_MAP = 1024  # pixels below which torch's channels-last group norm is slow in bfloat16


class Linear(nn.Linear):
    """A linear layer that, in float32 on a CPU, multiplies as a 1 x 1 convolution."""

    def forward(self, input: Tensor) -> Tensor:
        """Map ``[..., in_features]`` to ``[..., out_features]``."""
        x = input
        rows = x.numel() // max(x.shape[-1], 1)
        if (
            _FLOAT32_BY_CONVOLUTION
            and x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and rows % _IMAGES == 0
            and rows
            and not torch.is_autocast_enabled("cpu")
        ):
            images = x.reshape(_IMAGES, -1, 1, x.shape[-1]).movedim(-1, 1)  # channels last
            y = F.conv2d(images, self.weight[:, :, None, None], self.bias)
            return y.movedim(1, -1).reshape(*x.shape[:-1], self.out_features)
        return F.linear(x, self.weight, self.bias)


class GroupNorm(nn.GroupNorm):
    """A group norm that takes small bfloat16 maps through float32 on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``[B, C, ...]``."""
        x = input
        small = x.numel() < _SMALL_MAP * x.shape[0] * x.shape[1]
        if small and x.device.type == "cpu" and x.dtype == torch.bfloat16:
            weight, bias = self.weight.float(), self.bias.float()
            y = F.group_norm(x.float(), self.num_groups, weight, bias, self.eps)
            return y.to(x.dtype)
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
