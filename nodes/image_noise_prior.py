"""Image Noise Prior: binds a still to the conditioning, and starts the clip from it."""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..trip_core.anchor import Anchor
from ..trip_core.pipeline import Model, fit_to_model
from ..trip_core.prior import PriorWeights
from ..trip_core.stills import check_still_size
from .held_still import KEY, HeldStill, hold, repeat_frames
from .still_fit import FITS, fit_image, fit_mask

_SHARE = {"min": 0.0, "max": 1.0, "step": 0.01}


class ImageNoisePrior:
    """Node ``TRIP_ImageNoisePrior``."""

    CATEGORY = "TRIP"
    DESCRIPTION = (
        "Gives the clip its still: works out how the picture moves under the text, and makes every "
        "frame start from the still and be held to it. Connect its outputs to TRIP Sampler or "
        "KSampler."
    )
    SEARCH_ALIASES: ClassVar = ["image to video", "img2vid", "animate image", "trip conditioning"]
    FUNCTION = "prepare"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "LATENT")
    RETURN_NAMES = ("positive", "negative", "latent")
    OUTPUT_TOOLTIPS = (
        "The text and the still, for the sampler.",
        "The text to avoid and the still, for the sampler.",
        "The still's latents, moved into every frame: where the sampler starts.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "From Load TRIP Model."}),
                "positive": ("CONDITIONING", {"tooltip": "What moves and how."}),
                "negative": ("CONDITIONING", {"tooltip": "What should not be seen."}),
                "vae": ("VAE", {"tooltip": "From the same Load TRIP Model."}),
                "image": ("IMAGE", {"tooltip": "The still; of several, the first."}),
                "width": (
                    "INT",
                    {
                        "default": 0, "min": 0, "max": 16384, "step": 2,
                        "tooltip": "Width of the clip in pixels; 0 keeps the still's.",
                    },
                ),
                "height": (
                    "INT",
                    {
                        "default": 0, "min": 0, "max": 16384, "step": 2,
                        "tooltip": "Height of the clip in pixels; 0 keeps the still's.",
                    },
                ),
                "fit": (
                    list(FITS),
                    {
                        "tooltip": "If the still has another shape: cut it, add borders, or "
                        "stretch it. overscan cuts, and shows so much less of the picture that a "
                        "moving camera never leaves it."
                    },
                ),
                "length": (
                    "INT",
                    {"default": 16, "min": 1, "max": 1024, "tooltip": "Frames of the clip."},
                ),
                "motion_strength": (
                    "FLOAT",
                    {
                        "default": 1.0, "min": 0.0, "max": 4.0, "step": 0.05,
                        "tooltip": "How far things move, as a multiple of what the text says. For "
                        "models with a motion network.",
                    },
                ),
                "prior_strength": (
                    "FLOAT",
                    {
                        "default": 1.0, **_SHARE,
                        "tooltip": "How far the frames are held to the still; 1 is as trained.",
                    },
                ),
                "decay_over_frames": (
                    "FLOAT",
                    {
                        "default": 0.0, **_SHARE,
                        "tooltip": "How much of that is gone at the last frame; 0 is as trained.",
                    },
                ),
                "decay_over_time": (
                    "FLOAT",
                    {
                        "default": 0.0, "min": 0.0, "max": 8.0, "step": 0.05,
                        "tooltip": "How much earlier the sampling lets go of it; 0 is as trained.",
                    },
                ),
            },
            "optional": {
                "mask": (
                    "MASK",
                    {"tooltip": "What is painted stays as it is in the still, in every frame."},
                ),
            },
        }  # fmt: skip

    @torch.no_grad()
    def prepare(
        self, model: Any, positive: list, negative: list, vae: Any, image: Tensor,
        width: int, height: int, fit: str, length: int, motion_strength: float,
        prior_strength: float, decay_over_frames: float, decay_over_time: float,
        mask: Tensor | None = None,
    ) -> tuple[list, list, dict[str, Any]]:  # fmt: skip
        """Return conditioning and latents that hold the still."""
        from . import host_prior

        core = host_prior.core_model(model, vae)
        prior = prior_weights(core, prior_strength, decay_over_frames, decay_over_time)
        still = fit_image(image, width, height, fit)
        kept = None if mask is None else fit_mask(mask, image, still, fit)
        small = fit_to_model(core, still)
        motion = host_prior.motion(model, core, small, positive, motion_strength)
        anchor = None
        if motion is not None:
            anchor = Anchor(still, motion, length, kept, overscan=fit == "overscan")
        held, start = hold_still(core, small, anchor, length, prior, kept)
        latent = {"samples": start} if anchor is None else {"samples": start, KEY: anchor}
        return hold(positive, held), hold(negative, held), latent


def prior_weights(
    core: Model, strength: float, over_frames: float, over_time: float
) -> PriorWeights:
    """Return the model's prior weights, changed to taste."""
    weights = core.trip.config.prior.scaled(strength, over_time)
    return replace(weights, last=weights.last * (1 - over_frames))


def hold_still(
    core: Model,
    small: Tensor,
    anchor: Anchor | None,
    length: int,
    prior: PriorWeights,
    kept: Tensor | None,
) -> tuple[HeldStill, Tensor]:
    """Return what the sampler is held to, and the latents that it starts from.

    Args:
        core: The model; its autoencoder encodes.
        small: The still at the model's size, ``[1, 3, h, w]`` in 0..1.
        anchor: Its motion; None for a model without.
        length: Frames of the clip.
        prior: Weights.
        kept: Painted places, ``[1, 1, H, W]``.
    """
    check_still_size(small.shape[-2], small.shape[-1])
    scale = core.vae.downscale
    size = (small.shape[-2] // scale, small.shape[-1] // scale)
    if anchor is None:
        still = core.vae.encode(small * 2 - 1)
        places = None
        if kept is not None:
            places = torch.nn.functional.interpolate(kept.float(), size, mode="area")
        return HeldStill(still, length, prior, kept=places), repeat_frames(still, length)
    frames = torch.stack(list(anchor.frames(small[0])))
    warped = core.vae.encode(frames * 2 - 1)  # [F, C, h, w]
    held = HeldStill(warped[:1], length, prior, warped, anchor.visibility(size))
    return held, warped.clone()
