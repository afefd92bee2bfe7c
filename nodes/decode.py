"""TRIP Decode: latents into frames at the still's own resolution."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ..trip_core.anchor import Anchor
from ..trip_core.compose import Edges, needs_generated
from . import host
from .held_still import KEY, MovedStill
from .sources import Frames, Source, from_images

#: Frames that are decoded at a time.
_CHUNK = 4


class TRIPDecode:
    """Node ``TRIP_Decode``."""

    CATEGORY = "TRIP"
    DESCRIPTION = (
        "Makes the frames at the still's own resolution: the still's own pixels, moved; what comes "
        "into view is filled. VAE Decode on the same latent gives the small frames that the model "
        "sampled. Latents without motion are decoded as by VAE Decode."
    )
    SEARCH_ALIASES: ClassVar = ["vae decode", "decode video", "full resolution"]
    FUNCTION = "decode"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    OUTPUT_TOOLTIPS = ("The frames of the clip.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        return {
            "required": {
                "latent": (
                    "LATENT",
                    {
                        "tooltip": "From TRIP Sampler or Image Noise Prior, as it is: cut, scale, "
                        "flip or turn the frames after TRIP Decode."
                    },
                ),
                "vae": ("VAE", {"tooltip": "From the same Load TRIP Model."}),
                "edges": (
                    ["mirror", "generate"],
                    {
                        "default": "mirror",
                        "tooltip": "What fills places that the still does not show: the still's "
                        "mirrored surroundings (needs no sampling), or what the model sampled.",
                    },
                ),
            }
        }

    @torch.no_grad()
    def decode(self, latent: dict[str, Any], vae: Any, edges: Edges) -> tuple[Tensor]:
        """Return the frames, ``[F, H, W, 3]``."""
        clip = decoded(latent, vae, edges)
        frames = host.Progress(clip.num_frames).through(clip.frames())
        first = next(frames)
        images = torch.empty(clip.num_frames, *first.shape[1:], len(first))
        images[0] = first.movedim(0, -1)
        for index, frame in enumerate(frames, start=1):
            images[index] = frame.movedim(0, -1)
        return (images,)


@torch.no_grad()
def decoded(latent: dict[str, Any], vae: Any, edges: Edges = "mirror") -> Source:
    """Return the clip that a LATENT becomes.

    Its frames are decoded as they are asked for; those of video latents ``[B, C, T, h, w]`` at
    once, for their VAE looks across frames and alone knows how many it makes of T.

    Raises:
        ValueError: If the LATENT was changed since Image Noise Prior made it, or is not the VAE's.
    """
    samples: Tensor = latent["samples"]
    moved: MovedStill | None = latent.get(KEY)
    if moved is not None:
        moved.check(samples)
    _check_vae(vae, samples)
    if moved is not None:
        return Source(len(samples), lambda: _moved(samples, vae, moved.anchor, edges), held=False)
    if samples.ndim == 5:
        return from_images(_images(vae, samples))
    return Source(len(samples), lambda: _in_parts(samples, vae), held=False)


def _check_vae(vae: Any, samples: Tensor) -> None:
    """Refuse latents that a VAE cannot decode, as far as it says which those are."""
    if samples.ndim == 5 and getattr(vae, "latent_dim", 3) == 2:
        raise ValueError(
            f"this VAE decodes pictures; the LATENT is a video, {list(samples.shape)}: connect the "
            "VAE of the model that sampled it"
        )
    channels = getattr(vae, "latent_channels", samples.shape[1])
    if samples.shape[1] != channels:
        raise ValueError(
            f"this VAE decodes latents of {channels} channels; the LATENT's have "
            f"{samples.shape[1]}: connect the VAE of the model that sampled it"
        )


@torch.no_grad()
def _moved(samples: Tensor, vae: Any, anchor: Anchor, edges: Edges) -> Frames:
    """Move the still's own pixels; places that it does not show are filled."""
    device, generated = host.compute_device(), None
    edges = "overscan" if anchor.overscan else edges
    if needs_generated(anchor.motion, edges):
        generated = torch.stack(list(_in_parts(samples, vae))).to(device)
    for frame in anchor.to(device).frames(edges=edges, generated=generated):
        yield frame.float().cpu()


@torch.no_grad()
def _in_parts(samples: Tensor, vae: Any) -> Frames:
    """Decode frame batches ``[F, C, h, w]`` a few at a time."""
    for part in samples.split(_CHUNK):
        yield from _images(vae, part).movedim(-1, 1)


def _images(vae: Any, samples: Tensor) -> Tensor:
    """Return IMAGE ``[F, H, W, C]``; batches of videos one after another, as VAE Decode does."""
    images: Tensor = vae.decode(samples)
    return images.reshape(-1, *images.shape[-3:])
