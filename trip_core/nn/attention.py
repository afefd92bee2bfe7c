"""Attention over rows of tokens, and the transformer that mixes the pixels of a frame.

Hidden states are ``[B, F, H, W, C]`` in memory order: a pixel is a row of a matrix, so projections,
norms and feed-forwards need no permute, and every attention below is a view of the same rows.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import layers
from .resnet import as_images

KeysValues = tuple[Tensor, Tensor]

_GRID = 65535  # heads that a CUDA kernel takes at once; time has one for every pixel
_SHORT = 32  # keys up to which plain products are faster in float32, too
_SCORES = 2**19  # attention weights that are made at a time
_COLUMNS = 128  # keys up to which a softmax is faster down columns than along rows
_VECTOR = 32  # numbers of two bytes in a vector register of AVX-512


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return scaled dot-product attention (Vaswani et al. 2017, equation 1).

    Args:
        query: ``[N, heads, S, d]``.
        key: ``[N, heads, L, d]``.
        value: ``[N, heads, L, d]``.

    Returns:
        ``[N, heads, S, d]``.
    """
    if query.device.type != "cpu":
        heads = zip(query.split(_GRID, 1), key.split(_GRID, 1), value.split(_GRID, 1), strict=True)
        return _join([F.scaled_dot_product_attention(q, k, v) for q, k, v in heads], 1)
    if query.dtype == torch.float32 and key.shape[2] > _SHORT:
        return F.scaled_dot_product_attention(query, key, value)
    # On a CPU the fused kernel loses to plain products where sequences are short or numbers small.
    return _attend_in_parts(query, key, value)


