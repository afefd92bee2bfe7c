"""Models of every system: what a path is, how it is loaded, how it animates a still.

The table here is the only place that picks a system.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .dreamvideo_file import dreamvideo_info, find_dreamvideo, load_dreamvideo
from .dynamicrafter_file import dynamicrafter_info, find_dynamicrafter
from .dynamicrafter_folder import load_dynamicrafter_folder
from .pipeline import Clip, animate
from .pipeline_dreamvideo import animate_dreamvideo
from .pipeline_dynamicrafter import animate_dynamicrafter
from .trip_file import load_model, trip_info


@dataclass(frozen=True)
class System:
    """A row of the table.

    Attributes:
        name: For people.
        find: The file (or folder) of this system that a path is or holds; None if there is none.
            It reads names and metadata alone.
        info: Describes what ``find`` found, without loading it.
        load: Loads it: ``load(path, device, dtype)``, dtype that of the system's weights.
        animate: ``animate(model, still, prompt, **options)``.
        networks: What of a loaded model runs in every denoising step.
    """

    name: str
    find: Callable[[Path], Path | None]
    info: Callable[[Path], dict[str, Any]]
    load: Callable[[Path, torch.device | str, torch.dtype], Any]
    animate: Callable[..., Clip]
    networks: Callable[[Any], list[nn.Module]]


#: Asked in this order. TRIP, the last, takes what nobody claims: it says what is wrong with a file.
SYSTEMS = (
    System(
        "DynamiCrafter",
        find_dynamicrafter,
        dynamicrafter_info,
        load_dynamicrafter_folder,
        animate_dynamicrafter,
        lambda model: [model.network.unet],
    ),
    System(
        "DreamVideo",
        find_dreamvideo,
        dreamvideo_info,
        load_dreamvideo,
        animate_dreamvideo,
        lambda model: [model.network.unet, model.network.retention],
    ),
    System(
        "TRIP",
        lambda path: path,
        trip_info,
        load_model,
        animate,
        lambda model: [model.trip.unet],
    ),
)


def load_animator(
    path: str | os.PathLike[str] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    compile: bool = False,
) -> "partial[Clip]":
    """Load a model of any system and return its way from a still to a clip.

    Args:
        path: A checkpoint file, a folder in diffusers' layout, a DynamiCrafter file or its folder;
            None for the model that ships.
        device: Where all parts are put.
        dtype: Type of the system's weights.
        compile: Compile what runs in every denoising step (``torch.compile``), when it first runs.

    Returns:
        The system's ``animate`` with its model bound: still, prompt and options make a clip.

    Raises:
        ValueError: If the path is not a model that can be loaded; one sentence that names why.
    """
    system, found = find_system(path)
    model = load_model(None, device, dtype) if found is None else system.load(found, device, dtype)
    if compile:
        for network in system.networks(model):
            network.compile()
    return partial(system.animate, model)


def info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Describe a model of any system without loading it.

    Returns:
        ``path``, ``kind``, ``system``, ``variant``, ``prediction_type``, ``bytes``, ``parts``
        (tensors, parameters and types of each), ``missing`` (parts that such a model has and this
        file has not), ``config`` and, where the file brings one, the model ``card``.

    Raises:
        ValueError: If the path is not a model; one sentence that names why.
    """
    system, found = find_system(path)
    assert found is not None
    return {"system": system.name, **system.info(found)}


def find_system(path: str | os.PathLike[str] | None) -> tuple[System, Path | None]:
    """Return the system of a path, and what of it to load; None: the model that ships.

    Raises:
        ValueError: If it cannot be read at all; one sentence that names why.
    """
    if path is None:
        return SYSTEMS[-1], None
    for system in SYSTEMS:
        found = system.find(Path(path))
        if found is not None:
            return system, found
    raise AssertionError("the last row takes everything")
