"""From a still and a sentence to a clip by DynamiCrafter, as ``pipeline.animate`` is by TRIP."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .pipeline import Autoencoder, Clip, StageClock, TextModel
from .sampling import Step, initial_latents, sample, timesteps
from .sizes import fit_mask, fit_still
from .solvers import Sampler
from .systems.dynamicrafter import (
    Conditioning,
    DynamiCrafter,
    check_two_stills,
    guide_frames,
    still_prior,
)

#: Sides of a clip are multiples of this: three halvings of latents an eighth as large as pixels.
_UNIT = 64
#: Pace of the model for two stills, in frames per second; it is the 512 model's by its keys.
END_PACE = 5


class ImageModel(Protocol):
    """Pictures ``[B, 3, H, W]`` in 0..1 to tokens, ``[B, L, E]``."""

    def encode(self, images: Tensor) -> Tensor:
        """Return the pictures' tokens."""
        ...


@dataclass(frozen=True)
class DynamiCrafterModel:
    """All that a clip needs.

    Attributes:
        network: UNet and query transformer.
        vae: Its autoencoder.
        text: Its text encoder.
        vision: Its image encoder.
        config: What the file says of itself, JSON-able.
        steps: Denoising steps unless told otherwise.
        guidance_scale: Guidance unless told otherwise.
    """

    network: DynamiCrafter
    vae: Autoencoder
    text: TextModel
    vision: ImageModel
    config: dict[str, Any] = field(default_factory=dict)
    steps: int = 50
    guidance_scale: float = 7.5


