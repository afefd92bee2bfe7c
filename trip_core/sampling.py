"""Sampling: from noisy latents to clean ones, by DDIM or on diffusers' schedulers.

Everything here speaks of a denoiser ``denoise(z_t, t) -> x0`` and of latents ``z_t =
sqrt(alpha_bar) s x0 + sqrt(1 - alpha_bar) eps``, whatever a sampler computes inside; the schedule's
signal scale s is 1 for most models. Timesteps are spaced as diffusers' "leading" (ModelScopeT2V's
setting) unless told otherwise; every sampler lands on x0 unless told otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .guidance import Denoiser
from .schedule import NoiseSchedule

Sampler = Literal["ddim", "dpmpp_2m", "euler", "unipc"]
#: Where the timesteps lie: multiples of a stride from 1 up, or from the last one down.
Spacing = Literal["leading", "trailing"]
#: Where the last step of DDIM ends: at x0, or at the first training timestep's noise.
Landing = Literal["clean", "first"]

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
    walk: _Ddim | _Scheduler
    if sampler == "ddim":
        walk = _Ddim(schedule, steps, start, spacing, landing)
    else:
        walk = _Scheduler(schedule, sampler, steps, start, spacing)
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
    if sampler == "ddim":
        return _Ddim(schedule, steps, start, spacing, "clean").timesteps
    return _Scheduler(schedule, sampler, steps, start, spacing).timesteps.round().long()


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


class _Ddim:
    """Song et al. 2021, Equation 12, from any timestep to any other.

    diffusers' scheduler takes every stride to be T // steps, which is wrong for most numbers of
    trailing steps, and it knows no signal scale.
    """

    def __init__(
        self, schedule: NoiseSchedule, steps: int, start: float, spacing: str, landing: str
    ) -> None:
        _check_walk(schedule, "ddim", steps, start, spacing)
        length, total = schedule.num_train_timesteps, round(steps / start)
        if spacing == "leading":
            times = (torch.arange(total) * (length // total)).flip(0) + 1
        else:
            down = torch.arange(total, dtype=torch.float64)
            times = (length - down * length / total).round().long() - 1
        self.timesteps = times[total - steps :]
        # alpha_bar and signal scale at every timestep, and behind them where the walk ends.
        alpha_bar, signal = schedule.alpha_bar(self.timesteps), schedule.signal(self.timesteps)
        end, scale = alpha_bar.new_ones(1), signal.new_ones(1)
        if landing == "first":
            end, scale = schedule.alpha_bar(torch.tensor([0])), signal[-1:]
        self._alpha_bar = torch.cat((alpha_bar, end)).tolist()
        self._signal = torch.cat((signal, scale)).tolist()

    def enter(self, z: Tensor) -> Tensor:
        return z

    def seen(self, z: Tensor, _index: int) -> Tensor:
        return z

    def step(self, x0: Tensor, z: Tensor, index: int, eta: float, noise: Tensor | None) -> Tensor:
        (a, b), (s, r) = self._alpha_bar[index : index + 2], self._signal[index : index + 2]
        if b == 1:
            return x0
        eps = (z - a**0.5 * s * x0) / (1 - a) ** 0.5
        sigma = eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5
        z = b**0.5 * r * x0 + max(1 - b - sigma**2, 0.0) ** 0.5 * eps
        return z if noise is None else z + sigma * noise


class _Scheduler:
    """One of diffusers' schedulers, set to its first timestep.

    They want the powers of signal and noise to sum to 1. With a signal scale s that is so for
    ``z / norm``, ``norm^2 = s^2 alpha_bar + 1 - alpha_bar``.
    """

    def __init__(
        self, schedule: NoiseSchedule, sampler: str, steps: int, start: float, spacing: str
    ) -> None:
        from diffusers import (
            DPMSolverMultistepScheduler,
            EulerDiscreteScheduler,
            UniPCMultistepScheduler,
        )

        _check_walk(schedule, sampler, steps, start, spacing)
        common: dict[str, Any] = {
            "num_train_timesteps": schedule.num_train_timesteps,
            "prediction_type": "sample",
            "timestep_spacing": spacing,
            "steps_offset": 1,
        }
        scheduler: Any
        if sampler == "dpmpp_2m":
            scheduler = DPMSolverMultistepScheduler(final_sigmas_type="zero", **common)
        elif sampler == "euler":
            scheduler = EulerDiscreteScheduler(**common)
        else:
            scheduler = UniPCMultistepScheduler(final_sigmas_type="zero", **common)
        # One table for the network and the sampler. The floor (diffusers' own) keeps sigma finite
        # where the terminal signal is zero.
        signal_power = schedule.alphas_cumprod.clamp(min=2**-24)
        if schedule.signal_scale is not None:
            signal_power = signal_power * schedule.signal_scale.square()
        power = signal_power + 1 - schedule.alphas_cumprod
        scheduler.alphas_cumprod = (signal_power / power).float()
        total = round(steps / start)
        scheduler.set_timesteps(total)
        scheduler.set_begin_index(total - steps)
        self._scheduler = scheduler
        self.timesteps = scheduler.timesteps[total - steps :]
        visited = self.timesteps.round().long()
        self._norm = power.sqrt()[visited].tolist()
        # Euler walks in z / sqrt(alpha_bar); scale_model_input undoes it before the network looks.
        first = scheduler.alphas_cumprod[visited[0]].item() ** -0.5 if sampler == "euler" else 1
        self._enter = first / self._norm[0]

    def enter(self, z: Tensor) -> Tensor:
        return z * self._enter

    def seen(self, z: Tensor, index: int) -> Tensor:
        return self._scheduler.scale_model_input(z, self.timesteps[index]) * self._norm[index]

    def step(self, x0: Tensor, z: Tensor, index: int, _eta: float, _noise: Tensor | None) -> Tensor:
        return self._scheduler.step(x0, self.timesteps[index], z, return_dict=False)[0]


def _check_walk(
    schedule: NoiseSchedule, sampler: str, steps: int, start: float, spacing: str
) -> None:
    if sampler not in get_args(Sampler):
        raise ValueError(f"sampler must be one of {', '.join(get_args(Sampler))}; got {sampler!r}")
    if spacing not in get_args(Spacing):
        raise ValueError(f'spacing must be "leading" or "trailing"; got {spacing!r}')
    if not 0 < start <= 1:
        raise ValueError(f"start must be above 0 and at most 1; got {start}; 1 walks it all")
    # Beyond half of the table some samplers' timesteps would coincide.
    most = int(schedule.num_train_timesteps // 2 * start)
    if not 1 <= steps <= most:
        raise ValueError(
            f"steps must be within 1..{most} for start={start} and "
            f"{schedule.num_train_timesteps} training timesteps; got {steps}"
        )
