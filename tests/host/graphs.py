"""Graphs in API format, built from short pieces."""


def node(kind: str, **inputs) -> dict:
    """Return one node."""
    return {"class_type": kind, "inputs": inputs}


def combine(**inputs) -> dict:
    """Return a Video Combine with its defaults."""
    defaults = {
        "fps": 8.0, "format": "mp4 (H.264)", "crf": -1, "pixel_format": "auto", "loop": 0,
        "pingpong": False, "save_output": True, "filename_prefix": "TRIP/clip",
        "save_workflow": True, "audio_fit": "fit to video",
    }  # fmt: skip
    return node("TRIP_VideoCombine", **{**defaults, **inputs})


def prepared(model: str = "tiny.safetensors", length: int = 5, **inputs) -> dict:
    """Return the graph up to Image Noise Prior, which is node "5"."""
    prior = {
        "width": 0, "height": 0, "fit": "crop", "length": length, "motion_strength": 1.0,
        "prior_strength": 1.0, "decay_over_frames": 0.0, "decay_over_time": 0.0,
    }  # fmt: skip
    return {
        "1": node("TRIP_LoadModel", model_name=model, precision="auto"),
        "2": node("CLIPTextEncode", text="the camera pans left", clip=["1", 1]),
        "3": node("CLIPTextEncode", text="", clip=["1", 1]),
        "4": node("LoadImage", image="still.png"),
        "5": node(
            "TRIP_ImageNoisePrior",
            model=["1", 0],
            positive=["2", 0],
            negative=["3", 0],
            vae=["1", 2],
            image=["4", 0],
            **{**prior, **inputs},
        ),
    }


def sampled(
    sampler: str = "TRIP_Sampler", seed: int = 7, steps: int = 4, cfg: float = 2.0, **more
) -> dict:
    """Return a sampler on ``prepared``."""
    inputs = {
        "model": ["1", 0], "positive": ["5", 0], "negative": ["5", 1], "seed": seed,
        "steps": steps, "cfg": cfg, "sampler_name": "ddim", "scheduler": "ddim_uniform",
        "denoise": 1.0, **more,
    }  # fmt: skip
    if sampler == "TRIP_Sampler":
        return node(sampler, latent=["5", 2], **{"guidance_rescale": 0.0, **inputs})
    return node(sampler, latent_image=["5", 2], **inputs)
