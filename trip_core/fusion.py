r"""Temporal noise fusion: the transformer that merges image noise prior and residual noise.

TRIP (Zhang et al., CVPR 2024, arXiv:2403.17005), "TNF": adaptive LayerNorm on the residual noise,
conditioned on t; self-attention; cross-attention whose query is that feature and whose keys and
values are prior and residual concatenated. Tokens are the patches of one frame.

Attention alone is a bottleneck for noise: its norms forget magnitudes and its softmax averages what
is independent. So here it corrects a blend and does not replace it,

.. math:: \tilde x_0^i = g^i w^i + (1 - g^i)\, x_0^i - \sqrt{1 - \bar\alpha_t}\, \mathrm{TNF}^i

with :math:`w^i` the (warped) still and :math:`x_0^i` what the residual noise stands for. The gate
g starts at a given trust and learns, the correction starts at zero: an untrained fusion *is* linear
fusion (TRIP^W). In terms of noise it reads

.. math:: \tilde\epsilon^i = g^i \epsilon^{i \to 1} + (1 - g^i)\, \Delta\epsilon^i
    + \sqrt{\bar\alpha_t}\, \mathrm{TNF}^i

but merged in x0 space nothing is divided, at any t.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .nn import layers
from .nn.attention import CrossAttention, FeedForward, SelfAttention
from .nn.embeddings import TimestepEmbedding, timestep_embedding
from .prior import blend_towards_still

# The gate is a sigmoid stretched a little beyond 0 and 1 (Louizos et al. 2018), so that it reaches
# both with finite logits: full trust is exact, and still has a gradient.
GATE_STRETCH = 0.05


@dataclass(frozen=True)
class FusionConfig:
    """Sizes of a temporal noise fusion.

    Attributes:
        channels: Channels of the latents.
        width: Width of the tokens, a multiple of 4 and of ``num_heads``.
        num_heads: Attention heads.
        num_blocks: Transformer blocks.
        patch_size: Latent pixels along each side of a token. With 1 a fusion takes five times as
            long as with 2 and learns to at most 2 % less loss; ``benchmarks.fusion_patches``.
        gate: Learn the gate; without it the trust that comes in is the gate.
    """

    channels: int = 4
    width: int = 320
    num_heads: int = 8
    num_blocks: int = 1
    patch_size: int = 2
    gate: bool = True

    def __post_init__(self) -> None:
        """Check what the layers would only fail on later."""
        sizes = (self.channels, self.width, self.num_heads, self.num_blocks, self.patch_size)
        if min(sizes) < 1 or self.width % 4 or self.width % self.num_heads:
            raise ValueError(
                "a fusion's sizes must be positive and its width a multiple of 4 and of num_heads; "
                f"got channels={self.channels}, width={self.width}, num_heads={self.num_heads}, "
                f"num_blocks={self.num_blocks}, patch_size={self.patch_size}"
            )


class Fused(NamedTuple):
    """What fusion returns.

    Attributes:
        x0: Clean latents, ``[B, C, F, H, W]``, float32.
        gate: How far each pixel is the still's, broadcastable to ``[B, 1, F, H, W]``; 0..1, a
            learned one up to `GATE_STRETCH` beyond.
        gate_logits: A learned gate's logits, ``[B, 1, F, H, W]``; their sigmoid is to be compared
            with :func:`compress_gate` of a target. None without a learned gate.
    """

    x0: Tensor
    gate: Tensor
    gate_logits: Tensor | None


class TemporalNoiseFusion(nn.Module):
    """Merges image noise prior and residual noise, frame by frame.

    Args:
        config: Sizes.
        ops: Namespace that layers are taken from.
    """

    def __init__(self, config: FusionConfig, ops: Any = layers) -> None:
        super().__init__()
        self.config = config
        self._places: dict[tuple[int, int, torch.dtype, torch.device], Tensor] = {}
        width, area = config.width, config.patch_size**2
        self.time_embedding = TimestepEmbedding(width, width, ops)
        self.prior_in = ops.Linear(config.channels * area, width)
        self.residual_in = ops.Linear(config.channels * area, width)
        self.blocks = nn.ModuleList(
            [FusionBlock(width, config.num_heads, ops) for _ in range(config.num_blocks)]
        )
        self.norm_out = ops.LayerNorm(width)
        self.proj_out = ops.Linear(width, (config.channels + config.gate) * area)
        # Untrained, it changes nothing: neither the blend nor the gate.
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(
        self,
        scaled_prior: Tensor,
        residual: Tensor,
        *,
        still: Tensor,
        residual_x0: Tensor,
        trust: Tensor,
        timesteps: Tensor,
        alpha_bar: Tensor,
    ) -> Fused:
        """Merge the two paths.

        Args:
            scaled_prior: Image noise prior times sqrt(1 - alpha_bar), which is bounded where the
                prior is not, ``[B, C, F, H, W]``, in the dtype to compute the attention in.
            residual: Residual noise, the UNet's, same shape and dtype.
            still: The clean latents that the prior leads to: the still, ``[B, C, H, W]``, or warped
                into every frame, ``[B, C, F, H, W]``.
            residual_x0: The clean latents that ``residual`` leads to, ``[B, C, F, H, W]``.
            trust: Where the gate starts, 0..1, broadcastable to ``[B, 1, F, H, W]``: lambda(i, t),
                or where the warped still can be trusted.
            timesteps: Training timesteps, ``[B]``.
            alpha_bar: Signal power at t, ``[B]``.

        Raises:
            ValueError: If a patch does not divide the latents.
        """
        sigma = (1 - alpha_bar.float()).sqrt().view(-1, 1, 1, 1, 1)
        correction, gate_shift = self._attend(scaled_prior, residual, timesteps)
        gate, gate_logits = trust, None
        if gate_shift is not None:
            gate_logits = torch.logit(compress_gate(trust.float())) + gate_shift
            gate = gate_logits.sigmoid() * (1 + 2 * GATE_STRETCH) - GATE_STRETCH
        blend = blend_towards_still(residual_x0, still, gate)
        x0 = torch.addcmul(blend, sigma, correction, value=-1)
        return Fused(x0, gate, gate_logits)

    def _attend(
        self, prior: Tensor, residual: Tensor, timesteps: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return the correction, ``[B, C, F, H, W]``, and what the gate's logits are moved by."""
        batch, channels, frames, height, width = residual.shape
        patch = self.config.patch_size
        if height % patch or width % patch:
            raise ValueError(
                f"this fusion reads patches of {patch} x {patch} latent pixels, which must divide "
                f"the latents' height and width; got {height} x {width}"
            )
        time = F.silu(self.time_embedding(timesteps, residual.dtype))  # [B, D]
        rows, columns = height // patch, width // patch
        key = rows, columns, residual.dtype, residual.device
        if key not in self._places:  # the same at every step
            self._places[key] = position_encoding(rows, columns, self.config.width, residual)
        tokens = self.residual_in(self._patches(residual)).add_(self._places[key])  # [B*F, S, D]
        prior_tokens = self.prior_in(self._patches(prior)).add_(self._places[key])
        both = torch.cat((prior_tokens, tokens), dim=1)
        for block in self.blocks:
            tokens = block(tokens, both, time)
        out = self.proj_out(self.norm_out(tokens)).float()

        # Rows of patches back to a video, its channels last in memory.
        out = out.view(batch, frames, rows, columns, patch, patch, -1)
        out = out.transpose(3, 4).reshape(batch, frames, height, width, -1).movedim(-1, 1)
        return (out[:, :channels], out[:, channels:]) if self.config.gate else (out, None)

    def _patches(self, video: Tensor) -> Tensor:
        """View ``[B, C, F, H, W]`` as one row of patches for each frame, ``[B*F, S, p*p*C]``."""
        batch, channels, frames, height, width = video.shape
        p = self.config.patch_size
        x = video.view(batch, channels, frames, height // p, p, width // p, p)
        return x.permute(0, 2, 3, 5, 4, 6, 1).reshape(batch * frames, -1, p * p * channels)


class FusionBlock(nn.Module):
    """AdaLN and self-attention, cross-attention to prior and residual, feed-forward; each added."""

    def __init__(self, width: int, num_heads: int, ops: Any = layers) -> None:
        super().__init__()
        head_dim = width // num_heads
        self.norm1 = AdaptiveLayerNorm(width, ops)
        self.attn1 = SelfAttention(width, head_dim, ops)
        self.norm2 = ops.LayerNorm(width)
        self.attn2 = CrossAttention(width, width, head_dim, ops)
        self.norm3 = ops.LayerNorm(width)
        self.ff = FeedForward(width, ops)

    def forward(self, tokens: Tensor, both: Tensor, time: Tensor) -> Tensor:
        """Map tokens ``[B*F, S, D]``, reading ``both`` ``[B*F, 2S, D]``, at times ``[B, D]``."""
        tokens = self.attn1(self.norm1(tokens, time)).add_(tokens)
        tokens = self.attn2(self.norm2(tokens), self.attn2.keys_values(both)).add_(tokens)
        return self.ff(self.norm3(tokens)).add_(tokens)


class AdaptiveLayerNorm(nn.Module):
    """LayerNorm whose scale and shift come from the timestep."""

    def __init__(self, width: int, ops: Any = layers) -> None:
        super().__init__()
        self.linear = ops.Linear(width, 2 * width)

    def forward(self, tokens: Tensor, time: Tensor) -> Tensor:
        """Map tokens ``[B*F, S, D]``; ``time`` is SiLU of the timestep embedding, ``[B, D]``."""
        scale, shift = self.linear(time).unsqueeze(1).chunk(2, dim=-1)
        # One row per clip, not per frame: the frames of a clip are one long row of tokens.
        rows = F.layer_norm(tokens, tokens.shape[-1:]).view(len(time), -1, tokens.shape[-1])
        return torch.addcmul(shift, rows, 1 + scale).view(tokens.shape)


def compress_gate(trust: Tensor) -> Tensor:
    """Return the probability whose stretched sigmoid is ``trust`` (0..1): just inside 0..1."""
    return (trust + GATE_STRETCH) / (1 + 2 * GATE_STRETCH)


def position_encoding(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """Return sinusoids of row and column, ``[H*W, channels]``, in ``like``'s dtype.

    They let a token find the same place in the other path, at any size of the latents.
    """
    rows = timestep_embedding(torch.arange(height, device=like.device), channels // 2)
    columns = timestep_embedding(torch.arange(width, device=like.device), channels // 2)
    grid = (rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1))
    return torch.cat(grid, dim=-1).flatten(0, 1).to(like.dtype)
