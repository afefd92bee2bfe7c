"""TRIP: image-to-video by temporal residual learning with an image noise prior.

Zhang et al., CVPR 2024, arXiv:2403.17005. Two paths lead to the noise of every frame: a shortcut,
the image noise prior, which needs no parameters; and a residual path, a 3D-UNet that sees the noisy
frames and the clean still. Temporal noise fusion merges them. The paper's ablations are configs:

==========  =====================================================================================
TRIP        still in front of the frames on the time axis, temporal noise fusion
TRIP-       no shortcut: ``fusion="none"``
TRIP^W      linear fusion with lambda(i, t): ``fusion="linear"``
TRIP_C      still on the channels of every frame: ``conditioning="channels"``
TRIP_TE     still behind the frames: ``conditioning="time_end"``
==========  =====================================================================================

This project's extension is ``motion``: the prior is taken with respect to the still warped into
every frame, which the network also sees, with the map of where to trust it. A flow of zero with
full trust is the paper's prior.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from ..fusion import FusionConfig, TemporalNoiseFusion
from ..guidance import Branch
from ..nn import layers
from ..nn.unet3d import TextKeysValues, VideoUNet, VideoUNetConfig
from ..prediction import PredictionType, epsilon_from, x0_from
from ..prior import (
    Lambda,
    PriorWeights,
    blend_towards_still,
    per_frame,
    scaled_image_noise_prior,
)
from ..schedule import ScheduleConfig
from ..tables import from_table

StillConditioning = Literal["time_head", "time_end", "channels"]
Fusion = Literal["none", "linear", "tnf"]


@dataclass(frozen=True)
class TRIPConfig:
    """Everything that tells one TRIP from another.

    Attributes:
        unet: The residual 3D-UNet; its ``in_channels`` must be :attr:`unet_in_channels`.
        conditioning: Where the UNet sees the still.
        fusion: How the two paths merge.
        fusion_config: Sizes of the temporal noise fusion; used by ``fusion="tnf"`` alone.
        prior: Lambda's ends and decay: linear fusion's weight, and where a learned gate starts.
        prediction_type: What the UNet's output is, before fusion.
        motion: The prior is taken with respect to the warped still.
        schedule: The noise schedule.
    """

    unet: VideoUNetConfig = field(default_factory=VideoUNetConfig)
    conditioning: StillConditioning = "time_head"
    fusion: Fusion = "tnf"
    fusion_config: FusionConfig = field(default_factory=FusionConfig)
    prior: PriorWeights = field(default_factory=PriorWeights)
    prediction_type: PredictionType = "epsilon"
    motion: bool = False
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        for name, allowed in (
            ("conditioning", get_args(StillConditioning)),
            ("fusion", get_args(Fusion)),
            ("prediction_type", get_args(PredictionType)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"TRIP's {name} must be one of {', '.join(allowed)}; "
                    f"got {getattr(self, name)!r}"
                )
        if self.unet.in_channels != self.unet_in_channels:
            raise ValueError(
                f"with conditioning={self.conditioning!r} and motion={self.motion} the UNet's "
                f"in_channels must be {self.unet_in_channels}; got {self.unet.in_channels}"
            )
        if self.fusion == "tnf" and self.fusion_config.channels != self.channels:
            raise ValueError(
                f"the fusion's channels must be the latents', {self.channels}; "
                f"got {self.fusion_config.channels}"
            )
        if self.prediction_type == "epsilon" and self.schedule.zero_terminal_snr:
            raise ValueError(
                "a network that predicts epsilon says nothing where no signal is left; use "
                "prediction_type='v_prediction' with zero_terminal_snr"
            )

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return self.unet.out_channels

    @property
    def unet_in_channels(self) -> int:
        """Channels the UNet sees: noisy latents | still (TRIP_C) | warped still | visibility."""
        still = self.channels * (self.conditioning == "channels")
        return self.channels + still + (self.channels + 1) * self.motion

    @property
    def variant(self) -> str:
        """Which ablation of the paper this is, by its name there; see the top of this file."""
        name = {"none": "TRIP-", "linear": "TRIP^W", "tnf": "TRIP"}[self.fusion]
        where = {"time_head": "", "time_end": "TRIP_TE", "channels": "TRIP_C"}[self.conditioning]
        names = ", ".join([name, where] if where and name != "TRIP" else [where or name])
        return names + " with motion" * self.motion

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TRIPConfig":
        """Return the config that :meth:`to_dict` wrote.

        Raises:
            ValueError: If a key is unknown or a value of the wrong type.
        """
        return from_table(cls, values, "the TRIP config")


@dataclass(frozen=True)
class Conditioning:
    """What a clip is made from, bound before the sampling begins.

    Attributes:
        text: Text tokens, ``[B, L, D]``.
        still: Clean latent of the still, ``[B, C, h, w]``, scaled latent units.
        warped: The still warped into every frame, ``[B, C, F, h, w]``; with ``motion`` alone.
        visibility: Where to trust it, 0..1, ``[B, 1, F, h, w]``; with ``motion`` alone.
        prior: Overrides the config's prior weights.
    """

    text: Tensor
    still: Tensor
    warped: Tensor | None = None
    visibility: Tensor | None = None
    prior: Lambda | None = None


class TRIPOutput(NamedTuple):
    """What one forward returns.

    Attributes:
        x0: The merged prediction of the clean latents, ``[B, C, F, h, w]``, float32.
        residual_x0: What the UNet alone says, same shape.
        gate: How far each pixel is the still's, broadcastable to ``[B, 1, F, h, w]``; None in
            TRIP-.
        gate_logits: See :class:`trip_core.fusion.Fused`; None without a learned gate.
    """

    x0: Tensor
    residual_x0: Tensor
    gate: Tensor | None
    gate_logits: Tensor | None


class TRIP(nn.Module):
    """The network: image noise prior, residual 3D-UNet, temporal noise fusion.

    Args:
        config: Which TRIP.
        ops: Namespace that layers are taken from.

    Attributes:
        compute_dtype: None: compute in the weights' dtype. A host that stores weights in another
            dtype than it computes in sets this.
    """

    compute_dtype: torch.dtype | None = None

    def __init__(self, config: TRIPConfig, ops: Any = layers) -> None:
        super().__init__()
        self.config = config
        self.schedule = config.schedule.build()
        self.unet = VideoUNet(config.unet, ops)
        self.fusion = (
            TemporalNoiseFusion(config.fusion_config, ops) if config.fusion == "tnf" else None
        )

    def forward(
        self,
        z_t: Tensor,
        timesteps: Tensor,
        text: Tensor | TextKeysValues,
        still: Tensor,
        warped: Tensor | None = None,
        visibility: Tensor | None = None,
        prior: Lambda | None = None,
    ) -> TRIPOutput:
        """Predict the clean latents of every frame.

        Args:
            z_t: Noisy latents, ``[B, C, F, h, w]``, scaled latent units.
            timesteps: Training timesteps, ``[B]``.
            text: Text tokens, ``[B, L, D]``, or what ``unet.text_keys_values`` made of them.
            still: Clean latent of the still, ``[B, C, h, w]``.
            warped: The still warped into every frame, ``[B, C, F, h, w]``; with ``motion`` alone.
            visibility: Where to trust it, 0..1, ``[B, 1, F, h, w]``; with ``motion`` alone.
            prior: Overrides the config's prior weights.

        Raises:
            ValueError: If shapes do not belong together.
        """
        self._check(z_t, still, warped, visibility)
        config = self.config
        dtype = self.compute_dtype or next(self.parameters()).dtype
        z_t = z_t.float()
        alpha_bar = self.schedule.alpha_bar(timesteps)

        # Residual path: the UNet sees {z_0^1, z_t^1, ..., z_t^N}; what it says of the still itself
        # is dropped.
        seen = self._unet_input(z_t, still.float(), warped, visibility)
        output = self.unet(seen.to(dtype), timesteps, text)
        if config.conditioning == "time_head":
            output = output[:, :, 1:]
        elif config.conditioning == "time_end":
            output = output[:, :, :-1]
        residual_x0 = x0_from(output, z_t, alpha_bar, config.prediction_type)
        if config.fusion == "none":
            return TRIPOutput(residual_x0, residual_x0, None, None)

        # How far each frame, or with motion each pixel, starts out trusting the prior.
        anchor = still.float() if warped is None else warped.float()
        trust = (prior or config.prior)(z_t.shape[2], alpha_bar)  # [B, 1, F, 1, 1]
        if visibility is not None:
            trust = trust * visibility  # [B, 1, F, h, w]
        if self.fusion is None:
            # Linear fusion of the noises is this blend of what they lead to.
            return TRIPOutput(
                blend_towards_still(residual_x0, anchor, trust), residual_x0, trust, None
            )

        # Shortcut path, and the fusion of both.
        scaled_prior = scaled_image_noise_prior(z_t, anchor, alpha_bar)
        residual_noise = epsilon_from(output, z_t, alpha_bar, config.prediction_type)
        fused = self.fusion(
            scaled_prior.to(dtype),
            residual_noise.to(dtype),
            still=anchor,
            residual_x0=residual_x0,
            trust=trust,
            timesteps=timesteps,
            alpha_bar=alpha_bar,
        )
        return TRIPOutput(fused.x0, residual_x0, fused.gate, fused.gate_logits)

    def denoiser(self, conditioning: Conditioning) -> Branch:
        """Return ``denoise(z_t, t) -> x0``, the conditioning bound, its text projected once."""
        c = conditioning
        text = c.text.to(self.compute_dtype or next(self.parameters()).dtype)
        layers = self.unet.text_keys_values(text).layers
        inputs = layers, c.still, c.warped, c.visibility, c.prior
        return Branch(self._denoise, inputs, self.memory_required)

    def memory_required(self, places: int) -> int:
        """Return the bytes that a forward needs beside the weights.

        Args:
            places: Of the latents, of all frames and items: ``B F h w``.
        """
        dtype = self.compute_dtype or next(self.parameters()).dtype
        return places * self.config.unet.block_out_channels[0] * ACTIVATIONS * dtype.itemsize

    def _denoise(self, z_t: Tensor, timesteps: Tensor, inputs: Any) -> Tensor:
        layers, *rest = inputs
        return self(z_t, timesteps, TextKeysValues(layers), *rest).x0

    def _unet_input(
        self, z_t: Tensor, still: Tensor, warped: Tensor | None, visibility: Tensor | None
    ) -> Tensor:
        """Return what the UNet sees: the noisy frames with the still beside, before or behind."""
        frames, head = [z_t], [still.unsqueeze(2)]
        if self.config.conditioning == "channels":
            frames.append(still.unsqueeze(2).expand_as(z_t))
        if warped is not None and visibility is not None:
            frames += [warped.float(), visibility.float()]
            # The still's own frame: unmoved, wholly visible.
            head += [head[0], torch.ones_like(head[0][:, :1])]
        sequence, still_frame = torch.cat(frames, dim=1), torch.cat(head, dim=1)
        if self.config.conditioning == "time_head":
            return torch.cat((still_frame, sequence), dim=2)
        if self.config.conditioning == "time_end":
            return torch.cat((sequence, still_frame), dim=2)
        return sequence

    def _check(
        self, z_t: Tensor, still: Tensor, warped: Tensor | None, visibility: Tensor | None
    ) -> None:
        if z_t.ndim != 5 or z_t.shape[1] != self.config.channels:
            raise ValueError(
                f"z_t must be [B, {self.config.channels}, F, h, w]; got {tuple(z_t.shape)}"
            )
        if still.ndim != 4:
            raise ValueError(f"still must be [B, C, h, w]; got {tuple(still.shape)}")
        per_frame(still, z_t)  # names both shapes if they differ
        if not self.config.motion:
            if warped is not None or visibility is not None:
                raise ValueError(
                    "this TRIP takes its prior from the still itself; leave warped and visibility "
                    "out, or use a config with motion=True"
                )
            return
        expected = (z_t.shape, (z_t.shape[0], 1, *z_t.shape[2:]))
        found = tuple(None if x is None else tuple(x.shape) for x in (warped, visibility))
        if found != tuple(map(tuple, expected)):
            raise ValueError(
                f"this TRIP needs warped {tuple(expected[0])} and visibility {expected[1]}; "
                f"got {found[0]} and {found[1]}"
            )


#: Numbers alive at once in a forward, for each latent place, frame, item and channel of the first
#: level: 26 at full size, and a fifth more for what kernels take meanwhile.
ACTIVATIONS = 32

#: The paper's network: the UNet of ModelScopeT2V, whose released weights fit it. With an untrained
#: fusion it is TRIP^W.
_FULL = TRIPConfig()

#: The model that ships: 16 latent channels at an eighth of the size (the TAESD layout). Attention
#: is kept to the coarser level, where its short sequences cost least on a CPU; the fusion is so
#: narrow that it takes no more than 3 % of a step. The gate starts as the visibility of the warped
#: still, the same at every t.
_SMALL = TRIPConfig(
    unet=VideoUNetConfig(
        in_channels=33,
        out_channels=16,
        down_block_types=("DownBlock3D", "CrossAttnDownBlock3D"),
        up_block_types=("CrossAttnUpBlock3D", "UpBlock3D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=16,
        norm_num_groups=16,
    ),
    fusion_config=FusionConfig(channels=16, width=32, num_heads=2, patch_size=2),
    prior=PriorWeights(first=1.0, last=1.0, time_decay=0.0),
    prediction_type="v_prediction",
    motion=True,
    schedule=ScheduleConfig(kind="cosine"),
)
_SMALL_PAPER = replace(
    _SMALL, unet=replace(_SMALL.unet, in_channels=16), motion=False, prior=PriorWeights()
)

PRESETS: dict[str, TRIPConfig] = {
    "trip": _FULL,
    "trip_minus": replace(_FULL, fusion="none"),
    "trip_w": replace(_FULL, fusion="linear"),
    "trip_c": replace(_FULL, unet=replace(_FULL.unet, in_channels=8), conditioning="channels"),
    "trip_te": replace(_FULL, conditioning="time_end"),
    "small": _SMALL,
    "small_paper": _SMALL_PAPER,
    "small_minus": replace(_SMALL_PAPER, fusion="none"),
}
