"""What a forward needs beside the weights, told to the host by the network itself."""

from typing import Any


class MeasuredMemory:
    """The host's model of a system that knows how much its network keeps alive."""

    def memory_required(self, input_shape: Any, cond_shapes: Any = None) -> float:
        """Return the bytes that a forward needs beside the weights.

        Args:
            input_shape: ``[branches * F, C, h, w]``.
            cond_shapes: Not needed.
        """
        del cond_shapes
        network: Any = self.diffusion_model  # type: ignore[attr-defined]
        frames, _, height, width = input_shape
        return network.get_submodule(network.part).memory_required(frames * height * width)
