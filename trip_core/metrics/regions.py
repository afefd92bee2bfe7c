"""Motion against the truth, where the truth is known: flow error and the moving region."""

import math

import torch
from torch import Tensor

#: A pixel moves if it goes further than this share of the clip's largest true displacement ...
_SHARE = 0.15
#: ... and than this many pixels.
_LEAST = 0.5


def flow_error(flow: Tensor, truth: Tensor, visibility: Tensor | None = None) -> float:
    """Return the mean end-point error in pixels.

    Args:
        flow: ``[B, 2, F, H, W]`` in pixels.
        truth: Same shape; zeros give the error of predicting no motion.
        visibility: ``[B, 1, F, H, W]``, 0..1: where a source in the still exists at all; None
            counts every pixel.

    Returns:
        Pixels; ``nan`` if nothing is visible.

    Raises:
        ValueError: If the shapes differ.
    """
    if flow.shape != truth.shape:
        raise ValueError(
            f"flow and truth must have one shape; got {tuple(flow.shape)} and {tuple(truth.shape)}"
        )
    error = _length(flow.float() - truth.float()).unsqueeze(1)
    if visibility is None:
        return error.mean().item()
    weight = visibility.sum()
    return ((error * visibility).sum() / weight).item() if weight > 0 else math.nan


def motion_threshold(truth: Tensor) -> float:
    """Return how far, in pixels, a pixel must go to count as moving in a clip of this true flow.

    15 % of the 99th percentile of true peak displacements, at least half a pixel: a scale that
    serves waves of some pixels and drifts of fifty alike.

    Args:
        truth: ``[B, 2, F, H, W]`` in pixels.
    """
    peak = peak_displacement(truth).flatten()
    rank = min(peak.numel() - 1, int(0.99 * peak.numel()))
    return max(_LEAST, _SHARE * peak.sort().values[rank].item())


def peak_displacement(flow: Tensor) -> Tensor:
    """Return each pixel's largest displacement over the clip, ``[B, H, W]`` in pixels.

    The peak, not the last frame: waves come back to where they were.
    """
    return _length(flow.float()).amax(1)


def moving_region(flow: Tensor, threshold: float) -> Tensor:
    """Return which pixels move further than ``threshold`` pixels in some frame, bool [B, H, W]."""
    return peak_displacement(flow) > threshold


def mask_iou(mask: Tensor, truth: Tensor) -> float:
    """Return intersection over union of two boolean masks of one shape; 1 where both are empty.

    Raises:
        ValueError: If the shapes differ.
    """
    if mask.shape != truth.shape:
        raise ValueError(
            f"masks must have one shape; got {tuple(mask.shape)} and {tuple(truth.shape)}"
        )
    union = (mask | truth).sum().item()
    return (mask & truth).sum().item() / union if union else 1.0


def _length(flow: Tensor) -> Tensor:
    """Return the length of ``[B, 2, ...]`` vectors; many times faster than a norm over dim 1."""
    return torch.hypot(flow[:, 0], flow[:, 1])
