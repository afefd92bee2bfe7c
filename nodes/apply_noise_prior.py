"""Image Noise Prior (any model): keeps any video model to the still, without training.

Linear fusion (TRIP^W) on the denoised prediction, ``x0 <- (1 - w) x0 + w z_0^1``: exact whatever a
model predicts, because blending the noises is the same as blending what they lead to.
"""

from functools import partial
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from ..trip_core.prior import UNTRAINED, PriorWeights, blend_towards_still, keep
from . import host
from .after_guidance import after_guidance
from .sources import without_alpha


class ApplyNoisePrior:
    """Node ``TRIP_ApplyNoisePrior``."""

    CATEGORY = "TRIP"
    DESCRIPTION = (
        "Makes any video model keep to a still: AnimateDiff, Wan, LTX, SVD, whatever MODEL is "
        "connected. At every step its picture of the finished frames is drawn towards the still, "
        "most at the first frame."
    )
    SEARCH_ALIASES: ClassVar = ["image noise prior", "keep first frame", "trip prior", "img2vid"]
    FUNCTION = "patch"
    RETURN_TYPES = ("MODEL",)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The model, held to the still. Give it to any sampler.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        share = {"min": 0.0, "max": 1.0, "step": 0.01}
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The video model."}),
                "strength": (
                    "FLOAT",
                    {
                        "default": 1.0, **share,
                        "tooltip": "How far the first frame is the still; 1 is exactly, 0 is not.",
                    },
                ),
                "decay_over_frames": (
                    "FLOAT",
                    {
                        "default": 1.0, **share,
                        "tooltip": "How much of the strength is gone at the last frame: 1 lets the "
                        "clip move more and more, 0 holds all frames alike.",
                    },
                ),
                "decay_over_time": (
                    "FLOAT",
                    {
                        "default": 1.0, "min": 0.0, "max": 8.0, "step": 0.05,
                        "tooltip": "How early the sampling lets go: 0 holds on to the last step, "
                        "larger values leave the details of later frames to the model.",
                    },
                ),
            },
            "optional": {
                "still": ("LATENT", {"tooltip": "Latent of the still, in the clip's size."}),
                "image": ("IMAGE", {"tooltip": "Or the still itself, in the clip's size."}),
                "vae": ("VAE", {"tooltip": "The model's VAE; encodes the image."}),
                "mask": ("MASK", {"tooltip": "What is painted stays as in the still."}),
            },
        }  # fmt: skip

    def patch(
        self, model: Any, strength: float, decay_over_frames: float, decay_over_time: float,
        still: Any = None, image: Tensor | None = None, vae: Any = None, mask: Tensor | None = None,
    ) -> tuple[Any]:  # fmt: skip
        """Return the model with the prior on its predictions."""
        weights = UNTRAINED.scaled(strength, decay_over_time, decay_over_frames)
        latent = still_latent(still, image, vae)
        patched = model.clone()
        anchor = model.model.process_latent_in(latent)
        fuse = towards_still(anchor, weights, mask)
        after_guidance(patched, lambda guider: partial(fuse, guider.inner_model))
        return (patched,)


def still_latent(still: Any, image: Tensor | None, vae: Any) -> Tensor:
    """Return the still's latent, one frame, from whichever input is connected.

    Raises:
        ValueError: If none or both are, or an image comes without its VAE.
    """
    if (still is None) == (image is None):
        raise ValueError("connect the still once: its latent, or its image with the vae")
    if still is not None:
        samples = still["samples"]
        return samples[:1] if samples.ndim == 4 else samples[:1, :, :1]
    if vae is None:
        raise ValueError("an image needs the model's vae to be encoded; connect vae, or a latent")
    assert image is not None
    picture = without_alpha(image[0].movedim(-1, 0)).movedim(0, -1)
    latent = vae.encode(picture[None])
    return latent[:1] if latent.ndim == 4 else latent[:1, :, :1]


def towards_still(latent: Tensor, weights: PriorWeights, mask: Tensor | None) -> Any:
    """Return ``fuse(model, x0, sigma) -> x0``, to be called on every guided prediction.

    Args:
        latent: The still, scaled, ``[1, C, h, w]`` or ``[1, C, 1, h, w]``.
        weights: Lambda over frames and time.
        mask: Painted = kept, ``[1, H, W]`` in 0..1.
    """

    def fuse(model: Any, x0: Tensor, sigma: Tensor) -> Tensor:
        # A batch of frames [F, C, h, w] is one clip [1, C, F, h, w].
        video = x0 if x0.ndim == 5 else x0.movedim(0, 1)[None]
        anchor = latent if latent.ndim == 5 else latent[:, :, None]
        anchor = anchor.to(video)
        if anchor.shape[1] != video.shape[1] or anchor.shape[-2:] != video.shape[-2:]:
            raise ValueError(
                f"the still's latent is {list(anchor.shape[1:])} (channels, frames, height, width) "
                f"but the model samples {list(video.shape[1:])}; encode the still with the model's "
                "own VAE, scaled to the clip's width and height"
            )
        alpha_bar = host.signal_power(model, sigma).to(video.device)
        weight = weights(video.shape[2], alpha_bar.flatten()[:1])  # [1, 1, F, 1, 1]
        if mask is not None:
            kept = F.interpolate(mask[:1, None].float(), video.shape[-2:], mode="area")
            weight = keep(weight, kept)
        fused = blend_towards_still(video, anchor.expand_as(video), weight).to(x0.dtype)
        return fused if x0.ndim == 5 else fused[0].movedim(1, 0)

    return fuse
