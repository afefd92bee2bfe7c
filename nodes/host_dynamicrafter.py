"""DynamiCrafter in the host: a released file as MODEL, CLIP and VAE."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_patcher
import torch
from torch import Tensor

from ..trip_core.dynamicrafter_file import load_dynamicrafter
from ..trip_core.dynamicrafter_names import TEXT, VAE
from ..trip_core.systems.dynamicrafter import (
    ContextKeysValues,
    DynamiCrafter,
    DynamiCrafterConfig,
    frame_tokens,
)
from ..trip_core.tensor_files import read_tensors
from .after_guidance import after_guidance
from .dynamicrafter_still import HeldClip, check_conditioning, hold_clip
from .held_still import KEY, hold
from .host_dynamicrafter_sampling import DynamiCrafterSampling
from .host_network import DTYPES, HostNetwork, build_patcher
from .host_prior import HostAutoencoder
from .host_released import NoText, build_text, build_vae
from .host_windows import FrameBatch
from .image_context import TOKENS
from .kept_text import KeptText
from .wishes import Wishes

_NO_TEXT = (
    "this DynamiCrafter file holds no text encoder; load Stable Diffusion 2.1's with Load CLIP "
    "(models/text_encoders, type stable_diffusion) and use its CLIP"
)


def load(path: Path, precision: str) -> tuple[Any, Any, Any]:
    """Return MODEL, CLIP and VAE; see ``host_systems.load``.

    Args:
        path: A DynamiCrafter file, pruned or whole.
        precision: "auto" keeps the weights in their type.
    """
    try:
        vae = build_vae(_part(path, VAE))
        text = _text_state(path)
        clip = NoText(_NO_TEXT) if text is None else build_text(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return build_model(load_dynamicrafter(path), precision), clip, vae


def build_model(network: DynamiCrafter, precision: str) -> comfy.model_patcher.ModelPatcher:
    """Return the host's MODEL of a loaded network, whose weights are taken over."""
    patcher = build_patcher(
        network,
        comfy.latent_formats.SD15(),
        DTYPES.get(precision) or next(network.parameters()).dtype,
        lambda config, _: DynamiCrafterBaseModel(config),
    )
    after_guidance(patcher, _towards_stills)
    return patcher


class DynamiCrafterNetwork(HostNetwork):
    """DynamiCrafter in the host."""

    part, system = "dynamicrafter", DynamiCrafter
    dynamicrafter: DynamiCrafter

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        transformer_options: dict[str, Any] | None = None,
        trip: "tuple[BoundClip, ...]" = (),
        **_: Any,
    ) -> Tensor:
        """Return the network's own output, ``[branches * F, C, h, w]``."""
        count = len(x) // len(trip)
        window = (transformer_options or {}).get("context_window")
        frames = list(range(count)) if window is None else list(window.index_list)
        z_t = x.unflatten(0, (len(trip), count)).movedim(1, 2)  # [B, C, F, h, w]
        network = self.dynamicrafter
        # A window is a clip of its own to the queries: they know no more than 16 frames.
        image = frame_tokens(torch.cat([clip.tokens for clip in trip]), count)
        read = trip[0].text(network.context_keys_values, context[::count], image)  # a row a branch
        stills = torch.cat([clip.stills[:, :, frames] for clip in trip])
        pace = torch.tensor([clip.pace for clip in trip], device=x.device)
        return network(z_t, timesteps[::count], read, stills, pace).movedim(2, 1).flatten(0, 1)


@dataclass(frozen=True, eq=False)
class BoundClip:
    """A held clip for the network: scaled, on its device, its image tokens made.

    Attributes:
        held: What it was made from.
        stills: ``[1, C, F, h, w]``.
        tokens: Image tokens, ``[1, 16, Q, D]``.
        pace: As the network's.
        text: Keeps what the network makes of text and image tokens.
    """

    held: HeldClip
    stills: Tensor
    tokens: Tensor
    pace: int
    text: KeptText[ContextKeysValues]


class DynamiCrafterBaseModel(FrameBatch):
    """The host's model of a DynamiCrafter."""

    def __init__(self, model_config: Any) -> None:
        """Build the model around a network without weights."""
        self.config: DynamiCrafterConfig = model_config.unet_config["config"]
        velocity = self.config.prediction_type == "v_prediction"
        kind = comfy.model_base.ModelType
        super().__init__(
            model_config, kind.V_PREDICTION if velocity else kind.EPS,
            unet_model=DynamiCrafterNetwork,
        )  # fmt: skip
        self.model_sampling = DynamiCrafterSampling(
            model_config, self.config.build_schedule(), self.config.prediction_type
        )

    def hold(
        self, vae: Any, positive: list, negative: list, wishes: Wishes
    ) -> tuple[list, list, dict[str, Any]]:
        """See ``host_systems.Animator``."""
        held, still = hold_clip(self.config, HostAutoencoder(vae), wishes)
        latent = {"samples": torch.cat([still] * wishes.length)}
        return hold(positive, held), hold(negative, held), latent

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """Return what the network is called with, beside the noisy latents.

        The host asks once for a sampling, so the query transformer runs once for a clip.
        """
        out = super().extra_conds(**kwargs)
        held: Any = kwargs.get(KEY)
        tokens: Any = kwargs.get(TOKENS)
        text = kwargs.get("cross_attn")
        check_conditioning(self.config, held, tokens, text, kwargs["noise"])
        device, network = kwargs["device"], self.diffusion_model.dynamicrafter
        stills = self.process_latent_in(held.stills.float()).to(device)
        with torch.no_grad():
            made = network.resampler(tokens.to(device, network.compute_dtype))
        pace = self.config.pace if held.pace is None else held.pace
        out[KEY] = _ClipCond((BoundClip(held, stills, made, pace, self.keep_text()),))
        return out


class _ClipCond(comfy.conds.CONDConstant):
    """A bound clip for each branch; branches run in one batch."""

    def can_concat(self, other: Any) -> bool:
        return self.cond[0].stills.shape == other.cond[0].stills.shape

    def concat(self, others: list) -> Any:
        return sum((other.cond for other in others), self.cond)


def _towards_stills(guider: Any) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return the image noise prior of a sampling; None where it changes nothing."""
    held = _held_by(guider.conds)
    if held is None or not held.acts:
        return None
    model = guider.inner_model
    anchors = model.process_latent_in(held.anchors.float())

    def towards_stills(x0: Tensor, sigma: Tensor) -> Tensor:
        alpha_bar, _ = model.model_sampling.parts(sigma.flatten()[:1])
        return held.towards_stills(x0, anchors, alpha_bar)

    return towards_stills


def _held_by(conds: dict[str, Any]) -> HeldClip | None:
    """Return the clip that a guider's positive holds; another's, if it knows no positive."""
    for condition in chain(conds.get("positive") or (), *conds.values()):
        bound = condition.get("model_conds", {}).get(KEY)
        if isinstance(bound, _ClipCond):
            return bound.cond[0].held
    return None


def _part(path: Path, prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): t for key, t in read_tensors(path, (prefix,)).items()}


def _text_state(path: Path) -> dict[str, Tensor] | None:
    """Return the text encoder's tensors: the file's own, or those in the folder beside it."""
    own = _part(path, TEXT)
    if own:
        return own
    for name in ("model.safetensors", "model.fp16.safetensors"):
        beside = path.parent / "text_encoder" / name
        if beside.is_file():
            return read_tensors(beside)
    return None
