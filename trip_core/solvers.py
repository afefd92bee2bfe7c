"""Solvers: one step of a sampling after the other, by DDIM or by one of diffusers' schedulers."""

from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from .schedule import NoiseSchedule

Sampler = Literal["ddim", "dpmpp_2m", "euler", "unipc"]
#: Where the timesteps lie: multiples of a stride from 1 up, or from the last one down.
Spacing = Literal["leading", "trailing"]
#: Where the last step of DDIM ends: at x0, or at the first training timestep's noise.
Landing = Literal["clean", "first"]


class Solver(Protocol):
    """Walks from noisy latents to clean ones.

    Attributes:
        timesteps: The training timesteps that it visits, ``[steps]``, falling.
    """

    timesteps: Tensor

    def enter(self, z: Tensor) -> Tensor:
        """Return what it walks in of latents at the first timestep."""
        ...

    def seen(self, z: Tensor, index: int) -> Tensor:
        """Return the latents that the network sees at a timestep."""
        ...

    def step(self, x0: Tensor, z: Tensor, index: int, eta: float, noise: Tensor | None) -> Tensor:
        """Return what it walks in at the next timestep, the network's answer being ``x0``."""
        ...


def make_solver(
    schedule: NoiseSchedule,
    sampler: str,
    steps: int,
    start: float,
    spacing: str,
    landing: str = "clean",
) -> Solver:
    """Return the solver of a sampler; see :func:`trip_core.sampling.sample`.

    Raises:
        ValueError: If the sampler is unknown or a number is out of range.
    """
    _check_walk(schedule, sampler, steps, start, spacing)
    if sampler == "ddim":
        return _Ddim(schedule, steps, start, spacing, landing)
    return _Scheduler(schedule, sampler, steps, start, spacing)


class _Ddim:
    """Song et al. 2021, Equation 12, from any timestep to any other.

    diffusers' scheduler takes every stride to be T // steps, which is wrong for most numbers of
    trailing steps, and it knows no signal scale.
    """

    def __init__(
        self, schedule: NoiseSchedule, steps: int, start: float, spacing: str, landing: str
    ) -> None:
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

    def seen(self, z: Tensor, index: int) -> Tensor:
        del index
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

    def step(self, x0: Tensor, z: Tensor, index: int, eta: float, noise: Tensor | None) -> Tensor:
        del eta, noise
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
