"""DreamVideo in the host: a checkpoint as MODEL, CLIP and VAE.

What Image Noise Prior does not hold to a picture is text alone, as in training. So double-condition
guidance is the host's own DualCFGGuider, in the form of Brooks et al. 2023: text and picture as
cond1, the negative text with the picture as cond2, the negative text as it came from CLIP Text
Encode as negative; cfg_conds is then the text's scale, cfg_cond2_negative the picture's. KSampler
and TRIP Sampler guide by the text alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_patcher
import torch
from torch import Tensor

from ..trip_core.dreamvideo_file import load_dreamvideo
from ..trip_core.pipeline import fit_to_model
from ..trip_core.pipeline_dreamvideo import DreamVideoModel, reference_pixels
from ..trip_core.prediction import x0_from
from ..trip_core.systems.dreamvideo import DreamVideo
from .held_still import KEY, repeat_frames
from .host_model import TRIPLatents, build_clip, build_vae, clean_sampling
from .host_network import DTYPES, HostNetwork, build_patcher, check_text
from .host_prior import HostAutoencoder
from .host_trip import preview_colours, vae_state
from .host_windows import FrameBatch
from .kept_text import KeptText
from .still_fit import fit_image
from .wishes import Wishes


def load(path: Path, precision: str) -> tuple[Any, Any, Any]:
    """Return MODEL, CLIP and VAE; see ``host_systems.load``.

    Args:
        path: A DreamVideo file; what it lacks is taken from its folder.
        precision: "auto", "fp32", "bf16" or "fp16".
    """
    core = load_dreamvideo(path)
    around = cast(Any, core)
    return build_model(core, precision), build_clip(around), build_vae(vae_state(around))


def build_model(core: DreamVideoModel, precision: str) -> comfy.model_patcher.ModelPatcher:
    """Return the host's MODEL of a loaded model, whose network's weights are taken over."""
    return build_patcher(
        core.network,
        _latent_format(core),
        DTYPES.get(precision),
        lambda config, _: DreamVideoBaseModel(config, core),
    )


def _latent_format(core: DreamVideoModel) -> Any:
    channels = core.network.config.unet.out_channels
    if channels == 4:
        return comfy.latent_formats.SD15()
    return TRIPLatents(channels, 1.0, *preview_colours(core.vae))


@dataclass(frozen=True, eq=False)
class HeldPicture:
    """What Image Noise Prior binds to the conditioning.

    Attributes:
        reference: The picture, ``[1, 3, H, W]`` in -1..1.
        shape: Of the LATENT that was made with it: frames, channels, height, width.
    """

    reference: Tensor
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class BoundPicture:
    """A branch's picture for the network, ``[1, 3, H, W]`` or None, and what keeps its text."""

    picture: Tensor | None
    text: KeptText


class DreamVideoNetwork(HostNetwork):
    """DreamVideo in the host."""

    part, system = "dreamvideo", DreamVideo
    dreamvideo: DreamVideo

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        trip: "tuple[BoundPicture, ...]" = (),
        **_: Any,
    ) -> Tensor:
        """Return the clean latents, ``[branches * F, C, h, w]``.

        Args:
            x: Noisy latents, likewise.
            timesteps: ``[branches * F]``.
            context: Text tokens, ``[branches * F, L, D]``.
            trip: The picture of each branch; all have one, or none has.
        """
        network, branches = self.dreamvideo, len(trip)
        count = len(x) // branches
        z_t = x.unflatten(0, (branches, count)).movedim(1, 2)  # [B, C, F, h, w]
        pictures = [bound.picture for bound in trip if bound.picture is not None]
        reference = torch.cat(pictures) if pictures else None
        times = timesteps[::count]
        text = trip[0].text(network.text_keys_values, context[::count])  # one row a branch
        output = network(z_t, times, text, reference)
        alpha_bar = network.schedule.alpha_bar(times)
        x0 = x0_from(output, z_t, alpha_bar, network.config.prediction_type)
        return x0.movedim(2, 1).flatten(0, 1)


class DreamVideoBaseModel(FrameBatch):
    """The host's model of a DreamVideo."""

    def __init__(self, model_config: Any, core: DreamVideoModel) -> None:
        """Build the model around a network without weights."""
        kind = comfy.model_base.ModelType.EPS
        super().__init__(model_config, kind, unet_model=DreamVideoNetwork)  # type: ignore[call-arg]
        self.model_sampling = clean_sampling(model_config, core.network.schedule)
        self.config, self.defaults = core.network.config, core.defaults

    def hold(
        self, vae: Any, positive: list, negative: list, wishes: Wishes
    ) -> tuple[list, list, dict[str, Any]]:
        """See ``host_systems.Animator``."""
        wishes.refuse("DreamVideo", "end_still", "loop", "fs")
        wishes.refuse_motion("DreamVideo")
        _refuse_prior(wishes)
        channels = self.config.unet.out_channels
        if getattr(vae, "latent_channels", channels) != channels:
            raise ValueError(
                f"this DreamVideo's latents have {channels} channels, the VAE's "
                f"{vae.latent_channels}; connect the VAE of the same Load TRIP Model"
            )
        network, text = self.diffusion_model.dreamvideo, cast(Any, None)
        core = DreamVideoModel(network, HostAutoencoder(vae), text, defaults=self.defaults)
        still = fit_image(wishes.image, wishes.width, wishes.height, wishes.fit)
        small = fit_to_model(core, still)
        samples = repeat_frames(core.vae.encode(small * 2 - 1), wishes.length)
        picture = reference_pixels(network, core.vae.downscale, small)
        held = HeldPicture(picture, tuple(samples.shape))

        def bind(conditioning: list) -> list:
            return [[tokens, {**values, KEY: held}] for tokens, values in conditioning]

        return bind(positive), bind(negative), {"samples": samples}

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """Return what the network is called with, beside the noisy latents."""
        out = super().extra_conds(**kwargs)
        held = kwargs.get(KEY)
        self._check(held, kwargs["noise"], kwargs.get("cross_attn"))
        picture = None if held is None else held.reference.to(kwargs["device"])
        out[KEY] = _PictureCond((BoundPicture(picture, self.keep_text()),))
        return out

    def _check(self, held: Any, noise: Tensor, text: Tensor | None) -> None:
        check_text("DreamVideo", self.config.unet.cross_attention_dim, text)
        if held is None:
            return
        if not isinstance(held, HeldPicture) or held.shape != tuple(noise.shape):
            made = f"latents {list(held.shape)}" if hasattr(held, "shape") else "another model"
            raise ValueError(
                f"the conditioning was made for {made} and the LATENT is {list(noise.shape)} "
                "(frames, channels, height, width): connect all outputs of one Image Noise Prior "
                "that has this MODEL"
            )


def _refuse_prior(wishes: Wishes) -> None:
    """Say that there is no image noise prior to shape, if it was to be shaped."""
    usual = {"prior_strength": 1.0, "decay_over_frames": 0.0, "decay_over_time": 0.0, "mask": None}
    for name, value in usual.items():
        if getattr(wishes, name) is not value and getattr(wishes, name) != value:
            back = "disconnect it" if value is None else f"set it back to {value}"
            raise ValueError(
                f"{name} shapes the image noise prior, which DreamVideo has not; {back}, or load a "
                "TRIP model"
            )


class _PictureCond(comfy.conds.CONDConstant):
    """A picture for each branch, or none; branches of one kind run in one batch."""

    def can_concat(self, other: Any) -> bool:
        return (self.cond[0].picture is None) == (other.cond[0].picture is None)

    def concat(self, others: list) -> Any:
        return sum((other.cond for other in others), self.cond)
