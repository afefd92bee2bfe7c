"""The diffusion timestep as a vector."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import layers


def timestep_embedding(timesteps: Tensor, channels: int, max_period: float = 10_000.0) -> Tensor:
    """Return sinusoids of the timesteps, cosines first (Vaswani et al. 2017, as DDPM uses them).

    Args:
        timesteps: ``[B]``, any numeric type, 0 to the number of training timesteps.
        channels: Even width of the embedding.
        max_period: Longest period, in timesteps over 2 pi.

    Returns:
        ``[B, channels]`` in float32: ``cos(t w_k)`` for every frequency, then ``sin(t w_k)``.

    Raises:
        ValueError: If ``channels`` is odd.
    """
    if channels % 2:
        raise ValueError(f"A timestep embedding needs an even width, not {channels}.")
    half = channels // 2
    exponents = torch.arange(half, dtype=torch.float32, device=timesteps.device) / half
    angles = timesteps.float()[:, None] * torch.exp(-math.log(max_period) * exponents)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class TimestepEmbedding(nn.Module):
    """A two-layer perceptron over `timestep_embedding`.

    Args:
        channels: Width of the sinusoids.
        out_channels: Width of the result.
        ops: Namespace that layers are taken from.
    """

    def __init__(self, channels: int, out_channels: int, ops: Any = layers) -> None:
        super().__init__()
        self.channels = channels
        self.linear_1 = ops.Linear(channels, out_channels)
        self.linear_2 = ops.Linear(out_channels, out_channels)

    def forward(self, timesteps: Tensor, dtype: torch.dtype) -> Tensor:
        """Embed timesteps ``[B]`` as ``[B, out_channels]`` in ``dtype``."""
        embedding = timestep_embedding(timesteps, self.channels).to(dtype)
        return self.linear_2(F.silu(self.linear_1(embedding)))
