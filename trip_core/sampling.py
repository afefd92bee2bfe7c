"""Sampling: from noisy latents to clean ones, by DDIM or on diffusers' schedulers.

Everything here speaks of a denoiser ``denoise(z_t, t) -> x0`` and of latents ``z_t =
sqrt(alpha_bar) s x0 + sqrt(1 - alpha_bar) eps``, whatever a sampler computes inside; the schedule's
signal scale s is 1 for most models. Timesteps are spaced as diffusers' "leading" (ModelScopeT2V's
setting) unless told otherwise; every sampler lands on x0 unless told otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from .guidance import Denoiser
from .schedule import NoiseSchedule
from .solvers import Landing, Sampler, Spacing, make_solver

#: One generator for the whole batch, or one for every item: then an item's numbers do not depend
#: on the batch that it is in.
Generators = torch.Generator | Sequence[torch.Generator]


@dataclass(frozen=True)
class Step:
    """One finished call of the denoiser.

    Attributes:
        index: 0 .. count - 1.
        count: Steps in all.
        timestep: The training timestep of ``z_t``.
        z_t: What the denoiser saw, ``[B, C, F, H, W]``.
        x0: What it answered; good for a preview.
    """

    index: int
    count: int
    timestep: int
    z_t: Tensor
    x0: Tensor


@torch.no_grad()
def sample(
    denoise: Denoiser,
    z_T: Tensor,
    schedule: NoiseSchedule,
    *,
    sampler: Sampler = "ddim",
    steps: int = 50,
    start: float = 1.0,
    spacing: Spacing = "leading",
    landing: Landing = "clean",
    eta: float = 0.0,
    generator: Generators | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Tensor:
    """Return clean latents, by ``steps`` calls of ``denoise``.

    Args:
        denoise: Predicts x0; sees timesteps ``[B]``, int64, on the device of ``z_T``.
        z_T: Latents at the first of :func:`timesteps`, ``[B, C, F, H, W]``; see
            :func:`initial_latents`.
        schedule: The noise schedule that the network was trained with.
        sampler: "ddim" (Song et al. 2021), "dpmpp_2m" (Lu et al. 2022), "euler" (Karras et al.
            2022) or "unipc" (Zhao et al. 2023).
        steps: Calls of the denoiser.
        start: Share of the schedule to walk, above 0, at most 1.
        spacing: "leading" never visits the last timestep; "trailing" starts there (Lin et al.
            2023, Section 3.3), as models with zero terminal signal must.
        landing: "clean" returns the last x0. "first" ends as lvdm's DDIM does: the last x0 keeps
            the signal scale of its timestep and carries the noise of timestep 0; DDIM alone.
        eta: DDIM's noise: 0 is deterministic, 1 is DDPM's variance.
        generator: Draws DDIM's noise, on the CPU; needed if ``eta`` is above 0.
        on_step: Called after every step; what it raises ends the sampling.

    Returns:
        x0, ``[B, C, F, H, W]``, float32, scaled latent units.

    Raises:
        ValueError: If the sampler is unknown or a number is out of range.
    """
    if eta != 0 and (sampler != "ddim" or not 0 <= eta <= 1 or generator is None):
        raise ValueError(
            f'eta must be 0, or up to 1 with the sampler "ddim" and a generator; got eta={eta} '
            f"with sampler {sampler!r} and {'no' if generator is None else 'a'} generator"
        )
    if landing != "clean" and (sampler != "ddim" or landing not in get_args(Landing)):
        raise ValueError(
            f'landing must be "clean", or "first" with the sampler "ddim"; got {landing!r} with '
            f"sampler {sampler!r}"
        )
    walk = make_solver(schedule, sampler, steps, start, spacing, landing)
    z = walk.enter(z_T.float())
    for index, t in enumerate(walk.timesteps):
        z_t = walk.seen(z, index)
        x0 = denoise(z_t, torch.full((len(z),), int(t), device=z.device)).float()
        noise = draw_noise(z.shape, generator).to(z.device) if eta > 0 and generator else None
        z = walk.step(x0, z, index, eta, noise)
        if on_step is not None:
            on_step(Step(index, len(walk.timesteps), int(t), z_t, x0))
    return z


def timesteps(
    schedule: NoiseSchedule,
    *,
    sampler: Sampler = "ddim",
    steps: int = 50,
    start: float = 1.0,
    spacing: Spacing = "leading",
) -> Tensor:
    """Return the training timesteps that :func:`sample` will visit, ``[steps]``, falling, int64."""
    return make_solver(schedule, sampler, steps, start, spacing).timesteps.round().long()


def initial_latents(
    still: Tensor,
    num_frames: int,
    schedule: NoiseSchedule,
    first_timestep: int | Tensor,
    generator: Generators,
    *,
    from_still: bool = True,
) -> Tensor:
    """Return the latents to start from: the still, noised to the first timestep, in every frame.

    The terminal signal-to-noise ratio of the usual schedules is not zero: in training even the
    noisiest clip shows its mean colour. Pure noise shows none, which shifts colour and brightness.

    Args:
        still: Clean latent of the still, ``[B, C, H, W]``, or the still warped into every frame,
            ``[B, C, F, H, W]``; scaled latent units.
        num_frames: F.
        schedule: The noise schedule that the network was trained with.
        first_timestep: The first of :func:`timesteps`.
        generator: Draws the noise, on the CPU.
        from_still: False starts from pure noise.

    Returns:
        ``[B, C, F, H, W]``, float32, on the still's device.

    Raises:
        ValueError: If ``still`` is not one frame or ``num_frames`` frames.
    """
    if still.ndim == 4 and num_frames >= 1:
        still = still.unsqueeze(2).expand(-1, -1, num_frames, -1, -1)
    if still.ndim != 5 or still.shape[2] != num_frames:
        raise ValueError(
            f"still must be [B, C, H, W] or [B, C, {num_frames}, H, W] for {num_frames} frames; "
            f"got {tuple(still.shape)}"
        )
    # Frame by frame, as hosts whose latents are a batch of frames draw it: one seed, one noise.
    batch, channels, frames, height, width = still.shape
    noise = draw_noise((batch, frames, channels, height, width), generator)
    noise = noise.movedim(1, 2).contiguous().to(still.device)
    if not from_still:
        return noise
    first = torch.as_tensor(first_timestep, device=still.device).reshape(1)
    return schedule.add_noise(still.float(), noise, first)


def draw_noise(shape: Sequence[int], generator: Generators) -> Tensor:
    """Return unit Gaussian noise, float32, drawn on the CPU: one seed, one noise, on any machine.

    Args:
        shape: ``[B, ...]``.
        generator: CPU generator, or one for each of the B items.

    Raises:
        ValueError: If the number of generators is not B.
    """
    if isinstance(generator, torch.Generator):
        return torch.randn(tuple(shape), generator=generator)
    if len(generator) != shape[0]:
        raise ValueError(
            f"give one generator, or one for each of the {shape[0]} items; got {len(generator)}"
        )
    return torch.stack([torch.randn(tuple(shape[1:]), generator=one) for one in generator])
