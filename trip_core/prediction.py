r"""What a denoiser predicts, and how each parametrisation turns into the others.

A network may predict the noise ("epsilon", Ho et al. 2020), the velocity
:math:`v = \sqrt{\bar\alpha}\,\epsilon - \sqrt{1-\bar\alpha}\,x_0` ("v_prediction", Salimans & Ho
2022, Appendix D) or the clean latents ("sample"). Everything is computed in float32 at least.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

PredictionType = Literal["epsilon", "v_prediction", "sample"]


def x0_from(
    output: Tensor, z_t: Tensor, alpha_bar: Tensor, prediction_type: PredictionType
) -> Tensor:
    """Return the clean latents that a network's output stands for.

    Args:
        output: The network's output, ``[B, ...]``, of the shape of ``z_t``.
        z_t: Noisy latents, scaled latent units.
        alpha_bar: Signal power at t, ``[B]``; above 0 for "epsilon".
        prediction_type: What ``output`` is.

    Raises:
        ValueError: If shapes differ or the prediction type is unknown.
    """
    output, z_t, alpha, sigma = _operands(output, z_t, alpha_bar, prediction_type)
    if prediction_type == "epsilon":
        return (z_t - sigma * output) / alpha
    if prediction_type == "v_prediction":
        return torch.addcmul(alpha * z_t, sigma, output, value=-1)
    return output


def epsilon_from(
    output: Tensor, z_t: Tensor, alpha_bar: Tensor, prediction_type: PredictionType
) -> Tensor:
    """Return the noise that a network's output stands for; arguments as :func:`x0_from`.

    From "sample" it divides by sqrt(1 - alpha_bar), which magnifies rounding at small t.
    """
    output, z_t, alpha, sigma = _operands(output, z_t, alpha_bar, prediction_type)
    if prediction_type == "epsilon":
        return output
    if prediction_type == "v_prediction":
        return torch.addcmul(alpha * output, sigma, z_t)
    return (z_t - alpha * output) / sigma


def v_from(
    output: Tensor, z_t: Tensor, alpha_bar: Tensor, prediction_type: PredictionType
) -> Tensor:
    """Return the velocity that a network's output stands for; arguments as :func:`x0_from`."""
    output, z_t, alpha, sigma = _operands(output, z_t, alpha_bar, prediction_type)
    if prediction_type == "epsilon":
        return (output - sigma * z_t) / alpha
    if prediction_type == "v_prediction":
        return output
    return (alpha * z_t - output) / sigma


def _operands(
    output: Tensor, z_t: Tensor, alpha_bar: Tensor, prediction_type: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return output, z_t, sqrt(alpha_bar), sqrt(1 - alpha_bar), broadcastable, float32 or wider."""
    if prediction_type not in get_args(PredictionType):
        raise ValueError(
            f"prediction_type must be one of {', '.join(get_args(PredictionType))}; "
            f"got {prediction_type!r}"
        )
    if output.shape != z_t.shape:
        raise ValueError(
            "output and z_t must have one shape; "
            f"got output {tuple(output.shape)} and z_t {tuple(z_t.shape)}"
        )
    dtype = torch.promote_types(torch.promote_types(output.dtype, z_t.dtype), torch.float32)
    alpha_bar = alpha_bar.to(dtype).view(-1, *(1,) * (z_t.ndim - 1))
    return output.to(dtype), z_t.to(dtype), alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
