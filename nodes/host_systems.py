"""The systems that the nodes know: how a file is recognised, and which module brings it in.

This table is the only place that picks a system. Everything after it asks the MODEL itself: what
is inside of a MODEL of ours is an :class:`Animator`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..trip_core.dreamvideo_file import find_dreamvideo
from ..trip_core.dynamicrafter_file import find_dynamicrafter
from .wishes import Wishes

#: MODEL, CLIP and VAE.
Loaded = tuple[Any, Any, Any]


@dataclass(frozen=True)
class System:
    """A row of the table.

    Attributes:
        name: For people.
        find: The file (or folder) of this system that a path is or holds; None if there is none.
            It reads names and shapes alone.
        module: Its adapter in this package, imported when it is needed. It has
            ``load(path: Path | None, precision: str) -> (MODEL, CLIP, VAE)``.
    """

    name: str
    find: Callable[[Path], Path | None]
    module: str


#: Asked in this order. TRIP, the last, takes what nobody claims: it says what is wrong with a file.
SYSTEMS = (
    System("DynamiCrafter", find_dynamicrafter, "host_dynamicrafter"),
    System("DreamVideo", find_dreamvideo, "host_dreamvideo"),
    System("TRIP", lambda path: path, "host_trip"),
)


@runtime_checkable
class Animator(Protocol):
    """What is inside of a MODEL of ours, beside the host's own BaseModel."""

    def hold(
        self, model: Any, vae: Any, positive: list, negative: list, wishes: Wishes
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
    if path is None:
        return _adapter(SYSTEMS[-1]).load(None, precision)
    for system in SYSTEMS:
        found = system.find(Path(path))
        if found is not None:
            return _adapter(system).load(found, precision)
    raise AssertionError("the last row takes everything")


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


def _adapter(system: System) -> Any:
    return import_module(f".{system.module}", __package__)
