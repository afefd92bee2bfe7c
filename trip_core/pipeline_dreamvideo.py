"""From a still and a sentence to a clip by DreamVideo, as ``pipeline.animate`` is by TRIP."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .pipeline import Autoencoder, Clip, SamplingDefaults, StageClock, TextModel, decode
from .pipeline import fit_to_model as fit
from .sampling import Step, initial_latents, sample, timesteps
from .solvers import Sampler
from .systems.dreamvideo import DreamVideo, continue_clip


@dataclass(frozen=True)
class DreamVideoModel:
    """All that a clip needs.

    Attributes:
        network: UNet and image retention branch.
        vae: Its autoencoder.
        text: Its text encoder.
        config: The checkpoint's configuration, JSON-able.
        defaults: What is done unless told otherwise.
    """

    network: DreamVideo
    vae: Autoencoder
    text: TextModel
    config: dict[str, Any] = field(default_factory=dict)
    defaults: SamplingDefaults = field(default_factory=SamplingDefaults)


@torch.no_grad()
def animate_dreamvideo(
    model: DreamVideoModel,
    still: Tensor,
    prompt: str = "",
    *,
    negative: str = "",
    num_frames: int = 16,
    continuations: int = 0,
    steps: int | None = None,
    guidance_scale: float | None = None,
    image_guidance_scale: float = 1.0,
    guidance_rescale: float = 0.0,
    seed: int = 0,
    sampler: Sampler = "ddim",
    on_step: Callable[[Step], None] | None = None,
) -> Clip:
    """Animate a still, every pixel sampled at the model's own size.

    Args:
        model: See ``dreamvideo_file.load_dreamvideo``.
        still: ``[3, H, W]`` in 0..1.
        prompt: What is seen and what happens.
        negative: What should not be seen.
        num_frames: Length F of one clip.
        continuations: How often the clip goes on from its last frame, F - 1 frames each time (the
            paper's two-stage inference is 1).
        steps: Denoising steps of one clip; None = the model's own.
        guidance_scale: How far to follow the text; None = the model's own.
        image_guidance_scale: How far to follow the picture; 1 is as trained, more adds contrast.
        guidance_rescale: Guidance rescale, 0..1.
        seed: Of the noise, drawn on the CPU.
        sampler: See ``sampling.sample``.
        on_step: Called after every denoising step; raising in it cancels.

    Raises:
        ValueError: If a number is out of range.
    """
    _check(still, num_frames, continuations, image_guidance_scale)
    clock, network = StageClock(), model.network
    device = next(network.parameters()).device
    steps = steps or model.defaults.steps
    with clock("text"):
        text, no_text = model.text.encode([prompt, negative]).split(1)
    generator = torch.Generator().manual_seed(seed)
    latents: list[Tensor] = []

    def one_clip(still: Tensor, index: int) -> Tensor:
        small = still[None]
        denoise = network.guided(
            text,
            no_text,
            reference_pixels(network, model.vae.downscale, small),
            model.defaults.guidance_scale if guidance_scale is None else guidance_scale,
            image_guidance_scale,
            guidance_rescale,
        )
        with clock("encode"):
            latent = model.vae.encode(small * 2 - 1).float()
        with clock("sample"):
            first = timesteps(network.schedule, sampler=sampler, steps=steps)[0]
            noisy = initial_latents(latent, num_frames, network.schedule, first, generator)
            counted = _counted(on_step, index, continuations + 1)
            sampled = sample(
                denoise, noisy, network.schedule, sampler=sampler, steps=steps, on_step=counted
            )
        latents.append(sampled[:, :, min(index, 1) :])
        with clock("decode"):
            return decode(model, sampled)

    small = fit(model, still.to(device))[0]
    frames = list(continue_clip(one_clip, small, continuations + 1))
    return Clip(iter(frames), torch.cat(latents, dim=2), None, clock.seconds)


def reference_pixels(network: DreamVideo, downscale: int, small: Tensor) -> Tensor:
    """Return the picture as the stem wants it, ``[1, 3, H, W]`` in -1..1."""
    scale = network.config.downscale
    size = [side // downscale * scale for side in small.shape[-2:]]
    if size == list(small.shape[-2:]):
        return small * 2 - 1
    out = F.interpolate(small, size, mode="bicubic", antialias=True)
    return out.clamp(0, 1) * 2 - 1


def _counted(
    on_step: Callable[[Step], None] | None, index: int, clips: int
) -> Callable[[Step], None] | None:
    """Return ``on_step`` for clip ``index`` of ``clips``: its steps counted over all of them."""
    if on_step is None:
        return None
    return lambda step: on_step(
        replace(step, index=step.index + index * step.count, count=clips * step.count)
    )


def _check(still: Tensor, num_frames: int, continuations: int, image_guidance_scale: float) -> None:
    if still.ndim != 3 or still.shape[0] != 3:
        raise ValueError(f"the still must be [3, H, W]; got {tuple(still.shape)}")
    if num_frames < 2:
        raise ValueError(f"a clip has at least 2 frames; got num_frames={num_frames}")
    if continuations < 0:
        raise ValueError(f"a clip goes on 0 times or more; got continuations={continuations}")
    if not image_guidance_scale >= 0:
        raise ValueError(f"image_guidance_scale must be 0 or more; got {image_guidance_scale}")
