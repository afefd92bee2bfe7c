"""The nodes of the pack; the only package here that may import ComfyUI."""

from . import host, host_model_folder
from .animation_report import AnimationReport
from .apply_noise_prior import ApplyNoisePrior
from .decode import TRIPDecode
from .image_context import ImageContext
from .image_noise_prior import ImageNoisePrior
from .load_model import LoadTRIPModel
from .sampler import TRIPSampler
from .video_combine import VideoCombine

if host.is_present():
    host_model_folder.register_model_folder()

#: Node id -> class, and node id -> the name an artist reads in the menu.
NODE_CLASS_MAPPINGS: dict[str, type] = {
    "TRIP_LoadModel": LoadTRIPModel,
    "TRIP_ImageNoisePrior": ImageNoisePrior,
    "TRIP_ImageContext": ImageContext,
    "TRIP_Sampler": TRIPSampler,
    "TRIP_Decode": TRIPDecode,
    "TRIP_ApplyNoisePrior": ApplyNoisePrior,
    "TRIP_VideoCombine": VideoCombine,
    "TRIP_AnimationReport": AnimationReport,
}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {
    "TRIP_LoadModel": "Load TRIP Model",
    "TRIP_ImageNoisePrior": "Image Noise Prior",
    "TRIP_ImageContext": "Image Context",
    "TRIP_Sampler": "TRIP Sampler",
    "TRIP_Decode": "TRIP Decode",
    "TRIP_ApplyNoisePrior": "Image Noise Prior (any model)",
    "TRIP_VideoCombine": "Video Combine (TRIP)",
    "TRIP_AnimationReport": "Animation Report",
}
