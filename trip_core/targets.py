"""Targets of files: refused before the work where they cannot be, and hidden until complete."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a target that certainly cannot be written, before any work is done for it.

    Raises:
        OSError: If the target is a folder, or its nearest existing folder is not one that this
            user may write to, or a name on the way is longer than the disk takes.
    """
    path = Path(path)
    # os.path's tests, for those of pathlib raise for names that are too long.
    if os.path.isdir(path):
        raise OSError(f"{path} is a folder; give a file name, e.g. {path / 'clip.mp4'}")
    folder = path.absolute().parent
    while not os.path.exists(folder):
        folder = folder.parent
    if not os.path.isdir(folder):
        raise OSError(f"{path} could not be written: {folder} is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"{path} could not be written: no permission to write in {folder}")
    if hasattr(os, "pathconf"):
        limit = os.pathconf(folder, "PC_NAME_MAX")
        for name in path.absolute().relative_to(folder).parts:
            if (length := len(os.fsencode(name))) > limit:
                raise OSError(
                    f"{name} is a name of {length} bytes, but {folder} takes at most {limit}; "
                    "give a shorter one"
                )


def hidden_beside(path: Path, suffix: str = "") -> Path:
    """Return a new hidden name beside a target, for what is renamed to it when it is complete.

    It begins as the target's does, and is short however long that is.

    Args:
        path: The target.
        suffix: Ending of the hidden name, where its reader or writer goes by it.
    """
    return path.with_name(f".{path.stem[:24]}.{secrets.token_hex(4)}.part{suffix}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a hidden path beside a target to write to; it gets the target's name at the end.

    An exception on the way (Ctrl-C included) removes it and leaves an older target as it was.

    Args:
        path: Target; an existing file is replaced, missing folders are made.

    Raises:
        OSError: If the disk refuses; one sentence that names the target, not the hidden path.
    """
    hidden = hidden_beside(path, path.suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield hidden
            os.replace(hidden, path)
        finally:
            hidden.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"{path} could not be written: {error.strerror or error}") from None
