"""The host's model of every system here: its frames are a batch, its text is read once a sampling.

Context windows expect one noise level for all frames: ComfyUI 0.3.64 looks for a window's step by
comparing the sampler's sigmas with the batch's, which fails where every frame of a batch brings its
own copy (later hosts compare with the first one).
"""

import math
from typing import Any

import comfy.model_base
import comfy.patcher_extension
from torch import Tensor

from .kept_text import KeptText


class FrameBatch(comfy.model_base.BaseModel):
    """The host's model where one sigma may stand for a batch of frames."""

    def _apply_model(self, x: Tensor, t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        t = t.repeat_interleave(len(x) // len(t))
        return super()._apply_model(x, t, *args, **kwargs)

    def memory_required(self, input_shape: Any, cond_shapes: Any = None) -> float:
        """Return the bytes that a forward needs beside the weights, as the network itself says.

        Args:
            input_shape: ``[branches * F, C, h, w]``; of any other LATENT, until it is refused.
            cond_shapes: Not needed.
        """
        del cond_shapes
        network: Any = self.diffusion_model
        places = math.prod(input_shape) // input_shape[1]
        return network.get_submodule(network.part).memory_required(places)

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """Return what the network is called with, beside the noisy latents.

        Raises:
            ValueError: If the conditioning is for a part of the frame.
        """
        area, noise = kwargs.get("area"), kwargs["noise"]
        if area is not None and any(a < b for a, b in zip(area, noise.shape[-2:], strict=False)):
            raise ValueError(
                "areas of a conditioning are for pictures, and this model reads the whole frame: "
                "take the Set Area node away, or paint a mask (Conditioning Set Mask, default)"
            )
        return super().extra_conds(**kwargs)

    def keep_text(self) -> KeptText:
        """Return a keeper for one sampling; hooks of a conditioning may patch the weights."""
        return KeptText(lambda: self.current_patcher.current_hooks is not None)


def allow_windows(patcher: Any) -> None:
    """Let context windows run on a MODEL whose inside is a :class:`FrameBatch`."""
    kind = getattr(comfy.patcher_extension.WrappersMP, "PREDICT_NOISE", None)
    if kind is not None:  # hosts without it are older than context windows
        patcher.add_wrapper_with_key(kind, "trip", _one_sigma)


def _one_sigma(
    predict: Any, x: Tensor, sigma: Tensor, model_options: dict[str, Any], seed: int | None = None
) -> Tensor:
    """Pass one noise level where context windows are on; frames of a clip share theirs."""
    windowed = "context_handler" in model_options
    return predict(x, sigma[:1] if windowed else sigma, model_options, seed)
