"""Measuring clips: fidelity to the still, motion as seen, motion against the truth."""

from .fidelity import psnr, sharpness_ratio
from .optical_flow import CameraMotion, direction_followed
from .report import ClipMeter, ClipReport, clip_report

__all__ = [
    "CameraMotion",
    "ClipMeter",
    "ClipReport",
    "clip_report",
    "direction_followed",
    "psnr",
    "sharpness_ratio",
]
