"""The core's functions on the host's MODEL and VAE wires."""

from typing import TYPE_CHECKING, Any

import comfy.model_management
import torch
from torch import Tensor

from ..trip_core.nn.motion_field import StillMotion
from ..trip_core.pipeline import Model, estimate_motion, fit_to_model
from . import host
from .held_still import KEY, MovedStill, hold_still, prior_weights
from .held_still import hold as bind
from .padded_still import build_anchor
from .still_fit import fit_image, kept_places
from .wishes import Wishes

if TYPE_CHECKING:
    from .host_model import TRIPBaseModel


class HostAutoencoder:
    """A VAE of the host as the core's autoencoder: pixels -1..1, latents as on the wires."""

    def __init__(self, vae: Any) -> None:
        """Wrap the host's VAE."""
        self._vae = vae
        ratio = (
            vae.spacial_compression_encode() if hasattr(vae, "spacial_compression_encode") else 8
        )
        self.downscale = int(ratio)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return latents of ``[B, 3, H, W]``."""
        return self._vae.encode((pixels.movedim(1, -1) / 2 + 0.5).clamp(0, 1)).float().cpu()

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels of latents."""
        return self._vae.decode(latents).movedim(-1, 1) * 2 - 1


def core_model(base: "TRIPBaseModel", vae: Any) -> Model:
    """Return the core's view of what is inside of a MODEL, and its VAE.

    Raises:
        ValueError: If the VAE's latents are not the model's.
    """
    channels = base.trip_config.channels
    if getattr(vae, "latent_channels", channels) != channels:
        raise ValueError(
            f"this TRIP's latents have {channels} channels, the VAE's {vae.latent_channels}; "
            "connect the VAE of the same Load TRIP Model"
        )
    motion = None if base.motion_patcher is None else base.motion_patcher.model
    text: Any = None  # the host's CLIP has encoded the text already
    return Model(base.diffusion_model.trip, HostAutoencoder(vae), text, motion, {}, base.defaults)


def motion(
    patcher: Any, core: Model, small: Tensor, positive: list, strength: float
) -> StillMotion | None:
    """Return how the still moves under the positive text, on the CPU; None without a network."""
    if core.motion is None:
        return None
    comfy.model_management.load_models_gpu([patcher])
    device = patcher.load_device
    text = positive[0][0]
    width = core.motion.config.text_width
    if text.shape[-1] != width:
        raise ValueError(
            f"this TRIP reads text tokens of width {width}; the positive conditioning's are "
            f"{text.shape[-1]} wide: encode the text with the CLIP of the same Load TRIP Model"
        )
    with torch.no_grad():
        found = estimate_motion(core, small.to(device), text[:1].to(device), strength)
    assert found is not None
    return StillMotion(
        found.parameters.cpu(), found.regions.float().cpu(), found.depth.float().cpu()
    )


def hold(
    base: "TRIPBaseModel", vae: Any, positive: list, negative: list, wishes: Wishes
) -> tuple[list, list, dict[str, Any]]:
    """Hold a TRIP to its still; see ``host_systems.Animator``."""
    wishes.refuse("TRIP", "end_still", "loop", "fs")
    core = core_model(base, vae)
    if core.motion is None:
        wishes.refuse_motion("TRIP")
    still = fit_image(wishes.image, wishes.width, wishes.height, wishes.fit)
    kept = kept_places(wishes.mask, wishes.image, still, wishes.fit)
    small = fit_to_model(core, still)
    moved = motion(base.motion_patcher, core, small, positive, wishes.motion_strength)
    anchor = None
    if moved is not None:
        anchor = build_anchor(still, moved, wishes, kept)
    count = host.Progress(wishes.length).through
    prior = prior_weights(core, wishes)
    held, start = hold_still(core, small, anchor, wishes.length, prior, kept, count)
    latent: dict[str, Any] = {"samples": start}
    if anchor is not None:
        latent[KEY] = MovedStill(anchor, held.still[0])
    return bind(positive, held), bind(negative, held), latent
