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
import comfy.sd
import torch
from torch import Tensor, nn

from ..trip_core.pipeline import Model
from ..trip_core.schedule import NoiseSchedule
from ..trip_core.systems.trip import TRIP
from . import host_prior
from .held_still import KEY, BoundStill, HeldStill
from .host_network import DTYPES, HostNetwork, build_patcher, check_text
from .host_windows import FrameBatch
from .wishes import Wishes


def build_model(
    core: Model, precision: str, latent_format: Any
) -> comfy.model_patcher.ModelPatcher:
    """Return the host's MODEL of a loaded model.

    Args:
        core: On the CPU; its system's weights are taken over, not copied.
        precision: "auto", "fp32", "bf16" or "fp16".
        latent_format: Its latents, for the host.
    """
    return build_patcher(
        core.trip,
        latent_format,
        DTYPES.get(precision),
        lambda config, _: TRIPBaseModel(config, core),
    )


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


class TRIPLatents(comfy.latent_formats.LatentFormat):
    """Latents on the host's wires, and how they look."""

    def __init__(self, channels: int, scale: float, factors: list, bias: list) -> None:
        """Describe latents of ``channels``; ``factors`` ``[C, 3]`` and ``bias`` give RGB -1..1."""
        self.latent_channels, self.scale_factor = channels, scale
        self.latent_rgb_factors, self.latent_rgb_factors_bias = factors, bias


class TRIPNetwork(HostNetwork):
    """TRIP in the host."""

    part, system = "trip", TRIP
    trip: TRIP

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
        rows = context[::count].to(self.trip.compute_dtype)  # one a branch
        text = trip.text(self.trip.unet.text_keys_values, rows)
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
        self, vae: Any, positive: list, negative: list, wishes: Wishes
    ) -> tuple[list, list, dict[str, Any]]:
        """See ``host_systems.Animator``."""
        return host_prior.hold(self, vae, positive, negative, wishes)

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
        return BoundStill(held, still, video, visible, kept, self.keep_text())

    def _check(self, held: HeldStill, noise: Tensor, text: Tensor | None) -> None:
        check_text("TRIP", self.trip_config.unet.cross_attention_dim, text)
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
    rising = -table

    class Sampling(comfy.model_sampling.ModelSamplingDiscrete, _CleanPrediction):
        def timestep(self, sigma: Tensor) -> Tensor:
            """Return the fractional timestep whose signal power is the sigma's."""
            signal = 1 / (1 + sigma.double().cpu().flatten().square())
            low = torch.searchsorted(rising, -signal).sub(1).clamp(0, len(table) - 2)
            share = (table[low] - signal) / (table[low] - table[low + 1])
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
