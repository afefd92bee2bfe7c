"""A DynamiCrafter clip's stills: from the wishes of Image Noise Prior to the network's inputs."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..trip_core.pipeline import Autoencoder
from ..trip_core.pipeline_dynamicrafter import END_PACE, clip_size
from ..trip_core.prior import StillPrior
from ..trip_core.systems.dynamicrafter import (
    DynamiCrafterConfig,
    check_two_stills,
    guide_frames,
    still_prior,
)
from .still_fit import fit_image, kept_places, wanted_size
from .wishes import Wishes


@dataclass(frozen=True, eq=False)
class HeldClip:
    """What Image Noise Prior binds to the conditioning of a DynamiCrafter.

    Latents are the host's, unscaled; axes ``[1, C, F, h, w]``.

    Attributes:
        stills: What stands beside each frame's noise.
        prior: The image noise prior; None changes nothing.
        pace: In the model's own measure; None is the model's own.
    """

    stills: Tensor
    prior: StillPrior | None = None
    pace: int | None = None

    @property
    def num_frames(self) -> int:
        """The clip's frames F."""
        return self.stills.shape[2]

    @property
    def acts(self) -> bool:
        """Whether the prior changes anything."""
        return self.prior is not None

    @property
    def anchors(self) -> Tensor:
        """The still that each frame is held to by the prior."""
        assert self.prior is not None
        return self.prior.still

    def towards_stills(self, x0: Tensor, anchors: Tensor, alpha_bar: Tensor) -> Tensor:
        """Return denoised frames ``[F, C, h, w]`` drawn towards their stills (TRIP^W).

        Args:
            x0: The guided prediction, scaled latents.
            anchors: ``self.anchors``, scaled.
            alpha_bar: Signal power at t, ``[1]``.
        """
        assert self.prior is not None
        video = x0.movedim(0, 1)[None]
        fused = replace(self.prior, still=anchors.to(video)).towards_still(video, alpha_bar)
        return fused[0].movedim(1, 0).to(x0.dtype)


def hold_clip(
    config: DynamiCrafterConfig, vae: Autoencoder, wishes: Wishes
) -> tuple[HeldClip, Tensor]:
    """Return what a clip is held to, and its still's latent ``[1, C, h, w]``, unscaled.

    Args:
        config: Which DynamiCrafter.
        vae: Its autoencoder; pixels -1..1.
        wishes: The node's inputs.

    Raises:
        ValueError: If a wish cannot be followed; one sentence.
    """
    check_wishes(config, wishes)
    height, width = clip_pixels_size(config, vae, wishes)
    still = fit_image(wishes.image, width, height, wishes.fit)
    latent = vae.encode(still[None] * 2 - 1)
    if latent.shape[1] != config.unet.out_channels:
        raise ValueError(
            f"DynamiCrafter's latents have {config.unet.out_channels} channels, this VAE's "
            f"{latent.shape[1]}; connect the VAE of the same Load TRIP Model"
        )
    end = latent if wishes.loop else None
    if wishes.end_still is not None:
        picture = fit_image(wishes.end_still, width, height, wishes.fit)
        end = vae.encode(picture[None] * 2 - 1)
    kept = kept_places(wishes.mask, wishes.image, still, wishes.fit)
    if kept is not None:
        kept = torch.nn.functional.interpolate(kept, latent.shape[-2:], mode="area")
    prior = still_prior(
        latent,
        end,
        wishes.length,
        wishes.prior_strength,
        wishes.decay_over_frames,
        wishes.decay_over_time,
        kept,
    )
    pace = wishes.fs or (None if end is None else END_PACE)
    stills = guide_frames(latent, wishes.length, end).contiguous()
    return HeldClip(stills, prior, pace), latent


def clip_pixels_size(
    config: DynamiCrafterConfig, vae: Autoencoder, wishes: Wishes
) -> tuple[int, int]:
    """Return height and width of the clip: as wished, or as the model was trained.

    Raises:
        ValueError: If a wished side is no multiple of what the network halves.
    """
    still = wishes.image[0].movedim(-1, 0)
    if not wishes.width and not wishes.height:
        return clip_size(still, config.size)
    size = wanted_size((still.shape[1], still.shape[2]), wishes.width, wishes.height)
    unit = vae.downscale * 2 ** (len(config.unet.block_out_channels) - 1)
    if any(side % unit for side in size):
        down = [max(side // unit, 1) * unit for side in size]
        up = [-(-side // unit) * unit for side in size]
        raise ValueError(
            f"the sides of a DynamiCrafter clip are multiples of {unit} pixels; got {size[1]} x "
            f"{size[0]}: set {down[1]} x {down[0]} or {up[1]} x {up[0]}, or width and height 0 for "
            "the size that the model was trained at"
        )
    return size


def check_wishes(config: DynamiCrafterConfig, wishes: Wishes) -> None:
    """Refuse what DynamiCrafter cannot do.

    Args:
        config: Which DynamiCrafter.
        wishes: The node's inputs.

    Raises:
        ValueError: Naming the wish and what to do instead.
    """
    if wishes.loop and wishes.end_still is not None:
        raise ValueError("a loop ends with its own still; disconnect end_still or switch loop off")
    if wishes.loop or wishes.end_still is not None:
        masked = wishes.mask is not None and wishes.end_still is not None
        check_two_stills(config, wishes.length, masked=masked)
    if wishes.motion_strength != 1:
        raise ValueError(
            f"motion_strength is for models with a motion network; got {wishes.motion_strength}: "
            "set it back to 1 and use fs for the pace of a DynamiCrafter clip"
        )
    wishes.refuse_motion("DynamiCrafter")


def check_conditioning(
    config: DynamiCrafterConfig, held: Any, tokens: Any, text: Tensor | None, noise: Tensor
) -> None:
    """Refuse conditioning that the network cannot be called with.

    Args:
        config: Which DynamiCrafter.
        held: What Image Noise Prior bound.
        tokens: What Image Context bound, ``[1, L, E]``.
        text: Text tokens, ``[B, L, D]``.
        noise: Of the LATENT, ``[F, C, h, w]``.

    Raises:
        ValueError: Naming the node that is missing or the sizes that differ.
    """
    if not isinstance(held, HeldClip):
        raise ValueError(
            "the conditioning holds no still for DynamiCrafter; put Image Noise Prior, with this "
            "MODEL, between the text and the sampler, for positive and negative"
        )
    if tokens is None:
        raise ValueError(
            "the conditioning holds no picture's tokens, which DynamiCrafter reads beside the "
            "text; put Image Context between the text and Image Noise Prior"
        )
    width = config.unet.cross_attention_dim
    if text is None or text.shape[-1] != width:
        have = "none" if text is None else f"{text.shape[-1]} wide"
        raise ValueError(
            f"DynamiCrafter reads text tokens {width} wide; the conditioning's are {have}: use "
            "the CLIP of the same Load TRIP Model, or Stable Diffusion 2.1's"
        )
    expected = (held.num_frames, held.stills.shape[1], *held.stills.shape[-2:])
    if tuple(noise.shape) != expected:
        raise ValueError(
            f"the conditioning was made for latents {list(expected)} (frames, channels, height, "
            f"width); the LATENT is {list(noise.shape)}: connect the LATENT of the same Image "
            "Noise Prior"
        )
