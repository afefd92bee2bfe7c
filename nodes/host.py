"""What of ComfyUI the nodes use: folders, progress, cancel, metadata, its own classes.

Nothing of the host is imported before a function needs it, so the nodes import anywhere and can be
tested without a host. Only this file and the ``host_*`` modules touch it.
"""

import importlib.util
import json
import math
import os
import re
import time
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor

from ..trip_core.stills import to_bytes

Item = TypeVar("Item")

#: Samplers and schedulers shown where no host is there to ask.
_SAMPLERS = ("ddim", "euler", "euler_ancestral", "dpmpp_2m", "uni_pc")
_SCHEDULERS = ("ddim_uniform", "simple", "normal", "karras")
#: Key of our model folder, and the name under which the built-in model is listed.
MODEL_FOLDER = "trip"
BUILT_IN = "built-in (small)"
#: Bytes of a name in a prefix; disks take 255, and a number and an ending are added.
_LONGEST_NAME = 200
#: Folders that hold parts of a model, as transformers and diffusers name them.
_ENCODER_FOLDERS = ("text_encoder", "image_encoder", "tokenizer", "vae")


def is_present() -> bool:
    """Return whether this process runs inside ComfyUI."""
    return all(importlib.util.find_spec(name) for name in ("comfy", "folder_paths"))


# Folders


def register_model_folder() -> None:
    """Tell the host about ``models/trip``."""
    import folder_paths

    default = os.path.join(folder_paths.models_dir, MODEL_FOLDER)
    folder_paths.add_model_folder_path(MODEL_FOLDER, default, is_default=True)
    # A .ckpt is listed so that choosing it says how to convert it; it is never opened.
    folder_paths.folder_names_and_paths[MODEL_FOLDER][1].update((".safetensors", ".ckpt"))


def model_names() -> list[str]:
    """Return the models that can be loaded: the built-in one, then files and folders."""
    if not is_present():
        return [BUILT_IN]
    import folder_paths

    # A folder in diffusers' layout is one model; encoders beside a file are none.
    inside = {*_model_folders(), *_ENCODER_FOLDERS}
    files = [
        name
        for name in folder_paths.get_filename_list(MODEL_FOLDER)
        if inside.isdisjoint(Path(name).parts[:-1])
    ]
    return [BUILT_IN, *sorted(_model_folders()), *files]


def model_path(name: str) -> str | None:
    """Return where a listed model lies; None for the built-in one.

    Raises:
        ValueError: If no such model is listed.
    """
    if name == BUILT_IN:
        return None
    import folder_paths

    folder = _model_folders().get(name)
    path = folder or folder_paths.get_full_path(MODEL_FOLDER, name)
    if path is None or name not in model_names():
        roots = ", ".join(folder_paths.get_folder_paths(MODEL_FOLDER))
        raise ValueError(f"the model {name!r} is not there; put it into {roots} and press R")
    return path


def model_stamp(name: str) -> str:
    """Return the times of the files that a listed model is loaded from; "" for the built-in one."""
    path = model_path(name)
    if path is None:
        return ""
    model = Path(path)
    folders = [model] if model.is_dir() else [model.parent / part for part in _ENCODER_FOLDERS]
    files = [model, *(file for folder in folders for file in sorted(folder.rglob("*")))]
    return " ".join(str(file.stat().st_mtime_ns) for file in files)


def _model_folders() -> dict[str, str]:
    """Return diffusers-style folders by their name below a model folder."""
    import folder_paths

    found = {}
    for root in folder_paths.get_folder_paths(MODEL_FOLDER):
        for index in Path(root).glob("*/model_index.json"):
            found.setdefault(index.parent.name, str(index.parent))
    return found


@dataclass(frozen=True)
class Target:
    """Where a result goes.

    Attributes:
        path: The file (or folder of pictures).
        subfolder: Its folder below the root, as the frontend wants it.
        root: "output" or "temp".
    """

    path: Path
    subfolder: str
    root: str

    @property
    def entry(self) -> dict[str, str]:
        """Return what the frontend needs to show the file."""
        return {"filename": self.path.name, "subfolder": self.subfolder, "type": self.root}


def target(prefix: str, suffix: str, size: tuple[int, int], keep: bool) -> Target:
    """Return the next free name for a result.

    Args:
        prefix: File name with folders; ``%date:yyyy-MM-dd%`` and the host's variables are filled.
        suffix: Ending with its dot; empty for a folder.
        size: (height, width) in pixels, for the host's variables.
        keep: Whether it is kept (output folder) or only shown (temp folder).

    Raises:
        ValueError: If the prefix leaves the folder, or names no file that a disk and a page take.
        OSError: If its folder cannot be read.
    """
    import folder_paths

    root = folder_paths.get_output_directory() if keep else folder_paths.get_temp_directory()
    filled = _with_variables(with_date(prefix), size)
    _check_name(prefix, filled)
    aimed = os.path.realpath(os.path.join(root, os.path.dirname(os.path.normpath(filled))))
    inside = os.path.splitdrive(aimed)[0] == os.path.splitdrive(os.path.realpath(root))[0]
    if not inside or os.path.commonpath((aimed, os.path.realpath(root))) != os.path.realpath(root):
        raise ValueError(
            f"filename_prefix {prefix!r} leads out of the {'output' if keep else 'temp'} folder; "
            "use a name, or folders below it such as TRIP/clip"
        )
    name, counter = os.path.basename(os.path.normpath(filled)), 1
    if os.path.isdir(aimed):  # the host would make it
        try:
            _, name, counter, *_ = folder_paths.get_save_image_path(name, aimed, size[1], size[0])
        except OSError as error:
            raise OSError(f"{aimed} cannot be read: {error.strerror or error}") from None
    path = Path(aimed) / f"{name}_{counter:05}_{suffix}"
    subfolder = os.path.relpath(path.parent, os.path.realpath(root))
    return Target(path, "" if subfolder == os.curdir else subfolder, "output" if keep else "temp")


