"""The layers a network is made of: torch.nn's, with some of them sent where a CPU is fast.

A network takes its layers from a namespace (``ops``). This module is the default one; `torch.nn`
gives the same numbers more slowly, and a host may bring its own. Parameters, names and shapes are
torch.nn's, and so is everything on other devices.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Conv1d, LayerNorm

__all__ = ["Conv1d", "Conv2d", "Conv3d", "GroupNorm", "LayerNorm", "Linear", "linear"]

# A matrix product of float32 goes to MKL, which leaves AVX-512 unused on processors of other makes;
# oneDNN uses what is there: 2.2 times as fast on an AMD EPYC.
_ONEDNN = torch.backends.mkldnn.is_available()
_FLOAT32_BY_ONEDNN = _ONEDNN and torch.backends.cpu.get_cpu_capability() == "AVX512"
# oneDNN's product with what comes after it; torch.compile's own, so it has no gradient.
_FUSED: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if _ONEDNN else None
_FUSED_DTYPES = {torch.float32: _FLOAT32_BY_ONEDNN}
if _FUSED is not None:
    _FUSED_DTYPES[torch.bfloat16] = torch.ops.mkldnn._is_mkldnn_bf16_supported()
_FEW = 2  # rows (timesteps of a guided step) that oneDNN takes ten times as long to begin with
_IMAGES = 16  # from this batch size on, torch gives 1 x 1 convolutions to oneDNN on a single thread
# Pixels below which torch's channels-last group norm is slow in bfloat16; its gradient always is.
_SMALL_MAP = 1024


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """Map ``[..., in_features]`` to ``[..., out_features]``, as ``F.linear`` does.

    Args:
        input: ``[..., in_features]``.
        weight: ``[out_features, in_features]``.
        bias: ``[out_features]``.
        gelu: Return the exact GELU of the result.
    """
    rows = input.numel() // max(input.shape[-1], 1)
    fast = (
        input.device.type == "cpu"
        and input.dtype == weight.dtype
        and rows > (_FEW if input.dtype == torch.float32 else 0)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
    learns = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (input, weight, bias)
    )
    if fast and not learns and _FUSED is not None and _FUSED_DTYPES.get(input.dtype):
        return _FUSED(input, weight, bias, "gelu" if gelu else "none", [], "none")
    if fast and _FLOAT32_BY_ONEDNN and input.dtype == torch.float32 and rows % _IMAGES == 0:
        # As a 1 x 1 convolution, which has a gradient.
        images = input.reshape(_IMAGES, -1, 1, input.shape[-1]).movedim(-1, 1)  # channels last
        output = F.conv2d(images, weight[:, :, None, None], bias)
        output = output.movedim(1, -1).reshape(*input.shape[:-1], len(weight))
    else:
        output = F.linear(input, weight, bias)
    return F.gelu(output) if gelu else output


class Conv2d(nn.Conv2d):
    """A convolution of channels-last images; its weights lie as they do, so no call copies them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last)


class Conv3d(nn.Conv3d):
    """The same for channels-last videos."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last_3d)


class Linear(nn.Linear):
    """A linear layer that multiplies by `linear`.

    Attributes:
        plain: Whether the weights may be taken as they lie, and in parts; a host's layer says no
            where it casts or changes them on the way.
    """

    plain: bool = True

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
