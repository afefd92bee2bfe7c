"""The layers a network is made of: torch.nn's, with two of them sent where a CPU is fast.

A network takes its layers from a namespace (``ops``). This module is the default one; `torch.nn`
gives the same numbers more slowly, and a host may bring its own. Parameters, names and shapes are
torch.nn's, and so is everything on other devices.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Conv1d, Conv2d, Conv3d, LayerNorm

__all__ = ["Conv1d", "Conv2d", "Conv3d", "GroupNorm", "LayerNorm", "Linear", "linear"]

# A matrix product of float32 goes to MKL, which leaves AVX-512 unused on processors of other makes;
# a convolution goes to oneDNN, which uses what is there: 2.2 times as fast on an AMD EPYC.
_FLOAT32_BY_CONVOLUTION = (
    torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
)
_IMAGES = 16  # from this batch size on, torch gives 1 x 1 convolutions to oneDNN on a single thread
# Pixels below which torch's channels-last group norm is slow in bfloat16; its gradient always is.
_SMALL_MAP = 1024


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map ``[..., in_features]`` to ``[..., out_features]``, as ``F.linear`` does.

    In float32 on a CPU it multiplies as a 1 x 1 convolution.
    """
    rows = input.numel() // max(input.shape[-1], 1)
    if (
        _FLOAT32_BY_CONVOLUTION
        and input.device.type == "cpu"
        and input.dtype == weight.dtype == torch.float32
        and rows
        and rows % _IMAGES == 0
        and not torch.is_autocast_enabled("cpu")
    ):
        images = input.reshape(_IMAGES, -1, 1, input.shape[-1]).movedim(-1, 1)  # channels last
        output = F.conv2d(images, weight[:, :, None, None], bias)
        return output.movedim(1, -1).reshape(*input.shape[:-1], len(weight))
    return F.linear(input, weight, bias)


class Linear(nn.Linear):
    """A linear layer that multiplies by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Map ``[..., in_features]`` to ``[..., out_features]``."""
        return linear(input, self.weight, self.bias)


class GroupNorm(nn.GroupNorm):
    """A group norm that, where bfloat16 is slow on a CPU, goes through float32."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``[B, C, ...]``."""
        slow = input.device.type == "cpu" and input.dtype == torch.bfloat16
        if slow and (input.requires_grad or input.shape[2:].numel() < _SMALL_MAP):
            weight, bias = self.weight.float(), self.bias.float()
            output = F.group_norm(input.float(), self.num_groups, weight, bias, self.eps)
            return output.to(input.dtype)
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