def _attend_in_parts(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return the attention, a few items, heads or queries at a time: the scores stay in caches."""
    parts = -(-query.shape[:3].numel() * key.shape[2] // _SCORES)
    axis = next((axis for axis in range(3) if query.shape[axis] > 1), 2)
    if parts <= 1 or query.shape[axis] == 1:
        return _attend(query, key, value)
    queries = query.chunk(parts, axis)
    keys, values = (x.chunk(parts, axis) if axis < 2 else [x] * len(queries) for x in (key, value))
    clips = zip(queries, keys, values, strict=True)
    return _join([_attend_in_parts(*part) for part in clips], axis)


def _join(parts: list[Tensor], axis: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, axis)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query = query * query.shape[-1] ** -0.5
    if query.dtype != torch.float32:
        # Rows of a head lie apart, which a product of small numbers takes badly.
        query, key = query.contiguous(), key.contiguous()
    if key.shape[2] > _COLUMNS:
        weights = (query @ key.transpose(-1, -2)).softmax(-1, dtype=torch.float32)
    else:
        # A short row leaves a vector unit half empty; the same softmax down columns does not. Where
        # columns end within a vector, small numbers are slower than float32.
        dtype = torch.float32 if query.shape[2] % _VECTOR else None
        weights = (key @ query.transpose(-1, -2)).softmax(-2, dtype=dtype).transpose(-1, -2)
    return weights.to(value.dtype) @ value


class SelfAttention(nn.Module):
    """Multi-head attention of tokens to each other.

    Args:
        channels: Width of the tokens.
        head_dim: Width of a head; divides ``channels``.
        ops: Namespace that layers are taken from.
    """

    def __init__(self, channels: int, head_dim: int, ops: Any = layers) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.to_q = ops.Linear(channels, channels, bias=False)
        self.to_k = ops.Linear(channels, channels, bias=False)
        self.to_v = ops.Linear(channels, channels, bias=False)
        self.to_out = nn.ModuleList([ops.Linear(channels, channels)])

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix tokens ``[N, S, ..., C]`` along S; axes between S and C are independent."""
        # A position that does not take part is one more head: [N, S, P, C] -> [N, P * heads, S, d]
        # is a view, whatever P is. That is all the difference between space and time.
        projections = (self.to_q, self.to_k, self.to_v)
        q, k, v = (split_heads(project(tokens), self.head_dim) for project in projections)
        return self.to_out[0](attend(q, k, v).transpose(1, 2).reshape(tokens.shape))


class CrossAttention(nn.Module):
    """Multi-head attention of tokens to a context whose keys and values are made beforehand.

    Args:
        channels: Width of the tokens.
        context_dim: Width of the context.
        head_dim: Width of a head; divides ``channels``.
        ops: Namespace that layers are taken from.
    """

    def __init__(self, channels: int, context_dim: int, head_dim: int, ops: Any = layers) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.to_q = ops.Linear(channels, channels, bias=False)
        self.to_k = ops.Linear(context_dim, channels, bias=False)
        self.to_v = ops.Linear(context_dim, channels, bias=False)
        self.to_out = nn.ModuleList([ops.Linear(channels, channels)])

    def keys_values(self, context: Tensor) -> KeysValues:
        """Return keys and values, each ``[N, heads, L, d]``, of a context ``[N, L, D]``."""
        key, value = self.to_k(context), self.to_v(context)
        return split_heads(key, self.head_dim), split_heads(value, self.head_dim)

    def forward(self, tokens: Tensor, keys_values: KeysValues) -> Tensor:
        """Read the context into tokens ``[N', S, C]``.

        A context with fewer rows than there are tokens' (one per clip instead of one per frame)
        serves consecutive rows: the frames of a clip then are one long row of queries.
        """
        key, value = keys_values
        rows = tokens.reshape(key.shape[0], -1, tokens.shape[-1])
        query = split_heads(self.to_q(rows), self.head_dim)
        return self.to_out[0](attend(query, key, value).transpose(1, 2).reshape(tokens.shape))


def split_heads(tokens: Tensor, head_dim: int) -> Tensor:
    """View ``[N, S, ..., C]`` as ``[N, heads, S, d]``."""
    return tokens.view(*tokens.shape[:2], -1, head_dim).transpose(1, 2)


class GEGLU(nn.Module):
    """A linear layer gated by the exact GELU of another (Shazeer 2020)."""

    def __init__(self, channels: int, out_channels: int, ops: Any = layers) -> None:
        super().__init__()
        self.proj = ops.Linear(channels, 2 * out_channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``[..., C]`` to ``[..., out_channels]``."""
        if tokens.device.type == "cpu" and getattr(self.proj, "plain", False):
            # Two products: what a CPU then multiplies number by number lies in one piece each.
            (value, gate), (shift, gate_shift) = self.proj.weight.chunk(2), self.proj.bias.chunk(2)
            gates = layers.linear(tokens, gate, gate_shift, gelu=True)
            return gates.mul_(layers.linear(tokens, value, shift))
        value, gate = self.proj(tokens).chunk(2, dim=-1)
        return F.gelu(gate).mul_(value)


class FeedForward(nn.Module):
    """GEGLU to four times the width, and back."""

    def __init__(self, channels: int, ops: Any = layers) -> None:
        super().__init__()
        # Released checkpoints number these 0 and 2; 1 was a dropout.
        self.net = nn.Sequential(
            GEGLU(channels, 4 * channels, ops),
            nn.Identity(),
            ops.Linear(4 * channels, channels),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``[..., C]`` to ``[..., C]``."""
        return self.net(tokens)


class TransformerBlock(nn.Module):
    """Self-attention, a second attention, feed-forward; each after a norm and added in place.

    Args:
        channels: Width of the tokens.
        attention: First attention, over tokens alone.
        second: Second attention: to a context if the block is called with one, else like the first.
        ops: Namespace that layers are taken from.
    """

    def __init__(
        self, channels: int, attention: nn.Module, second: nn.Module, ops: Any = layers
    ) -> None:
        super().__init__()
        self.norm1 = ops.LayerNorm(channels)
        self.attn1 = attention
        self.norm2 = ops.LayerNorm(channels)
        self.attn2 = second
        self.norm3 = ops.LayerNorm(channels)
        self.ff = FeedForward(channels, ops)

    def forward(self, tokens: Tensor, *context: Any) -> Tensor:
        """Map ``[N, S, ..., C]`` to the same shape; ``context`` goes to the second attention."""
        tokens = self.attn1(self.norm1(tokens)).add_(tokens)
        tokens = self.attn2(self.norm2(tokens), *context).add_(tokens)
        return self.ff(self.norm3(tokens)).add_(tokens)


class SpatialTransformer(nn.Module):
    """Lets the pixels of each frame see each other and the text.

    Args:
        channels: Width of the hidden states.
        head_dim: Width of an attention head.
        context_dim: Width of the text's tokens.
        num_groups: Groups of the group norm.
        ops: Namespace that layers are taken from.
    """

    def __init__(
        self,
        channels: int,
        head_dim: int,
        context_dim: int,
        num_groups: int = 32,
        ops: Any = layers,
    ) -> None:
        super().__init__()
        self.norm = ops.GroupNorm(num_groups, channels, eps=1e-6)
        self.proj_in = ops.Linear(channels, channels)
        attention = SelfAttention(channels, head_dim, ops)
        to_text = CrossAttention(channels, context_dim, head_dim, ops)
        self.transformer_blocks = nn.ModuleList(
            [TransformerBlock(channels, attention, to_text, ops)]
        )
        self.proj_out = ops.Linear(channels, channels)

    def keys_values(self, context: Tensor) -> KeysValues:
        """Return what `forward` needs of a text ``[N, L, D]``; see `CrossAttention.keys_values`."""
        attention: CrossAttention = self.transformer_blocks[0].attn2  # type: ignore[assignment]
        return attention.keys_values(context)

    def forward(self, x: Tensor, text: KeysValues) -> Tensor:
        """Map ``[B, F, H, W, C]`` to the same shape; ``text`` holds B rows, or B * F."""
        tokens = self.norm(as_images(x)).movedim(1, -1).flatten(1, 2)  # [B F, H W, C]
        tokens = self.transformer_blocks[0](self.proj_in(tokens), text)
        return self.proj_out(tokens).view(x.shape).add_(x)
