"""Image Noise Prior: binds a still to the conditioning, and starts the clip from it."""

from typing import Any, ClassVar

import torch

from . import host_systems
from .still_fit import FITS
from .wishes import Wishes

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
                        "moving camera never leaves it. It is for models with a motion network."
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
                        "tooltip": "How far the frames are held to the still. As trained: 1 for "
                        "TRIP, 0 for DynamiCrafter. DreamVideo has no prior: leave it at 1.",
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
                        "tooltip": "How early the sampling lets go of the frames after the first; "
                        "0 is as trained, larger is earlier.",
                    },
                ),
            },
            "optional": {
                "mask": (
                    "MASK",
                    {"tooltip": "What is painted stays as it is in the still, in every frame."},
                ),
                "end_still": (
                    "IMAGE",
                    {
                        "tooltip": "The last frame, of the same size as the still. For "
                        "DynamiCrafter's model for two stills (512_interp)."
                    },
                ),
                "loop": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "The clip returns to the still, so that it can be played round "
                        "and round. For the same model.",
                    },
                ),
                "fs": (
                    "INT",
                    {
                        "default": 0, "min": 0, "max": 60,
                        "tooltip": "Pace of a DynamiCrafter clip. 512 and 1024: frames per second, "
                        "5 to 30, lower moves more. 256: frame stride, 1 to 6, higher moves more. "
                        "0 is the model's own.",
                    },
                ),
            },
        }  # fmt: skip

    @torch.no_grad()
    def prepare(
        self, model: Any, positive: list, negative: list, vae: Any, **wishes: Any
    ) -> tuple[list, list, dict[str, Any]]:
        """Return conditioning and latents that hold the still."""
        inside = host_systems.animator(model)
        return inside.hold(vae, positive, negative, Wishes(**wishes))
