"""The host's samplers, without its global seed and with a preview of the whole clip."""

from typing import Any

import comfy.sample
import comfy.utils
import torch
from torch import Tensor

from ..trip_core.guidance import check_rescale, rescale_guidance
from . import host
from .host_systems import animator
from .sheet import Pace, contact_sheet


def with_rescale(model: Any, phi: float) -> Any:
    """Return a MODEL of ours with guidance rescaled over the whole clip; phi 0 leaves it as it is.

    The contrast that is restored is that of the network's own output (Lin et al. 2023, Section
    3.4): clean latents, unless its sampling says how to come back to noise or velocity.

    Raises:
        ValueError: If the MODEL is of another kind, or phi out of range.
    """
    animator(model)
    check_rescale(phi)
    if phi == 0:
        return model
    sampling = model.get_model_object("model_sampling")
    output_of = getattr(sampling, "network_output", _as_answered)

    def rescaled(args: dict[str, Any]) -> Tensor:
        x, sigma = args["input"], args["sigma"]
        cond = output_of(sigma, args["cond_denoised"], x)
        uncond = output_of(sigma, args["uncond_denoised"], x)
        guided = uncond + args["cond_scale"] * (cond - uncond)
        output = rescale_guidance(guided[None], cond[None], phi)[0]  # frames are one item
        return x - sampling.calculate_denoised(sigma, output, x)

    patched = model.clone()
    patched.set_model_sampler_cfg_function(rescaled)
    return patched


def _as_answered(_sigma: Tensor, x0: Tensor, _x: Tensor) -> Tensor:
    return x0


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
    progress, pace = host.Progress(steps), Pace()
    latent_format = model.model.latent_format

    def after_step(step: int, x0: Tensor, x: Tensor, total: int) -> None:
        del x
        due = pace.is_due(last=step + 1 == total)
        progress.show(step + 1, total, contact_sheet(x0, latent_format) if due else None)

    return after_step
