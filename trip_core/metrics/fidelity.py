"""How much of the picture is kept: PSNR (whole, first frame, inside a mask) and sharpness."""

import math

import torch
from torch import Tensor

#: PSNR of identical pictures, in dB, instead of infinity (JSON has none).
PSNR_CAP = 100.0


def psnr(images: Tensor, reference: Tensor, mask: Tensor | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB, of errors pooled over everything given.

    Errors are pooled before the logarithm: a mean of dB would let one identical frame hide ten bad
    ones.

    Args:
        images: Pixels 0..1, any shape.
        reference: Pixels 0..1, same shape.
        mask: Weights 0..1 that broadcast against ``images``; None counts every pixel.

    Returns:
        dB, at most ``PSNR_CAP``; ``nan`` where the mask is empty.

    Raises:
        ValueError: If the shapes differ.
    """
    error, weight = squared_error(images, reference, mask)
    return decibels(error / weight) if weight > 0 else math.nan


def squared_error(
    images: Tensor, reference: Tensor, mask: Tensor | None = None
) -> tuple[float, float]:
    """Return (sum of squared errors, number of values counted), to be pooled over clips.

    Args:
        images: Pixels 0..1, any shape.
        reference: Pixels 0..1, same shape.
        mask: Weights 0..1 that broadcast against ``images``.

    Raises:
        ValueError: If the shapes differ.
    """
    if images.shape != reference.shape:
        raise ValueError(
            f"images and reference must have one shape to be compared; got {tuple(images.shape)} "
            f"and {tuple(reference.shape)}"
        )
    error = (images.float() - reference.float()).square()
    if mask is None:
        return error.double().sum().item(), float(error.numel())
    weight = mask.float().expand_as(error)
    return (error * weight).double().sum().item(), weight.double().sum().item()


def decibels(mean_squared_error: float) -> float:
    """Return the PSNR of a mean squared error of pixels 0..1, at most ``PSNR_CAP``."""
    if mean_squared_error <= 10 ** (-PSNR_CAP / 10):
        return PSNR_CAP
    return -10 * math.log10(mean_squared_error)


def luma(images: Tensor) -> Tensor:
    """Return BT.709 luma of ``[..., 3, H, W]`` pixels, ``[..., 1, H, W]``."""
    weights = images.new_tensor([0.2126, 0.7152, 0.0722]).view(3, 1, 1)
    return (images * weights).sum(-3, keepdim=True)


def laplacian_energy(image: Tensor) -> float:
    """Return the mean square of the discrete Laplacian of the luma: how much fine detail there is.

    Args:
        image: Pixels 0..1, ``[3, H, W]``, at least 3x3.
    """
    y = luma(image.float())[0]
    around = y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:]
    return (around - 4 * y[1:-1, 1:-1]).square().mean().item()


def sharpness_ratio(frame: Tensor, still: Tensor) -> float:
    """Return the Laplacian energy of a frame over the still's: 1 is as sharp, 0 is flat.

    Args:
        frame: Pixels 0..1, ``[3, H, W]``.
        still: Pixels 0..1, ``[3, H, W]``.

    Returns:
        The ratio; ``nan`` for a still without any detail.
    """
    energy = laplacian_energy(still)
    return laplacian_energy(frame) / energy if energy > 1e-12 else math.nan


def colour_drift(frame: Tensor, still: Tensor) -> float:
    """Return how far the mean colour moved: root mean square over R, G, B, in units of 0..1.

    A gain g on a still of mean colour m gives ``|g - 1| * rms(m)``. New content that comes into
    view counts too, so judge it on clips that move little.

    Args:
        frame: Pixels 0..1, ``[3, H, W]``.
        still: Pixels 0..1, ``[3, H, W]``.
    """
    return (_mean_colour(frame) - _mean_colour(still)).square().mean().sqrt().item()


def brightness_drift(frame: Tensor, still: Tensor) -> float:
    """Return mean luma of the frame minus that of the still, in units of 0..1 (signed)."""
    return (luma(frame.float()).mean() - luma(still.float()).mean()).item()


def _mean_colour(image: Tensor) -> Tensor:
    return image.to(torch.float64).mean((-2, -1))
