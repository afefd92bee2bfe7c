"""The video UNet of ModelScopeT2V (Wang et al. 2023), key-compatible with its released weights.

Names and shapes of parameters are those of ``diffusers.UNet3DConditionModel``. Inside, hidden
states are ``[B, F, H, W, C]`` in memory order; see `trip_core.nn.temporal` for why.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from . import layers
from .attention import KeysValues, SpatialTransformer
from .embeddings import TimestepEmbedding
from .resnet import Downsample, ResBlock, Upsample, as_frames, as_images
from .temporal import TemporalConv, TemporalTransformer

_ATTENTION = {
    "CrossAttnDownBlock3D": True,
    "DownBlock3D": False,
    "CrossAttnUpBlock3D": True,
    "UpBlock3D": False,
}


@dataclass(frozen=True)
class VideoUNetConfig:
    """Sizes of a `VideoUNet`, under diffusers' names; the defaults are ModelScopeT2V's.

    Attributes:
        in_channels: Channels of the input, at least those of the latents.
        out_channels: Channels of the output.
        down_block_types: "CrossAttnDownBlock3D" or "DownBlock3D" for each level, finest first.
        up_block_types: "CrossAttnUpBlock3D" or "UpBlock3D" for each level, coarsest first.
        block_out_channels: Channels of each level, finest first.
        layers_per_block: Layers of a level on the way down; the way up has one more.
        cross_attention_dim: Width of the text's tokens.
        attention_head_dim: Width of an attention head; divides every width that has attention.
        norm_num_groups: Groups of the group norms; divides every width.
        norm_eps: Epsilon of the convolutional blocks' group norms.
    """

    in_channels: int = 4
    out_channels: int = 4
    down_block_types: tuple[str, ...] = (*("CrossAttnDownBlock3D",) * 3, "DownBlock3D")
    up_block_types: tuple[str, ...] = ("UpBlock3D", *("CrossAttnUpBlock3D",) * 3)
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    cross_attention_dim: int = 1024
    attention_head_dim: int = 64
    norm_num_groups: int = 32
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("down_block_types", "up_block_types", "block_out_channels"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # lists come from JSON
        levels = len(self.block_out_channels)
        if not len(self.down_block_types) == len(self.up_block_types) == levels:
            raise ValueError(
                f"A video UNet has as many down blocks ({len(self.down_block_types)}) and up "
                f"blocks ({len(self.up_block_types)}) as channel widths ({levels})."
            )
        for kind in (*self.down_block_types, *self.up_block_types):
            if kind not in _ATTENTION:
                raise ValueError(f"Unknown block type {kind!r}; known: {', '.join(_ATTENTION)}.")
        for width in self.block_out_channels:
            for name in ("norm_num_groups", "attention_head_dim"):
                if width % getattr(self, name):
                    raise ValueError(
                        f"{name} must divide every width in block_out_channels; "
                        f"{getattr(self, name)} does not divide {width}."
                    )


@dataclass(frozen=True)
class TextKeysValues:
    """Keys and values of one text for every layer that reads it, in the order of the layers."""

    layers: tuple[KeysValues, ...]


class Stage(nn.Module):
    """Layers of one level: convolution in space, in time, then attention in space, in time.

    Args:
        config: The UNet's sizes.
        widths: Channels in and out of each layer.
        attentions: How many attention layers there are: those that follow the last convolutions,
            in the order of the layers.
        ops: Namespace that layers are taken from.
    """

    def __init__(
        self,
        config: VideoUNetConfig,
        widths: Sequence[tuple[int, int]],
        attentions: int,
        ops: Any,
    ) -> None:
        super().__init__()
        groups, head_dim = config.norm_num_groups, config.attention_head_dim
        time_channels, out = 4 * config.block_out_channels[0], widths[-1][1]
        self.resnets = nn.ModuleList(
            [ResBlock(i, o, time_channels, groups, config.norm_eps, ops) for i, o in widths]
        )
        self.temp_convs = nn.ModuleList([TemporalConv(o, groups, ops) for _, o in widths])
        if attentions:
            context = config.cross_attention_dim
            self.attentions = nn.ModuleList(
                [SpatialTransformer(out, head_dim, context, groups, ops) for _ in range(attentions)]
            )
            self.temp_attentions = nn.ModuleList(
                [
                    TemporalTransformer(out, out // head_dim, head_dim, groups, ops)
                    for _ in range(attentions)
                ]
            )
        self.has_attention = attentions > 0
        self.gradient_checkpointing = False

    def convolve(self, index: int, x: Tensor, time: Tensor) -> Tensor:
        """Run the convolutions of one layer."""
        return self.temp_convs[index](self.resnets[index](x, time))

    def attend(self, index: int, x: Tensor, text: KeysValues) -> Tensor:
        """Run the attentions of one layer."""
        return self.temp_attentions[index](self.attentions[index](x, text))

    def layer(self, index: int, x: Tensor, time: Tensor, text: Iterator[KeysValues]) -> Tensor:
        """Run one layer, ``[B, F, H, W, C]`` to ``[B, F, H, W, C']``."""
        x = self._run(self.convolve, index, x, time)
        return self._run(self.attend, index, x, next(text)) if self.has_attention else x

    def _run(self, function: Callable[..., Tensor], *args: Any) -> Tensor:
        if self.gradient_checkpointing and self.training:
            return checkpoint(function, *args, use_reentrant=False)
        return function(*args)


class DownStage(Stage):
    """A level on the way down; keeps what every layer made."""

    def __init__(
        self,
        config: VideoUNetConfig,
        widths: Sequence[tuple[int, int]],
        attention: bool,
        downsample: bool,
        ops: Any,
    ) -> None:
        super().__init__(config, widths, len(widths) if attention else 0, ops)
        channels = widths[-1][1]
        self.downsamplers = nn.ModuleList([Downsample(channels, ops)] if downsample else [])

    def forward(self, x: Tensor, time: Tensor, text: Iterator[KeysValues]) -> list[Tensor]:
        """Return the hidden states after every layer and after the downsampling."""
        states = []
        for index in range(len(self.resnets)):
            x = self.layer(index, x, time, text)
            states.append(x)
        for downsample in self.downsamplers:
            states.append(downsample(x))
        return states


class MidStage(Stage):
    """Convolutions, attentions, convolutions at the coarsest level."""

    def __init__(self, config: VideoUNetConfig, ops: Any) -> None:
        channels = config.block_out_channels[-1]
        super().__init__(config, [(channels, channels)] * 2, 1, ops)

    def forward(self, x: Tensor, time: Tensor, text: Iterator[KeysValues]) -> Tensor:
        """Map ``[B, F, H, W, C]`` to the same shape."""
        x = self.layer(0, x, time, text)
        return self._run(self.convolve, 1, x, time)


class UpStage(Stage):
    """A level on the way up; each layer also reads what the way down kept."""

    def __init__(
        self,
        config: VideoUNetConfig,
        widths: Sequence[tuple[int, int]],
        attention: bool,
        upsample: bool,
        ops: Any,
    ) -> None:
        super().__init__(config, widths, len(widths) if attention else 0, ops)
        channels = widths[-1][1]
        self.upsamplers = nn.ModuleList([Upsample(channels, ops)] if upsample else [])

    def forward(
        self, x: Tensor, skips: list[Tensor], time: Tensor, text: Iterator[KeysValues]
    ) -> Tensor:
        """Map ``[B, F, H, W, C]`` to the next finer level, taking its skips off the list's end."""
        for index in range(len(self.resnets)):
            x = self.layer(index, torch.cat((x, skips.pop()), dim=-1), time, text)
        for upsample in self.upsamplers:
            x = upsample(x, size=skips[-1].shape[2:4])  # odd sizes come back exactly
        return x


class VideoUNet(nn.Module):
    """A 3-D UNet over latents: spatial blocks on frames, temporal blocks on pixels.

    Args:
        config: Sizes.
        ops: Namespace that layers are taken from: Linear, Conv2d, Conv3d, GroupNorm, LayerNorm.
    """

    def __init__(self, config: VideoUNetConfig, ops: Any = layers) -> None:
        super().__init__()
        self.config = config
        channels = config.block_out_channels
        groups = config.norm_num_groups

        self.conv_in = ops.Conv2d(config.in_channels, channels[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(channels[0], 4 * channels[0], ops)
        # ModelScopeT2V gives this one eight heads whatever its width.
        self.transformer_in = TemporalTransformer(
            channels[0], 8, config.attention_head_dim, groups, ops
        )

        # `text_keys_values` walks the modules in this order, which is forward's.
        self.down_blocks = nn.ModuleList()
        self.mid_block = MidStage(config, ops)
        self.up_blocks = nn.ModuleList()
        kept = [channels[0]]  # widths of the skips
        for level, (kind, out) in enumerate(zip(config.down_block_types, channels, strict=True)):
            downsample = level < len(channels) - 1
            widths = [(kept[-1], out)] + [(out, out)] * (config.layers_per_block - 1)
            self.down_blocks.append(DownStage(config, widths, _ATTENTION[kind], downsample, ops))
            kept += [out] * (config.layers_per_block + downsample)
        width = channels[-1]
        for level, (kind, out) in enumerate(
            zip(config.up_block_types, channels[::-1], strict=True)
        ):
            widths = []
            for _ in range(config.layers_per_block + 1):
                widths.append((width + kept.pop(), out))
                width = out
            upsample = level < len(channels) - 1
            self.up_blocks.append(UpStage(config, widths, _ATTENTION[kind], upsample, ops))

        self.conv_norm_out = ops.GroupNorm(groups, channels[0], eps=config.norm_eps)
        self.conv_out = ops.Conv2d(channels[0], config.out_channels, 3, padding=1)

    def text_keys_values(self, text: Tensor) -> TextKeysValues:
        """Project a text once, for all the steps of a clip.

        Args:
            text: ``[B, L, D]`` for whole clips, or ``[B, F, L, D]`` with a context of its own for
                each frame.
        """
        if text.shape[-1] != self.config.cross_attention_dim:
            raise ValueError(
                f"The text's tokens are {text.shape[-1]} wide; this network reads tokens of width "
                f"{self.config.cross_attention_dim}."
            )
        text = text.flatten(0, -3)  # [B, L, D] or [B F, L, D]
        readers = (m for m in self.modules() if isinstance(m, SpatialTransformer))
        return TextKeysValues(tuple(reader.keys_values(text) for reader in readers))

    def forward(
        self,
        sample: Tensor,
        timesteps: Tensor,
        text: Tensor | TextKeysValues,
        down_residuals: Sequence[Tensor] = (),
        mid_residual: Tensor | None = None,
    ) -> Tensor:
        """Predict noise, velocity or clean latents, whatever the weights were trained for.

        Args:
            sample: Noisy latents and what is stacked on their channels, ``[B, C, F, H, W]``.
            timesteps: ``[B]`` training timesteps.
            text: ``[B, L, D]``, ``[B, F, L, D]``, or what `text_keys_values` made of it.
            down_residuals: Added to the skips, finest first, each ``[B, C', F, h, w]``.
            mid_residual: Added to the middle block's output, ``[B, C', F, h, w]``.

        Returns:
            ``[B, out_channels, F, H, W]``.
        """
        if not isinstance(text, TextKeysValues):
            text = self.text_keys_values(text)
        texts = iter(text.layers)
        num_frames = sample.shape[2]
        # SiLU here once, not in every block that reads it.
        time = F.silu(self.time_embedding(timesteps, sample.dtype))

        x = sample.movedim(1, -1).contiguous()  # [B, F, H, W, C]
        x = as_frames(self.conv_in(as_images(x)), num_frames)
        x = self.transformer_in(x)
        skips = [x]
        for down in self.down_blocks:
            skips += down(skips[-1], time, texts)
        x = self.mid_block(skips[-1], time, texts)

        for index, residual in enumerate(down_residuals):
            skips[index] = skips[index] + residual.movedim(1, -1)
        if mid_residual is not None:
            x = x + mid_residual.movedim(1, -1)

        for up in self.up_blocks:
            x = up(x, skips, time, texts)
        x = self.conv_out(F.silu(self.conv_norm_out(as_images(x))))
        return as_frames(x, num_frames).movedim(-1, 1).contiguous()


def enable_gradient_checkpointing(network: nn.Module, enabled: bool = True) -> None:
    """Trade time for memory in training: recompute each layer's insides on the way back."""
    for module in network.modules():
        if isinstance(module, Stage):
            module.gradient_checkpointing = enabled
