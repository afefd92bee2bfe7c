"""DynamiCrafter's noise schedule as the host's sampling object."""

from typing import Any

import comfy.model_sampling
import torch
from torch import Tensor

from ..trip_core.prediction import PredictionType, epsilon_from, v_from, x0_from
from ..trip_core.schedule import NoiseSchedule


class DynamiCrafterSampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
    r"""Turns the host's latents into the network's and back.

    The host walks in ``x = x0 + sigma noise``; the network sees
    ``z_t = sqrt(alpha_bar) s x0 + sqrt(1 - alpha_bar) noise``, s the schedule's signal scale, so

    .. math:: \sigma = \sqrt{(1 - \bar\alpha) / (\bar\alpha s^2)}

    and the samplers land on latents that no scale is left on.
    """

    def __init__(
        self, config: Any, schedule: NoiseSchedule, prediction_type: PredictionType
    ) -> None:
        """Make the table of sigmas."""
        super().__init__(config)
        self._schedule = schedule
        self._prediction_type: PredictionType = prediction_type
        # The floor keeps sigma finite where no signal is left, as the core's samplers do.
        alpha_bar = schedule.alphas_cumprod.clamp(min=2**-24)
        signal = alpha_bar
        if schedule.signal_scale is not None:
            signal = alpha_bar * schedule.signal_scale.square()
        self._share = signal / (signal + 1 - alpha_bar)  # of the signal's power, falling
        self.set_sigmas(((1 - alpha_bar) / signal).sqrt())

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return the fractional timestep of a sigma, of its shape."""
        share = 1 / (1 + sigma.double().cpu().flatten().square())
        table = self._share
        low = (table > share[:, None]).sum(-1).sub(1).clamp(0, len(table) - 2)
        rest = (table[low] - share) / (table[low] - table[low + 1])
        return (low + rest.clamp(0, 1)).view(sigma.shape).float().to(sigma.device)

    def parts(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha_bar and the signal scale at a sigma, of its shape."""
        scale = self._schedule.signal(self.timestep(sigma))
        return 1 / (1 + (sigma.float() * scale).square()), scale

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        """Return what the network sees of the sampler's latents."""
        alpha_bar, scale = (_rows(part, noise) for part in self.parts(sigma))
        return noise * alpha_bar.sqrt() * scale

    def calculate_denoised(
        self, sigma: Tensor, model_output: Tensor, model_input: Tensor
    ) -> Tensor:
        """Return the clean latents that the network's output stands for."""
        z_t = self.calculate_input(sigma, model_input)
        alpha_bar, scale = self.parts(sigma)
        x0 = x0_from(model_output, z_t, alpha_bar, self._prediction_type)
        return x0 / _rows(scale, x0)

    def network_output(self, sigma: Tensor, x0: Tensor, x: Tensor) -> Tensor:
        """Return the network's output that stands for clean latents; the way back."""
        z_t = self.calculate_input(sigma, x)
        alpha_bar, scale = self.parts(sigma)
        to_output = v_from if self._prediction_type == "v_prediction" else epsilon_from
        return to_output(x0 * _rows(scale, x0), z_t, alpha_bar, "sample")

    def noise_scaling(
        self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False
    ) -> Tensor:
        """Return the latents to start from: the still's own, noised, also at the first timestep."""
        del max_denoise
        return latent_image + _rows(torch.as_tensor(sigma), noise) * noise


def _rows(numbers: Tensor, like: Tensor) -> Tensor:
    """Return one number, or one a row, ready to broadcast over a batch."""
    return numbers.reshape(-1, *(1,) * (like.ndim - 1))
