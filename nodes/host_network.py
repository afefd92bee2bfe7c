"""What every system's MODEL shares in the host: the shell around its network, and the patcher."""

from collections.abc import Callable
from typing import Any, ClassVar

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.supported_models_base
import torch
from torch import Tensor, nn

from ..trip_core.nn import layers
from .host_windows import allow_windows

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class HostNetwork(nn.Module):
    """A system's network behind the host's calling convention: frames as a batch, branches stacked.

    Attributes:
        part: Name of the network inside, as in its checkpoints; LoRA keys hold it.
        system: Its class.
    """

    part: ClassVar[str]
    system: ClassVar[Callable[..., Any]]
    #: Noisy latents arrive in float32, whatever the weights are: the prior divides by small noise.
    dtype = torch.float32

    def __init__(self, config: Any, operations: Any, device: Any = None, dtype: Any = None) -> None:
        """Build without memory for weights; ``take`` brings them."""
        super().__init__()
        del device, dtype
        with torch.device("meta"):
            self.add_module(self.part, type(self).system(config, operations))

    def take(self, network: nn.Module, dtype: torch.dtype, compute: torch.dtype) -> None:
        """Take over the weights of a loaded network."""
        own: Any = self.get_submodule(self.part)
        own.load_state_dict(network.state_dict(), assign=True)
        own.to(dtype)
        own.compute_dtype = compute


class _Config(comfy.supported_models_base.BASE):
    unet_extra_config: dict = {}  # noqa: RUF012  the host's field
    memory_usage_factor = 1.0


def build_patcher(
    network: Any,
    latent_format: Any,
    dtype: torch.dtype | None,
    build: Callable[[Any, torch.dtype], Any],
) -> comfy.model_patcher.ModelPatcher:
    """Return the host's MODEL of a loaded network.

    Args:
        network: On the CPU; its weights are taken over, not copied.
        latent_format: Its latents, for the host.
        dtype: Type of the weights; None leaves it to the host.
        build: ``build(config, compute)`` returns the host's model around a network without weights.
    """
    device = comfy.model_management.get_torch_device()
    offload = comfy.model_management.unet_offload_device()
    supported = list(DTYPES.values())
    dtype = dtype or comfy.model_management.unet_dtype(
        device=device,
        model_params=sum(p.numel() for p in network.parameters()),
        supported_dtypes=supported,
    )
    cast = comfy.model_management.unet_manual_cast(dtype, device, supported)
    config = _Config({"config": network.config})
    config.latent_format = latent_format
    config.set_inference_dtype(dtype, cast)
    config.custom_operations = operations(comfy.ops.pick_operations(dtype, cast))
    base = build(config, cast or dtype)
    base.diffusion_model.take(network, dtype, cast or dtype)
    base = base.to(offload).eval().requires_grad_(False)
    patcher = comfy.model_patcher.ModelPatcher(base, load_device=device, offload_device=offload)
    allow_windows(patcher)
    return patcher


def operations(picked: Any) -> Any:
    """Return the host's operations, with the core's faster product where nothing is cast.

    Args:
        picked: What the host would build a model with.
    """

    class Linear(picked.Linear):
        @property
        def plain(self) -> bool:
            """Whether nothing is cast or patched on the way."""
            return not (self.comfy_cast_weights or self.weight_function or self.bias_function)

        def forward(self, input: Tensor) -> Tensor:
            """Map ``[..., in_features]``; what is cast or patched on the way is the host's."""
            if not self.plain:
                return super().forward(input)
            return layers.linear(input, self.weight, self.bias)

    return type("Operations", (picked,), {"Linear": Linear})


def check_text(system: str, width: int, text: Tensor | None) -> None:
    """Check the conditioning's text tokens, ``[B, L, D]``.

    Raises:
        ValueError: If there are none of the width that the network reads.
    """
    if text is None or text.shape[-1] != width:
        have = "none" if text is None else f"{text.shape[-1]} wide"
        raise ValueError(
            f"this {system} reads text tokens of width {width}; the conditioning's are {have}: "
            "encode the text with the CLIP of the same Load TRIP Model"
        )
