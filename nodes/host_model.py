"""TRIP as the host's own MODEL, CLIP and VAE.

MODEL is a ``comfy.model_base.BaseModel`` in a ``ModelPatcher``: the host's samplers, LoRA, offload
and context windows work on it as on any other. The network answers with clean latents, so the
model's parametrisation is "x0". Imported by the nodes only when a model is loaded.
"""

from typing import Any

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.ops
import comfy.sd
import comfy.supported_models_base
import torch
from torch import Tensor, nn

from ..trip_core.nn import layers
from ..trip_core.pipeline import Model
from ..trip_core.schedule import NoiseSchedule
from ..trip_core.systems.trip import TRIP, TRIPConfig
from .held_still import KEY, BoundStill, HeldStill
from .host_windows import FrameBatch, allow_windows
from .wishes import Wishes

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build_model(
    core: Model, precision: str, latent_format: Any
) -> comfy.model_patcher.ModelPatcher:
    """Return the host's MODEL of a loaded model.

    Args:
        core: On the CPU; its system's weights are taken over, not copied.
        precision: "auto", "fp32", "bf16" or "fp16".
        latent_format: Its latents, for the host.
    """
    device = comfy.model_management.get_torch_device()
    offload = comfy.model_management.unet_offload_device()
    config = _Config({"config": core.trip.config})
    config.latent_format = latent_format
    count = sum(p.numel() for p in core.trip.parameters())
    dtype = DTYPES.get(precision) or comfy.model_management.unet_dtype(
        device=device, model_params=count, supported_dtypes=list(DTYPES.values())
    )
    cast = comfy.model_management.unet_manual_cast(dtype, device, list(DTYPES.values()))
    config.set_inference_dtype(dtype, cast)
    config.custom_operations = operations(comfy.ops.pick_operations(dtype, cast))
    base = TRIPBaseModel(config, core)
    base.diffusion_model.take(core.trip, dtype, cast or dtype)
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
        def forward(self, input: Tensor) -> Tensor:
            """Map ``[..., in_features]``; what is cast or patched on the way is the host's."""
            if self.comfy_cast_weights or self.weight_function or self.bias_function:
                return super().forward(input)
            return layers.linear(input, self.weight, self.bias)

    return type("Operations", (picked,), {"Linear": Linear})


def build_clip(core: Model) -> comfy.sd.CLIP:
    """Return the model's text encoder as the host's CLIP."""
    text = core.text

    class Target:
        params: dict = {}  # noqa: RUF012  the host copies it

        @staticmethod
        def clip(**_: Any) -> nn.Module:
            return _HostText(text)

        @staticmethod
        def tokenizer(**_: Any) -> "_Words":
            return _Words()

    return comfy.sd.CLIP(Target(), parameters=0, model_options={"dtype": torch.float32})


def build_vae(state: dict[str, Tensor]) -> comfy.sd.VAE:
    """Return the host's VAE of a state dict in a layout that it knows."""
    vae = comfy.sd.VAE(sd=dict(state))
    vae.throw_exception_if_invalid()
    return vae


def trip_model(model: Any) -> "TRIPBaseModel":
    """Return what is inside of a MODEL of ours.

    Raises:
        ValueError: If the MODEL is of another kind.
    """
    base = getattr(model, "model", None)
    if not isinstance(base, TRIPBaseModel):
        raise ValueError(
            f"this MODEL is a {type(base).__name__}, not TRIP's; connect the MODEL of Load TRIP "
            "Model, or use Image Noise Prior (any model) with it"
        )
    return base


class TRIPLatents(comfy.latent_formats.LatentFormat):
    """Latents on the host's wires, and how they look."""

    def __init__(self, channels: int, scale: float, factors: list, bias: list) -> None:
        """Describe latents of ``channels``; ``factors`` ``[C, 3]`` and ``bias`` give RGB -1..1."""
        self.latent_channels, self.scale_factor = channels, scale
        self.latent_rgb_factors, self.latent_rgb_factors_bias = factors, bias


class _Config(comfy.supported_models_base.BASE):
    unet_extra_config: dict = {}  # noqa: RUF012  the host's field
    memory_usage_factor = 1.0


class TRIPNetwork(nn.Module):
    """TRIP behind the host's calling convention: frames as a batch, branches stacked on it."""

    #: Noisy latents arrive in float32, whatever the weights are: the prior divides by small noise.
    dtype = torch.float32

    def __init__(
        self, config: TRIPConfig, operations: Any, device: Any = None, dtype: Any = None
    ) -> None:
        """Build without memory for weights; ``take`` brings them."""
        super().__init__()
        del device, dtype
        with torch.device("meta"):
            self.trip = TRIP(config, operations)

    def take(self, trip: TRIP, dtype: torch.dtype, compute: torch.dtype) -> None:
        """Take over the weights of a loaded network."""
        self.trip.load_state_dict(trip.state_dict(), assign=True)
        self.trip.to(dtype)
        self.trip.compute_dtype = compute

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        transformer_options: dict[str, Any] | None = None,
        trip: BoundStill | None = None,
        **_: Any,
    ) -> Tensor:
        """Return the clean latents, ``[branches * F, C, h, w]``."""
        assert trip is not None and self.trip.compute_dtype is not None
        options = transformer_options or {}
        branches = len(options.get("cond_or_uncond", (0,)))
        count = len(x) // branches
        window = options.get("context_window")
        frames = list(range(count)) if window is None else list(window.index_list)
        z_t = x.unflatten(0, (branches, count)).movedim(1, 2)  # [B, C, F, h, w]
        text = context[::count].to(self.trip.compute_dtype)  # one row a branch
        arguments: Any = trip.arguments(branches, frames)
        out = self.trip(z_t, timesteps[::count], text, **arguments)
        return out.x0.movedim(2, 1).flatten(0, 1)


