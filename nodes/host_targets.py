"""Where results go: the next free name below the host's output or temp folder."""

import os
import re
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..trip_core.stills import to_bytes

#: Bytes of a name in a prefix; disks take 255, and a number and an ending are added.
_LONGEST_NAME = 200


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


def show(images: Tensor) -> list[dict[str, str]]:
    """Save pictures ``[N, H, W, 3]`` (0..1) into the temp folder; return what shows them."""
    entries = []
    for image in images:
        place = target("TRIP_shown", ".png", (image.shape[0], image.shape[1]), keep=False)
        place.path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(to_bytes(image.movedim(-1, 0).cpu().clamp(0, 1))).save(place.path)
        entries.append(place.entry)
    return entries


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


def with_date(prefix: str) -> str:
    """Return a prefix with every ``%date:yyyy-MM-dd%`` filled in (the page does so too)."""
    parts = {
        "yyyy": "%Y", "yy": "%y", "MM": "%m", "M": "%m", "dd": "%d", "d": "%d",
        "hh": "%H", "h": "%H", "mm": "%M", "m": "%M", "ss": "%S", "s": "%S",
    }  # fmt: skip

    def fill(match: re.Match[str]) -> str:
        return re.sub("yyyy|yy|MM?|dd?|hh?|mm?|ss?", lambda m: time.strftime(parts[m[0]]), match[1])

    return re.sub(r"%date:([^%]*)%", fill, prefix)


def _with_variables(prefix: str, size: tuple[int, int]) -> str:
    """Return a prefix with the host's own variables filled in."""
    now = {"year": "%Y", "month": "%m", "day": "%d", "hour": "%H", "minute": "%M", "second": "%S"}
    values = {name: time.strftime(code) for name, code in now.items()}
    values |= {"height": str(size[0]), "width": str(size[1])}
    for name, value in values.items():
        prefix = prefix.replace(f"%{name}%", value)
    return prefix
