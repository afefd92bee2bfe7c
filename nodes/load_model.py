"""Load TRIP Model: MODEL, CLIP and VAE of a checkpoint, or of the model that ships."""

from typing import Any, ClassVar

from . import host_model_folder, host_systems

_PRECISIONS = ("auto", "fp32", "bf16", "fp16")


class LoadTRIPModel:
    """Node ``TRIP_LoadModel``."""

    CATEGORY = "TRIP"
    DESCRIPTION = (
        "Loads a model. The built-in one is small, runs on any machine and needs no download; "
        "others (TRIP, DynamiCrafter, DreamVideo, ModelScopeT2V) are listed from models/trip."
    )
    SEARCH_ALIASES: ClassVar = [
        "image to video",
        "img2vid",
        "animate",
        "trip",
        "dynamicrafter",
        "dreamvideo",
        "load checkpoint",
    ]
    FUNCTION = "load"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    RETURN_NAMES = ("model", "clip", "vae")
    OUTPUT_TOOLTIPS = (
        "The video model, for Image Noise Prior and any sampler.",
        "Its text encoder, for CLIP Text Encode.",
        "Its autoencoder, for Image Noise Prior and decoding.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        return {
            "required": {
                "model_name": (
                    host_model_folder.model_names(),
                    {
                        "tooltip": "The built-in model, or what lies in models/trip: .safetensors "
                        "files of TRIP, DynamiCrafter and DreamVideo, and ModelScopeT2V or "
                        "ZeroScope folders in diffusers' layout."
                    },
                ),
                "precision": (
                    list(_PRECISIONS),
                    {
                        "tooltip": "Of the weights. auto takes what this machine is best at, and "
                        "keeps DynamiCrafter's as they are."
                    },
                ),
            }
        }

    @classmethod
    def IS_CHANGED(cls, model_name: str, precision: str) -> str:
        """Load again when a file changed, the model's own or an encoder's beside it."""
        return f"{model_name} {precision} {host_model_folder.model_stamp(model_name)}"

    def load(self, model_name: str, precision: str) -> tuple[Any, Any, Any]:
        """Return the model in the host's own types."""
        return host_systems.load(host_model_folder.model_path(model_name), precision)