class TRIPBaseModel(FrameBatch):
    """The host's model of a TRIP.

    Attributes:
        core: What is not weights of the system: defaults, and the motion network.
        motion_patcher: The motion network in a patcher of its own; None without.
    """

    def __init__(self, model_config: Any, core: Model) -> None:
        """Build the model around a network without weights."""
        super().__init__(
            model_config, comfy.model_base.ModelType.EPS, device=None, unet_model=TRIPNetwork
        )
        self.model_sampling = clean_sampling(model_config, core.trip.schedule)
        self.trip_config, self.defaults = core.trip.config, core.defaults
        self.motion_patcher = None
        if core.motion is not None:
            self.motion_patcher = comfy.model_patcher.ModelPatcher(
                core.motion,
                load_device=comfy.model_management.get_torch_device(),
                offload_device=comfy.model_management.unet_offload_device(),
            )

    def hold(
        self, model: Any, vae: Any, positive: list, negative: list, wishes: Wishes
    ) -> tuple[list, list, dict[str, Any]]:
        """See ``host_systems.Animator``."""
        from . import host_prior

        return host_prior.hold(model, vae, positive, negative, wishes)

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """Return what the network is called with, beside the noisy latents."""
        out = super().extra_conds(**kwargs)
        held = kwargs.get(KEY)
        if held is None:
            raise ValueError(
                "the conditioning holds no still; put Image Noise Prior between the text and the "
                "sampler, for positive and negative"
            )
        self._check(held, kwargs["noise"], kwargs.get("cross_attn"))
        out[KEY] = _StillCond(self._bind(held, kwargs["device"]))
        return out

    def _bind(self, held: HeldStill, device: Any) -> BoundStill:
        def scaled(latents: Tensor | None) -> Tensor | None:
            if latents is None:
                return None
            return self.process_latent_in(latents.float()).to(device)

        still, warped = scaled(held.still), scaled(held.warped)
        assert still is not None
        video = None if warped is None else warped.movedim(0, 1)[None]
        visible = None if held.visibility is None else held.visibility.to(device)
        kept = None if held.kept is None else held.kept.to(device)
        return BoundStill(held, still, video, visible, kept)

    def _check(self, held: HeldStill, noise: Tensor, text: Tensor | None) -> None:
        width = self.trip_config.unet.cross_attention_dim
        if text is None or text.shape[-1] != width:
            have = "none" if text is None else f"{text.shape[-1]} wide"
            raise ValueError(
                f"this TRIP reads text tokens of width {width}; the conditioning's are {have}: "
                "encode the text with the CLIP of the same Load TRIP Model"
            )
        expected = (held.num_frames, *held.still.shape[1:])
        if tuple(noise.shape) != expected:
            raise ValueError(
                f"the conditioning was made for latents {list(expected)} (frames, channels, "
                f"height, width); the LATENT is {list(noise.shape)}: connect the LATENT of the "
                "same Image Noise Prior"
            )


class _StillCond(comfy.conds.CONDConstant):
    """A bound still; branches that share it run in one batch."""

    def can_concat(self, other: Any) -> bool:
        return self.cond.source is other.cond.source


class _CleanPrediction(comfy.model_sampling.EPS):
    """The network answers with clean latents."""

    def calculate_denoised(
        self, sigma: Tensor, model_output: Tensor, model_input: Tensor
    ) -> Tensor:
        """Return the output as it is."""
        del sigma, model_input
        return model_output


def clean_sampling(config: Any, schedule: NoiseSchedule) -> nn.Module:
    """Return the host's sampling of a schedule of ours."""
    # The floor keeps sigma finite where no signal is left (the samplers of the core have the same).
    table = schedule.alphas_cumprod.clamp(min=2**-24)

    class Sampling(comfy.model_sampling.ModelSamplingDiscrete, _CleanPrediction):
        def timestep(self, sigma: Tensor) -> Tensor:
            """Return the fractional timestep whose signal power is the sigma's."""
            signal = 1 / (1 + sigma.double().cpu().square())
            low = (table > signal.flatten()[:, None]).sum(-1).sub(1).clamp(0, len(table) - 2)
            share = (table[low] - signal.flatten()) / (table[low] - table[low + 1])
            return (low + share.clamp(0, 1)).view(sigma.shape).float().to(sigma.device)

    sampling = Sampling(config)
    sampling.set_sigmas(((1 - table) / table).sqrt())
    return sampling


class _Words:
    """Tokens of a text encoder that splits words itself: the text."""

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_: Any) -> dict:
        del return_word_ids
        return {KEY: [text]}

    def state_dict(self) -> dict:
        return {}


class _HostText(nn.Module):
    """A text encoder of ours where the host expects one of its own."""

    dtypes = (torch.float32,)

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.text = text

    @torch.no_grad()
    def encode_token_weights(self, tokens: dict[str, list[str]]) -> tuple[Tensor, None]:
        if KEY not in tokens:
            raise ValueError("these tokens are another CLIP's; use this CLIP's own tokenize")
        return self.text.encode(tokens[KEY]).float().cpu(), None

    def reset_clip_options(self) -> None:
        """There are none."""

    def set_clip_options(self, options: dict[str, Any]) -> None:
        """There are none."""
