"""The systems that the nodes know: which module brings each into the host.

The core says what a file is; this table is the only place here that picks a system. Everything
after it asks the MODEL itself: what is inside of a MODEL of ours is an :class:`Animator`.
"""

from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from ..trip_core.models import find_system
from .wishes import Wishes

#: MODEL, CLIP and VAE.
Loaded = tuple[Any, Any, Any]


#: By the core's name of a system: its adapter in this package, imported when it is needed. It has
#: ``load(path: Path | None, precision: str) -> (MODEL, CLIP, VAE)``.
ADAPTERS = {
    "DynamiCrafter": "host_dynamicrafter",
    "DreamVideo": "host_dreamvideo",
    "TRIP": "host_trip",
}


@runtime_checkable
class Animator(Protocol):
    """What is inside of a MODEL of ours, beside the host's own BaseModel."""

    def hold(
        self, vae: Any, positive: list, negative: list, wishes: Wishes
    ) -> tuple[list, list, dict[str, Any]]:
        """Return positive and negative that hold the still, and the LATENT that starts from it."""
        ...


def load(path: str | None, precision: str) -> Loaded:
    """Load a model of any system.

    Args:
        path: A file or folder; None for the model that ships.
        precision: "auto", "fp32", "bf16" or "fp16".

    Raises:
        ValueError: If nothing can be loaded from it; one sentence that says why.
    """
    system, found = find_system(path)
    adapter = import_module(f".{ADAPTERS[system.name]}", __package__)
    return adapter.load(found, precision)


def animator(model: Any) -> Animator:
    """Return what is inside of a MODEL of ours.

    Raises:
        ValueError: If the MODEL is of another kind.
    """
    inside = getattr(model, "model", None)
    if not isinstance(inside, Animator):
        raise ValueError(
            f"this MODEL is a {type(inside).__name__}, not one of Load TRIP Model's; connect its "
            "MODEL, or use Image Noise Prior (any model) with this one"
        )
    return inside
