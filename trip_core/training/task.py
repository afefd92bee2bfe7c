"""What the loop asks of a task, and what a task is given."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Generator, Tensor, nn

Batch = dict[str, Tensor]


class Task(Protocol):
    """A thing to learn: its modules, its batches, its loss.

    Attributes:
        modules: What is trained, by name; the names prefix the keys of the weights.
    """

    modules: dict[str, nn.Module]

    def batch(self, index: int) -> Batch:
        """Return batch number ``index``: always the same for the same seed and index.

        Everything random in a step comes in here (scenes, captions, timesteps, the seed of the
        noise), so that a resumed run sees the same numbers. May run in a background process; then
        it must stay on the CPU.
        """
        ...

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to minimise and parts of it worth a line in the log (scalars)."""
        ...

    def sheet(self) -> Image.Image | None:
        """Return a picture that shows how far the modules are, or None."""
        ...

    def config(self) -> dict[str, object]:
        """Return the JSON-able configurations that rebuild the modules, by module name."""
        ...


@dataclass(frozen=True)
class TaskContext:
    """What every task is given.

    Attributes:
        run: Folder of the run; the weights of an earlier stage lie in ``run / stage``.
        device: Where the modules live.
        data_device: Where batches are made: the CPU in background processes, else ``device``.
        batch_size: Samples per batch.
        seed: Seed of the run.
    """

    run: Path
    device: torch.device
    data_device: torch.device
    batch_size: int
    seed: int

    def generator(self, index: int, stream: int = 0) -> Generator:
        """Return the source of randomness of batch ``index`` on ``data_device``."""
        seed = (self.seed * 1_000_003 + index) * 64 + stream
        return torch.Generator(self.data_device).manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let modules made inside the ``with`` block start from a seed.

    torch initialises modules from its global state, which is given back untouched.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
