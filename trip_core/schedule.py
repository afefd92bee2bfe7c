"""Noise schedule: how much of the clean latents is left at every diffusion timestep.

``z_t = sqrt(alpha_bar_t) z_0 + sqrt(1 - alpha_bar_t) eps`` (Ho et al. 2020, Eq. 4). Tables are made
and kept in float64 and used in float32: the far end of a schedule is where float32 products drift,
and Apple's GPUs have no float64.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

ScheduleKind = Literal["scaled_linear", "linear", "cosine"]


@dataclass(frozen=True)
class ScheduleConfig:
    """The fields of :func:`noise_schedule`, as they are kept in a model's config."""

    kind: ScheduleKind = "scaled_linear"
    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    zero_terminal_snr: bool = False

    def build(self) -> "NoiseSchedule":
        """Return the schedule that these fields describe."""
        return noise_schedule(
            self.kind,
            self.num_train_timesteps,
            self.beta_start,
            self.beta_end,
            self.zero_terminal_snr,
        )


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The share of signal power left at every training timestep.

    Attributes:
        alphas_cumprod: alpha_bar of every timestep, ``[T]``, float64 on the CPU, falling from
            nearly 1 at timestep 0 towards 0.
        signal_scale: What the clean latents are multiplied by before they are noised, ``[T]``,
            float64 on the CPU, above 0; None is 1 everywhere. See :func:`dynamic_rescale`.
    """

    alphas_cumprod: Tensor
    signal_scale: Tensor | None = None
    # One float32 copy of a table for each device that asked, so that a step copies nothing.
    _tables: dict[tuple[str, torch.device], Tensor] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        """Check the table once, so that no step has to."""
        table = self.alphas_cumprod
        if table.ndim != 1 or len(table) < 2 or table.dtype != torch.float64:
            raise ValueError(
                "alphas_cumprod must be a float64 vector of at least 2 timesteps; "
                f"got {table.dtype} {tuple(table.shape)}; build one with noise_schedule()"
            )
        if not bool((table.diff() < 0).all() and (table >= 0).all() and (table < 1).all()):
            raise ValueError(
                "alphas_cumprod must fall strictly and stay within 0 <= alpha_bar < 1; "
                f"got {table[0]:.6g} .. {table[-1]:.6g}; check the betas that it was made from"
            )
        if self.signal_scale is not None and self.signal_scale.shape != table.shape:
            raise ValueError(
                f"signal_scale must have one factor for each of the {len(table)} timesteps; "
                f"got {tuple(self.signal_scale.shape)}"
            )

    @property
    def num_train_timesteps(self) -> int:
        """The number of timesteps T that the network was trained with."""
        return len(self.alphas_cumprod)

    def alpha_bar(self, timesteps: Tensor) -> Tensor:
        """Return alpha_bar at ``timesteps``, float32, of their shape and on their device.

        Args:
            timesteps: Training timesteps in 0 .. T - 1, of any shape. Integers read the table;
                floats between two timesteps interpolate it linearly.
        """
        return self._read("alphas_cumprod", timesteps)

    def signal(self, timesteps: Tensor) -> Tensor:
        """Return the factor on the clean latents at ``timesteps``; like :meth:`alpha_bar`."""
        if self.signal_scale is None:
            return torch.ones_like(timesteps, dtype=torch.float32)
        return self._read("signal_scale", timesteps)

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return ``z_t``, the latents ``x0`` noised to ``timesteps``.

        Args:
            x0: Clean latents, ``[B, ...]``, scaled latent units.
            noise: Unit Gaussian noise that broadcasts with ``x0``.
            timesteps: One timestep for each item of the batch, ``[B]``.
        """
        shape = (-1, *(1,) * (x0.ndim - 1))
        alpha_bar = self.alpha_bar(timesteps).view(shape)
        signal = self.signal(timesteps).view(shape)
        return alpha_bar.sqrt() * signal * x0 + (1 - alpha_bar).sqrt() * noise

    def _read(self, name: str, timesteps: Tensor) -> Tensor:
        if (name, timesteps.device) not in self._tables:
            # Cast first, move second: float64 does not exist everywhere.
            table = getattr(self, name).to(torch.float32).to(timesteps.device)
            self._tables[name, timesteps.device] = table
        table = self._tables[name, timesteps.device]
        if not timesteps.is_floating_point():
            return table[timesteps]
        low = timesteps.floor().long().clamp(0, len(table) - 2)
        return torch.lerp(table[low], table[low + 1], timesteps.float() - low)


