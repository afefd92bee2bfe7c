"""The option ``--device``."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def find_device(name: str) -> "torch.device":
    """Return the device of a name; "auto" is a GPU if there is one.

    Raises:
        ValueError: If it cannot be used here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # "meta" has no numbers
    except (RuntimeError, AssertionError, ImportError) as error:
        here = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        here += ["mps"] * torch.backends.mps.is_available()
        # Of other kinds, PyTorch says only that it has no code for them, in many lines.
        known = name.split(":")[0] in ("cpu", "cuda")
        reason = f" ({str(error).splitlines()[0]})" if known else ""
        raise ValueError(
            f"--device {name} cannot be used here{reason}; there is {', '.join(here)}"
        ) from None
    return device
