"""Load TRIP Model: MODEL, CLIP and VAE of a checkpoint, or of the model that ships."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..trip_core.checkpoint import load_model
from ..trip_core.pipeline import Autoencoder, Model
from . import host

_PRECISIONS = ("auto", "fp32", "bf16", "fp16")


class LoadTRIPModel:
    """Node ``TRIP_LoadModel``."""

    CATEGORY = "TRIP"
    DESCRIPTION = (
        "Loads a TRIP model. The built-in one is small, runs on any machine and needs no download; "
        "others are listed from models/trip."
    )
    SEARCH_ALIASES: ClassVar = ["image to video", "img2vid", "animate", "trip", "load checkpoint"]
    FUNCTION = "load"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    RETURN_NAMES = ("model", "clip", "vae")
    OUTPUT_TOOLTIPS = (
        "The video model, for Image Noise Prior and any sampler.",
        "Its text encoder, for CLIP Text Encode.",
        "Its autoencoder, for Image Noise Prior and decoding.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        return {
            "required": {
                "model_name": (
                    host.model_names(),
                    {
                        "tooltip": "The built-in model, or what lies in models/trip: .safetensors "
                        "files, and ModelScopeT2V or ZeroScope folders in diffusers' layout."
                    },
                ),
                "precision": (
                    list(_PRECISIONS),
                    {"tooltip": "Of the weights. auto takes what this machine is best at."},
                ),
            }
        }

    @classmethod
    def IS_CHANGED(cls, model_name: str, precision: str) -> str:
        """Load again when the file changed."""
        path = host.model_path(model_name)
        stamp = 0 if path is None else Path(path).stat().st_mtime_ns
        return f"{model_name} {precision} {stamp}"

    def load(self, model_name: str, precision: str) -> tuple[Any, Any, Any]:
        """Return the model in the host's own types."""
        from . import host_model

        core = load_model(host.model_path(model_name))
        model = host_model.build_model(core, precision, latent_format(core))
        return model, host_model.build_clip(core), host_model.build_vae(vae_state(core))


def vae_state(core: Model) -> dict[str, Tensor]:
    """Return the state dict of a model's autoencoder, in the layout that hosts know."""
    vae: Any = core.vae
    return {key.removeprefix("vae."): tensor for key, tensor in vae.state_dict().items()}


def latent_format(core: Model) -> Any:
    """Return how the host is to see a model's latents."""
    from .host_model import TRIPLatents

    channels = core.trip.config.channels
    if channels == 4:
        import comfy.latent_formats

        return comfy.latent_formats.SD15()
    factors, bias = preview_colours(core.vae)
    return TRIPLatents(channels, 1.0, factors, bias)


@torch.no_grad()
def preview_colours(vae: Autoencoder, seed: int = 0) -> tuple[list, list]:
    """Fit what colour a latent stands for: RGB in -1..1 = latents @ factors + bias.

    Least squares over soft random pictures, each latent against the mean colour of its pixels.

    Returns:
        (factors ``[C][3]``, bias ``[3]``), as the host's latent formats hold them.
    """
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(16, 3, 6, 6, generator=generator) * 2 - 1
    contrast = torch.rand(16, 1, 1, 1, generator=generator)
    offset = (torch.rand(16, 3, 1, 1, generator=generator) * 2 - 1) * (1 - contrast)
    pictures = torch.nn.functional.interpolate(
        coarse * contrast + offset, size=(64, 64), mode="bicubic"
    ).clamp(-1, 1)
    latents = vae.encode(pictures)
    colours = torch.nn.functional.avg_pool2d(pictures, vae.downscale)
    rows = latents.movedim(1, -1).flatten(0, 2).double()
    rows = torch.cat((rows, torch.ones_like(rows[:, :1])), dim=1)
    wanted = colours.movedim(1, -1).flatten(0, 2).double()
    fit = torch.linalg.lstsq(rows, wanted).solution  # [C + 1, 3]
    return fit[:-1].float().tolist(), fit[-1].float().tolist()