def noise_schedule(
    kind: ScheduleKind = "scaled_linear",
    num_train_timesteps: int = 1000,
    beta_start: float = 0.00085,
    beta_end: float = 0.012,
    zero_terminal_snr: bool = False,
) -> NoiseSchedule:
    """Build a schedule; the defaults are those of Stable Diffusion, ModelScopeT2V and TRIP.

    Args:
        kind: "scaled_linear" (sqrt(beta) linear; Stable Diffusion), "linear" (beta linear; Ho et
            al. 2020) or "cosine" (Nichol & Dhariwal 2021, Eq. 17; diffusers' squaredcos_cap_v2,
            which takes no betas).
        num_train_timesteps: Length T of the table.
        beta_start: First beta, above 0.
        beta_end: Last beta, below 1.
        zero_terminal_snr: Shift sqrt(alpha_bar) so that the last timestep is pure noise and scale
            it so that the first one stays (Lin et al. 2023, Algorithm 1).

    Raises:
        ValueError: If the kind is unknown or the betas do not give a falling table.
    """
    if num_train_timesteps < 2:
        raise ValueError(
            f"num_train_timesteps must be at least 2; got {num_train_timesteps}; most use 1000"
        )
    if not 0 < beta_start <= beta_end < 1:
        raise ValueError(
            "betas must satisfy 0 < beta_start <= beta_end < 1; "
            f"got beta_start={beta_start} and beta_end={beta_end}"
        )
    if kind == "scaled_linear":
        betas = _linspace(math.sqrt(beta_start), math.sqrt(beta_end), num_train_timesteps).square()
    elif kind == "linear":
        betas = _linspace(beta_start, beta_end, num_train_timesteps)
    elif kind == "cosine":
        betas = _cosine_betas(num_train_timesteps)
    else:
        raise ValueError(
            f'schedule kind must be "scaled_linear", "linear" or "cosine"; got {kind!r}'
        )
    alphas_cumprod = (1 - betas).cumprod(0)
    if zero_terminal_snr:
        alphas_cumprod = _rescale_to_zero_terminal_snr(alphas_cumprod)
    return NoiseSchedule(alphas_cumprod)


def dynamic_rescale(base: float, num_train_timesteps: int = 1000, turning: int = 400) -> Tensor:
    """Return a signal scale that falls linearly from 1 to ``base``, then stays there.

    DynamiCrafter's released 512 and 1024 models were trained with bases 0.7 and 0.3.

    Args:
        base: Factor from timestep ``turning - 1`` on, above 0.
        num_train_timesteps: Length T of the table.
        turning: Timesteps over which it falls.

    Returns:
        ``[T]``, float64, for :attr:`NoiseSchedule.signal_scale`.

    Raises:
        ValueError: If the base is not above 0.
    """
    if not 0 < base < float("inf"):
        raise ValueError(f"the dynamic rescale's base must be above 0; got {base}; 1 is none")
    fall = _linspace(1, base, turning)
    return torch.cat((fall, fall[-1:].expand(num_train_timesteps)))[:num_train_timesteps]


def _linspace(start: float, end: float, steps: int) -> Tensor:
    # On the CPU even where a default device (meta, cuda) is set around the building of a model.
    return torch.linspace(start, end, steps, dtype=torch.float64, device="cpu")


def _cosine_betas(steps: int, offset: float = 0.008, cap: float = 0.999) -> Tensor:
    angles = (_linspace(0, 1, steps + 1) + offset) / (1 + offset) * (math.pi / 2)
    signal = angles.cos().square()
    return (1 - signal[1:] / signal[:-1]).clamp(max=cap)


def _rescale_to_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * (root[0] / (root[0] - root[-1]))).square()