@torch.no_grad()
def animate_dynamicrafter(
    model: DynamiCrafterModel,
    still: Tensor,
    prompt: str = "",
    *,
    negative: str = "",
    num_frames: int = 16,
    steps: int | None = None,
    guidance_scale: float | None = None,
    image_guidance_scale: float | None = None,
    guidance_rescale: float | None = None,
    seed: int = 0,
    sampler: Sampler = "ddim",
    end: Tensor | None = None,
    loop: bool = False,
    pace: int | None = None,
    prior_strength: float = 0.0,
    prior_frames_decay: float = 0.0,
    prior_decay: float = 0.0,
    mask: Tensor | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Clip:
    """Animate a still, or the way from one still to another.

    The clip has the still's aspect and about as many pixels as the model was trained with.

    Args:
        model: See ``dynamicrafter_folder.load_dynamicrafter_folder``.
        still: ``[3, H, W]`` in 0..1.
        prompt: What is seen and what happens.
        negative: What should not be seen.
        num_frames: Length F; the model was trained with 16 frames. A loop is sampled with one more,
            which is its first again and not shown, so that it has 15 at the most.
        steps: Denoising steps; None = the model's own.
        guidance_scale: Of text and image tokens, or of the text alone; None = the model's own.
        image_guidance_scale: Of the image tokens alone; None = guided with the text.
        guidance_rescale: How much of the unguided contrast is restored, 0..1; None = as published,
            0.7 for the models that predict v, else 0.
        seed: Of the noise, drawn on the CPU.
        sampler: See ``sampling.sample``; "ddim" draws noise in every step, as published.
        end: The last frame, ``[3, H, W]`` in 0..1; for the model that was trained with two stills.
        loop: The still is also what the clip returns to; likewise.
        pace: See ``DynamiCrafterConfig.pace``; None = the model's own.
        prior_strength: Weight of the image noise prior, 0..1; the model was trained with none.
            With two stills each half of the clip is held to its own.
        prior_frames_decay: How much of it is gone at the last frame (with two stills: in the
            middle), 0..1.
        prior_decay: How early the sampling lets go of it: ``PriorWeights.later_decay``.
        mask: Where the still stays as it is, ``[1, H, W]`` in 0..1 over ``still``.
        on_step: Called after every denoising step; raising in it cancels.

    Raises:
        ValueError: If a number is out of range or options exclude each other.
    """
    if num_frames < 2:
        raise ValueError(f"a clip has at least 2 frames; got num_frames={num_frames}")
    if loop and end is not None:
        raise ValueError("a loop ends with its own still; give an end still or a loop, not both")
    if loop or end is not None:
        masked = mask is not None and end is not None
        check_two_stills(model.network.config, num_frames, int(loop), masked)
    network, config, clock = model.network, model.network.config, StageClock()
    device = next(network.parameters()).device
    size = clip_size(still, config.size)
    small = fit_still(still, size).to(device)[None]
    # A loop's last frame is its first again: sampled, not shown.
    sampled_frames = num_frames + loop
    with clock("text"):
        texts = model.text.encode([prompt, negative])
    with clock("image"):
        seen = model.vision.encode(torch.cat((small, torch.full_like(small, 0.5))))
        image, grey = (network.image_context(tokens, sampled_frames) for tokens in seen.split(1))
    with clock("encode"):
        latent = model.vae.encode(small * 2 - 1).float()
        last = latent if loop else None
        if end is not None:
            last = model.vae.encode(fit_still(end, size).to(device)[None] * 2 - 1).float()
    if pace is None and last is not None:
        pace = END_PACE
    conditions = [
        Conditioning(
            text,
            tokens,
            guide_frames(latent, sampled_frames, last),
            None if pace is None else torch.tensor([pace], device=device),
        )
        for text, tokens in ((texts[:1], image), (texts[1:], grey), (texts[1:], image))
    ]
    kept = None
    if mask is not None:
        kept = F.interpolate(fit_mask(mask, size)[None], latent.shape[-2:], mode="area").to(device)
    prior = still_prior(
        latent, last, sampled_frames, prior_strength, prior_frames_decay, prior_decay, kept
    )
    scale = model.guidance_scale if guidance_scale is None else guidance_scale
    if guidance_rescale is None:
        guidance_rescale = 0.7 if config.prediction_type == "v_prediction" else 0.0
    own_scale = image_guidance_scale is not None
    denoise = network.denoiser(
        *conditions[: 3 if own_scale else 2],
        scale=scale,
        image_scale=image_guidance_scale if image_guidance_scale is not None else scale,
        rescale=guidance_rescale,
        prior=prior,
    )
    with clock("sample"):
        latents = _sample(
            network, denoise, latent, sampled_frames, steps or model.steps, seed, sampler, on_step
        )
    with clock("decode"):
        frames = [
            (model.vae.decode(frame).float() / 2 + 0.5).clamp(0, 1)[0]
            for frame in latents[0].movedim(1, 0)[:num_frames].split(1)
        ]
    return Clip(iter(frames), latents, None, clock.seconds)


def clip_size(still: Tensor, trained: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of a clip: the still's aspect, about the trained number of pixels."""
    height, width = still.shape[-2:]
    scale = math.sqrt(trained[0] * trained[1] / (height * width))
    sides = [max(round(side * scale / _UNIT), 1) * _UNIT for side in (height, width)]
    return sides[0], sides[1]


def _sample(
    network: DynamiCrafter,
    denoise: Callable[[Tensor, Tensor], Tensor],
    latent: Tensor,
    num_frames: int,
    steps: int,
    seed: int,
    sampler: Sampler,
    on_step: Callable[[Step], None] | None,
) -> Tensor:
    """Return the sampled latents, ``[1, C, F, h, w]``, started from the still's noised latent."""
    schedule, generator = network.schedule, torch.Generator().manual_seed(seed)
    zero_terminal = network.config.schedule.zero_terminal_snr
    options: dict[str, Any] = {"sampler": sampler, "steps": steps}
    options["spacing"] = "trailing" if zero_terminal else "leading"
    first = timesteps(schedule, **options)[0]
    noisy = initial_latents(latent, num_frames, schedule, first, generator)
    if sampler == "ddim":
        options |= {"eta": 1.0, "generator": generator}
    return sample(denoise, noisy, schedule, on_step=on_step, **options)
