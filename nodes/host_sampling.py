"""The host's samplers, without its global seed and with a preview of the whole clip."""

from typing import Any

import comfy.sample
import comfy.utils
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..trip_core.guidance import check_rescale, rescale_guidance
from . import host
from .host_model import trip_model


def checked(model: Any) -> Any:
    """Return a MODEL of ours.

    Raises:
        ValueError: If it is of another kind.
    """
    trip_model(model)
    return model


def with_rescale(model: Any, phi: float) -> Any:
    """Return the model with guidance rescaled over the whole clip; phi 0 leaves it as it is."""
    check_rescale(phi)
    if phi == 0:
        return model

    def rescaled(args: dict[str, Any]) -> Tensor:
        guided, cond = args["denoised"], args["cond_denoised"]
        return rescale_guidance(guided[None], cond[None], phi)[0]  # frames are one item

    patched = model.clone()
    patched.set_model_sampler_post_cfg_function(rescaled)
    return patched


def sample(
    model: Any, positive: list, negative: list, latent: dict[str, Any], seed: int, steps: int,
    cfg: float, sampler_name: str, scheduler: str, denoise: float,
) -> Tensor:  # fmt: skip
    """Return sampled latents ``[F, C, h, w]``; KSampler gives the same."""
    start: Tensor = latent["samples"]
    return comfy.sample.sample(
        model,
        draw_noise(start, seed, latent.get("batch_index")),
        steps,
        cfg,
        sampler_name,
        scheduler,
        positive,
        negative,
        start,
        denoise=denoise,
        noise_mask=latent.get("noise_mask"),
        callback=_callback(model, steps),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )


def draw_noise(start: Tensor, seed: int, indices: list[int] | None) -> Tensor:
    """Return the host's noise for a seed, drawn without touching the global generator."""
    generator = torch.Generator().manual_seed(seed)
    if indices is None:
        return torch.randn(start.shape, generator=generator, dtype=start.dtype)
    rows = [
        torch.randn((1, *start.shape[1:]), generator=generator, dtype=start.dtype)
        for _ in range(max(indices) + 1)
    ]
    return torch.cat([rows[index] for index in indices])


def _callback(model: Any, steps: int) -> Any:
    progress = host.Progress(steps)
    latent_format = model.model.latent_format

    def after_step(step: int, x0: Tensor, x: Tensor, total: int) -> None:
        del x
        sheet = contact_sheet(x0, latent_format) if host.shows_previews() else None
        progress.show(step + 1, total, sheet)

    return after_step


def contact_sheet(x0: Tensor, latent_format: Any, side: int = 512) -> Image.Image | None:
    """Return up to 3 x 3 frames of a clip on one picture, first to last.

    Args:
        x0: Predicted clean latents, scaled, ``[F, C, h, w]``.
        latent_format: Holds the colours of the latents.
        side: Length of the sheet's longer side, pixels.
    """
    if latent_format.latent_rgb_factors is None:
        return None
    count = min(len(x0), 9)
    across = {1: 1, 2: 2, 3: 3, 4: 2}.get(count, 3)
    chosen = [round(k * (len(x0) - 1) / max(count - 1, 1)) for k in range(count)]
    factors = torch.tensor(latent_format.latent_rgb_factors, dtype=torch.float32)
    bias = torch.tensor(latent_format.latent_rgb_factors_bias or [0.0] * 3)
    colours = x0[chosen].float().cpu().movedim(1, -1) @ factors + bias  # [n, h, w, 3], -1..1
    tiles = ((colours + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    down = -(-count // across)
    height, width = tiles.shape[1:3]
    sheet = np.full((down * height, across * width, 3), 24, np.uint8)
    for k, tile in enumerate(tiles):
        top, left = k // across * height, k % across * width
        sheet[top : top + height, left : left + width] = tile
    scale = side / max(sheet.shape[:2])
    size = (round(sheet.shape[1] * scale), round(sheet.shape[0] * scale))
    return Image.fromarray(sheet).resize(size, Image.Resampling.BICUBIC)
