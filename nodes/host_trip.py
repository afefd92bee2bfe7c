"""TRIP in the host: a checkpoint as MODEL, CLIP and VAE."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..trip_core.diffusers_folder import encoder_tensors, load_system
from ..trip_core.pipeline import Autoencoder, Model
from ..trip_core.trip_file import load_model


def load(path: Path | None, precision: str) -> tuple[Any, Any, Any]:
    """Return MODEL, CLIP and VAE; see ``host_systems.load``.

    Args:
        path: A checkpoint, or a folder in diffusers' layout; None for the model that ships.
        precision: "auto", "fp32", "bf16" or "fp16".
    """
    if path is not None and path.is_dir():
        return _load_folder(path, precision)
    from . import host_model

    core = load_model(path)
    model = host_model.build_model(core, precision, latent_format(core))
    return model, host_model.build_clip(core), host_model.build_vae(vae_state(core))


def _load_folder(folder: Path, precision: str) -> tuple[Any, Any, Any]:
    """Load a folder whose VAE and CLIP are the host's own classes: diffusers need not be there."""
    import comfy.diffusers_convert
    import comfy.latent_formats

    from . import host_model, host_released

    trip, defaults = load_system(folder, "cpu", torch.float32)
    vae, text = encoder_tensors(folder)
    try:
        clip = host_released.build_text(text)
        decoder = host_released.build_vae(comfy.diffusers_convert.convert_vae_state_dict(vae))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    none: Any = None
    core = Model(trip, none, none, defaults=defaults)
    model = host_model.build_model(core, precision, comfy.latent_formats.SD15())
    return model, clip, decoder


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

    Least squares over random pictures, soft to fine, each latent against its pixels' mean colour.

    Returns:
        (factors ``[C][3]``, bias ``[3]``), as the host's latent formats hold them.
    """
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.cat([_soft_pictures(8, details, generator) for details in (3, 6, 12, 24, 48)])
    latents = vae.encode(pictures)
    colours = torch.nn.functional.avg_pool2d(pictures, vae.downscale)
    rows = latents.movedim(1, -1).flatten(0, 2).double()
    rows = torch.cat((rows, torch.ones_like(rows[:, :1])), dim=1)
    wanted = colours.movedim(1, -1).flatten(0, 2).double()
    fit = torch.linalg.lstsq(rows, wanted).solution  # [C + 1, 3]
    return fit[:-1].float().tolist(), fit[-1].float().tolist()


def _soft_pictures(count: int, details: int, generator: torch.Generator) -> Tensor:
    """Return pictures ``[count, 3, 64, 64]`` in -1..1 of any contrast, ``details`` to a side."""
    coarse = torch.rand(count, 3, details, details, generator=generator) * 2 - 1
    contrast = torch.rand(count, 1, 1, 1, generator=generator)
    offset = (torch.rand(count, 3, 1, 1, generator=generator) * 2 - 1) * (1 - contrast)
    pictures = coarse * contrast + offset
    return torch.nn.functional.interpolate(pictures, (64, 64), mode="bicubic").clamp(-1, 1)
