"""A query transformer: learned queries read the tokens of a picture, a few for every frame.

The perceiver resampler of Flamingo (Alayrac et al. 2022, Section 3.1.1) as DynamiCrafter uses it
(Xing et al. 2023, arXiv:2310.12190, Section 3.2). Names of parameters are those of its released
weights.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import layers
from .attention import attend, split_heads


@dataclass(frozen=True)
class ResamplerConfig:
    """Sizes of a :class:`Resampler`; the defaults are DynamiCrafter's.

    Attributes:
        in_dim: Width of the picture's tokens.
        width: Width inside.
        out_dim: Width of the result.
        depth: Layers.
        num_heads: Attention heads.
        head_dim: Width of a head.
        num_frames: Frames that have queries of their own.
        num_queries: Queries of each frame.
    """

    in_dim: int = 1280
    width: int = 1024
    out_dim: int = 1024
    depth: int = 4
    num_heads: int = 12
    head_dim: int = 64
    num_frames: int = 16
    num_queries: int = 16


class PerceiverAttention(nn.Module):
    """Lets queries read a picture's tokens and each other."""

    def __init__(self, config: ResamplerConfig, ops: Any = layers) -> None:
        super().__init__()
        inner = config.num_heads * config.head_dim
        self.head_dim = config.head_dim
        self.norm1 = ops.LayerNorm(config.width)
        self.norm2 = ops.LayerNorm(config.width)
        self.to_q = ops.Linear(config.width, inner, bias=False)
        self.to_kv = ops.Linear(config.width, 2 * inner, bias=False)
        self.to_out = ops.Linear(inner, config.width, bias=False)

    def forward(self, tokens: Tensor, queries: Tensor) -> Tensor:
        """Return what the queries ``[B, Q, C]`` read of tokens ``[B, L, C]``, ``[B, Q, C]``."""
        queries = self.norm2(queries)
        keys, values = self.to_kv(torch.cat((self.norm1(tokens), queries), dim=1)).chunk(2, dim=-1)
        q, k, v = (
            split_heads(x.contiguous(), self.head_dim) for x in (self.to_q(queries), keys, values)
        )
        return self.to_out(attend(q, k, v).transpose(1, 2).flatten(2))


class Resampler(nn.Module):
    """Turns a picture's tokens into a few tokens for every frame.

    Args:
        config: Sizes.
        ops: Namespace that layers are taken from.
    """

    def __init__(self, config: ResamplerConfig, ops: Any = layers) -> None:
        super().__init__()
        self.config = config
        width, queries = config.width, config.num_frames * config.num_queries
        self.latents = nn.Parameter(torch.randn(1, queries, width) / width**0.5)
        self.proj_in = ops.Linear(config.in_dim, width)
        self.proj_out = ops.Linear(width, config.out_dim)
        self.norm_out = ops.LayerNorm(config.out_dim)
        self.layers = nn.ModuleList(
            nn.ModuleList((PerceiverAttention(config, ops), _feed_forward(width, ops)))
            for _ in range(config.depth)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return context tokens, ``[B, num_frames, num_queries, out_dim]``.

        Args:
            tokens: The picture's tokens, ``[B, L, in_dim]``.

        Raises:
            ValueError: If the tokens have another width.
        """
        config = self.config
        if tokens.ndim != 3 or tokens.shape[-1] != config.in_dim:
            raise ValueError(
                f"the picture's tokens must be [B, L, {config.in_dim}], those of the CLIP vision "
                f"model this network was trained with; got {tuple(tokens.shape)}"
            )
        tokens = self.proj_in(tokens)
        queries = self.latents.to(tokens).expand(len(tokens), -1, -1)
        for attention, feed_forward in self.layers:  # type: ignore[misc]
            queries = queries + attention(tokens, queries)
            queries = queries + feed_forward(queries)
        queries = self.norm_out(self.proj_out(queries))
        return queries.unflatten(1, (config.num_frames, config.num_queries))


def _feed_forward(width: int, ops: Any) -> nn.Sequential:
    return nn.Sequential(
        ops.LayerNorm(width),
        ops.Linear(width, 4 * width, bias=False),
        nn.GELU(),
        ops.Linear(4 * width, width, bias=False),
    )
