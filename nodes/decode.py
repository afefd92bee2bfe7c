"""TRIP Decode: latents into frames at the still's own resolution."""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..trip_core.anchor import Anchor
from ..trip_core.compose import Edges
from . import host
from .held_still import KEY

#: Frames that are decoded at a time.
_CHUNK = 8


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
                "latent": ("LATENT", {"tooltip": "From TRIP Sampler or Image Noise Prior."}),
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
        progress = host.Progress(num_frames(latent))
        frames = progress.through(stream(latent, vae, edges))
        first = next(frames)
        images = torch.empty(num_frames(latent), *first.shape[1:], 3)
        images[0] = first.movedim(0, -1)
        for index, frame in enumerate(frames, start=1):
            images[index] = frame.movedim(0, -1)
        return (images,)


def num_frames(latent: dict[str, Any]) -> int:
    """Return how many frames a LATENT holds."""
    samples: Tensor = latent["samples"]
    return len(samples) if samples.ndim == 4 else samples.shape[0] * samples.shape[2]


@torch.no_grad()
def stream(latent: dict[str, Any], vae: Any, edges: Edges = "mirror") -> Iterator[Tensor]:
    """Yield the frames of a LATENT, ``[3, H, W]`` on the CPU, decoded as they are asked for.

    Raises:
        ValueError: If the LATENT was cut since Image Noise Prior made it.
    """
    anchor: Anchor | None = latent.get(KEY)
    if anchor is None:
        yield from _decoded(latent["samples"], vae)
        return
    count = num_frames(latent)
    if count != anchor.num_frames:
        raise ValueError(
            f"this LATENT holds {count} frames but its motion is of {anchor.num_frames}; decode it "
            "whole and cut the frames, or use VAE Decode"
        )
    generated = None
    if edges == "generate" and not anchor.overscan:
        generated = torch.stack(list(_decoded(latent["samples"], vae)))
    device = host.compute_device()
    generated = None if generated is None else generated.to(device)
    for frame in anchor.to(device).frames(edges=edges, generated=generated):
        yield frame.float().cpu()


def _decoded(samples: Tensor, vae: Any) -> Iterator[Tensor]:
    """Decode frame batches a few at a time; video latents as a whole (their VAE looks across)."""
    if samples.ndim == 5:
        yield from vae.decode(samples).flatten(0, 1).movedim(-1, 1)
        return
    for part in samples.split(_CHUNK):
        yield from vae.decode(part).movedim(-1, 1)
