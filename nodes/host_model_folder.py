"""The host's folder of models: what lies in it, and where."""

import os
from pathlib import Path

from .host import is_present

#: Key of our model folder, and the name under which the built-in model is listed.
MODEL_FOLDER = "trip"
BUILT_IN = "built-in (small)"
#: Folders that hold parts of a model, as transformers and diffusers name them.
_ENCODER_FOLDERS = ("text_encoder", "image_encoder", "tokenizer", "vae")


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
