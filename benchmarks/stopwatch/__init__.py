"""A node for the benchmark: reads the host's clocks where a LATENT passes by."""

import time


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
        """Return the latent; show seconds on the wall, and of all threads on the processor."""
        clocks = [time.perf_counter(), time.process_time()]
        return {"ui": {"clocks": clocks}, "result": (latent,)}


NODE_CLASS_MAPPINGS = {"Stopwatch": Stopwatch}
