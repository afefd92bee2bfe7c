"""Nodes for the benchmark: they run in the host's process and show its clocks."""

import sys
import time
from pathlib import Path

import torch

#: Behind all of the host's folders: both have a module ``nodes``.
sys.path.append(str(Path(__file__).resolve().parents[2]))
from trip_core import pipeline
from trip_core.stills import read_still
from trip_core.trip_file import load_model

sys.path.pop()


def _clocks() -> list[float]:
    """Return seconds on the wall, and of all threads on the processor."""
    return [time.perf_counter(), time.process_time()]


class Stopwatch:
    """Passes a LATENT through; shows the clocks of the host's process."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "benchmarks", "read", ("LATENT",), True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """Return the inputs."""
        return {"required": {"latent": ("LATENT",)}}

    @classmethod
    def IS_CHANGED(cls, **_: object) -> float:
        """Run each time."""
        return float("nan")

    def read(self, latent: dict) -> dict:
        """Return the latent; show the clocks."""
        return {"ui": {"clocks": _clocks()}, "result": (latent,)}


class BareCore:
    """Samples a clip with the built-in model, without a host; shows the seconds that it took."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "benchmarks", "sample", (), True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """Return the inputs."""
        texts = {name: ("STRING", {}) for name in ("still", "prompt")}
        numbers = {name: ("INT", {}) for name in ("frames", "steps", "seed")}
        return {"required": {**texts, **numbers, "guidance": ("FLOAT", {})}}

    def sample(
        self, still: str, prompt: str, frames: int, steps: int, seed: int, guidance: float
    ) -> dict:
        """Show how far the clocks moved while the clip was sampled; what can be is done before."""
        model, picture = load_model(), read_still(still)
        with torch.no_grad():
            small, text = pipeline.fit_to_model(model, picture), model.text.encode([prompt, ""])
            motion = pipeline.estimate_motion(model, small, text[:1])
            prior = model.trip.config.prior
            bound = pipeline.condition(model, small, text[:1], motion, frames, prior)
            start = _clocks()
            pipeline.denoise_clip(
                model, bound, text[1:], frames, steps, guidance, seed, "ddim", None
            )
        took = [end - begin for begin, end in zip(start, _clocks(), strict=True)]
        return {"ui": {"seconds": took}}


NODE_CLASS_MAPPINGS = {"Stopwatch": Stopwatch, "BareCore": BareCore}
