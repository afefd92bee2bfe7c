"""TRIP Sampler: the host's KSampler, with a contact sheet of the frames while it works."""

from typing import Any, ClassVar

from . import host


class TRIPSampler:
    """Node ``TRIP_Sampler``."""

    CATEGORY = "TRIP"
    DESCRIPTION = (
        "Samples the clip with ComfyUI's own samplers: the same inputs give the same latents as "
        "KSampler. While it runs the node shows nine frames of the clip, not only the first."
    )
    SEARCH_ALIASES: ClassVar = ["ksampler", "img2vid", "animate", "trip sample"]
    FUNCTION = "sample"
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The clip's latents, for TRIP Decode, VAE Decode or Video Combine.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs."""
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "From Load TRIP Model (LoRA and patches welcome)."}),
                "positive": ("CONDITIONING", {"tooltip": "From Image Noise Prior."}),
                "negative": ("CONDITIONING", {"tooltip": "From Image Noise Prior."}),
                "latent": ("LATENT", {"tooltip": "From Image Noise Prior."}),
                "seed": (
                    "INT",
                    {
                        "default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF,
                        "control_after_generate": True,
                        "tooltip": "The same seed gives the same clip. Its first noise is the same "
                        "on any machine; samplers that add noise on the way (ancestral, SDE) may "
                        "draw theirs on the device they run on.",
                    },
                ),
                "steps": (
                    "INT",
                    {
                        "default": 20, "min": 1, "max": 500,
                        "tooltip": "More steps take longer and follow the model more closely.",
                    },
                ),
                "cfg": (
                    "FLOAT",
                    {
                        "default": 1.0, "min": 0.0, "max": 30.0, "step": 0.1,
                        "tooltip": "How strongly the text is followed. 1 is fastest, and right for "
                        "the built-in model, whose motion network has read the text already.",
                    },
                ),
                "guidance_rescale": (
                    "FLOAT",
                    {
                        "default": 0.0, "min": 0.0, "max": 1.0, "step": 0.05,
                        "tooltip": "Takes back contrast that a high cfg adds; most use 0 or 0.7.",
                    },
                ),
                "sampler_name": (
                    _first(host.sampler_names(), "ddim"),
                    {
                        "tooltip": "How the noise is taken away. ddim belongs to ddim_uniform. "
                        "heun and dpm_2_ancestral lose the clip where steps are few: take heunpp2 "
                        "or dpm_2."
                    },
                ),
                "scheduler": (
                    _first(host.scheduler_names(), "ddim_uniform"),
                    {"tooltip": "How the steps are spread. ddim_uniform belongs to ddim."},
                ),
                "denoise": (
                    "FLOAT",
                    {
                        "default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01,
                        "tooltip": "Below 1 the sampling starts later, nearer to the moved still.",
                    },
                ),
            }
        }  # fmt: skip

    def sample(
        self, model: Any, positive: list, negative: list, latent: dict[str, Any], seed: int,
        steps: int, cfg: float, guidance_rescale: float, sampler_name: str, scheduler: str,
        denoise: float,
    ) -> tuple[dict[str, Any]]:  # fmt: skip
        """Return the sampled latents."""
        from . import host_sampling

        guided = host_sampling.with_rescale(model, guidance_rescale)
        samples = host_sampling.sample(
            guided, positive, negative, latent, seed, steps, cfg, sampler_name, scheduler, denoise
        )
        return ({**latent, "samples": samples},)


def _first(names: list[str], favourite: str) -> list[str]:
    """Return the names, the favourite (if it is there) in front: the widget's default."""
    return sorted(names, key=lambda name: name != favourite)