def _check_name(prefix: str, filled: str) -> None:
    """Refuse a prefix whose name is empty, hidden, unprintable or too long, once it is filled."""
    parts = Path(os.path.normpath(filled)).parts
    why = None
    if not filled.strip(" .") or not os.path.basename(os.path.normpath(filled)).strip(" ."):
        why = "names no file"
    elif any(unicodedata.category(letter) in ("Cc", "Cs") for letter in filled):
        why = "holds a control character"
    elif any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        why = f"holds a name of more than {_LONGEST_NAME} bytes"
    if why is not None:
        shown = prefix if len(prefix) <= 80 else f"{prefix[:80]}…"
        raise ValueError(f"filename_prefix {shown!r} {why}; use a name such as TRIP/clip")


def _with_variables(prefix: str, size: tuple[int, int]) -> str:
    """Return a prefix with the host's own variables filled in."""
    now = {"year": "%Y", "month": "%m", "day": "%d", "hour": "%H", "minute": "%M", "second": "%S"}
    values = {name: time.strftime(code) for name, code in now.items()}
    values |= {"height": str(size[0]), "width": str(size[1])}
    for name, value in values.items():
        prefix = prefix.replace(f"%{name}%", value)
    return prefix


def with_date(prefix: str) -> str:
    """Return a prefix with every ``%date:yyyy-MM-dd%`` filled in (the page does so too)."""
    parts = {
        "yyyy": "%Y", "yy": "%y", "MM": "%m", "M": "%m", "dd": "%d", "d": "%d",
        "hh": "%H", "h": "%H", "mm": "%M", "m": "%M", "ss": "%S", "s": "%S",
    }  # fmt: skip

    def fill(match: re.Match[str]) -> str:
        return re.sub("yyyy|yy|MM?|dd?|hh?|mm?|ss?", lambda m: time.strftime(parts[m[0]]), match[1])

    return re.sub(r"%date:([^%]*)%", fill, prefix)


# Metadata


def workflow_texts(
    prompt: Any, extra_pnginfo: dict[str, Any] | None, wanted: bool
) -> dict[str, str]:
    """Return the texts to store in a file so that dropping it brings the graph back.

    Empty where the artist or the host (``--disable-metadata``) does not want them.
    """
    if not wanted:
        return {}
    from comfy.cli_args import args

    if args.disable_metadata:
        return {}
    values = {**(extra_pnginfo or {}), **({} if prompt is None else {"prompt": prompt})}
    return {name: json.dumps(finite(value), allow_nan=False) for name, value in values.items()}


def finite(value: Any) -> Any:
    """Return JSON values with NaN and infinities (which no JSON parser reads) as null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# Progress and cancel


class Progress:
    """Steps of a node's work; each one also lets the host cancel it."""

    def __init__(self, total: int) -> None:
        """Start a bar of ``total`` steps."""
        import comfy.utils

        self._bar = comfy.utils.ProgressBar(total)

    def step(self, count: int = 1) -> None:
        """Count steps; raises the host's interruption if Cancel was pressed."""
        import comfy.model_management

        comfy.model_management.throw_exception_if_processing_interrupted()
        self._bar.update(count)

    def through(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass items through, a step each."""
        for item in items:
            self.step()
            yield item

    def show(self, done: int, total: int, picture: Any = None) -> None:
        """Set the bar and, given a Pillow picture, show it on the node."""
        from comfy.cli_args import args

        preview = None if picture is None else ("JPEG", picture, args.preview_size)
        self._bar.update_absolute(done, total, preview)


def show(images: Tensor) -> list[dict[str, str]]:
    """Save pictures ``[N, H, W, 3]`` (0..1) into the temp folder; return what shows them."""
    entries = []
    for image in images:
        place = target("TRIP_shown", ".png", (image.shape[0], image.shape[1]), keep=False)
        place.path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(to_bytes(image.movedim(-1, 0).cpu().clamp(0, 1))).save(place.path)
        entries.append(place.entry)
    return entries


# Models


def signal_power(model: Any, sigma: Tensor) -> Tensor:
    """Return alpha_bar at a sigma of any of the host's models, of the sigma's shape.

    Rectified flow mixes ``(1 - sigma) x0 + sigma noise``, all others ``x0 + sigma noise``; what
    counts is the share of the signal's power.
    """
    import comfy.model_sampling

    sigma = sigma.float()
    if isinstance(model.model_sampling, comfy.model_sampling.CONST):
        signal = (1 - sigma).clamp(min=0).square()
        return signal / (signal + sigma.square())
    return 1 / (1 + sigma.square())


def compute_device() -> torch.device:
    """Return the device that the host computes on."""
    import comfy.model_management

    return comfy.model_management.get_torch_device()


# The host's own lists and classes


def sampler_names() -> list[str]:
    """Return the host's samplers."""
    if not is_present():
        return list(_SAMPLERS)
    import comfy.samplers

    return list(comfy.samplers.KSampler.SAMPLERS)


def scheduler_names() -> list[str]:
    """Return the host's schedulers."""
    if not is_present():
        return list(_SCHEDULERS)
    import comfy.samplers

    return list(comfy.samplers.KSampler.SCHEDULERS)


def video_from_file(path: Path, fps: float) -> Any:
    """Return a file as the host's VIDEO, or None in a host without that type."""
    if importlib.util.find_spec("comfy_api") is None:
        return None
    from .animation_video import animation_video

    return animation_video(path, fps)
