"""Banks of rendered things, because rendering can be slower than learning.

A batch draws from a window of recently made things; every batch makes some new ones and lets the
oldest go. Which things a batch sees depends on its number alone, so a resumed run (whose bank is
filled again) sees the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from ..data.world import World, render_stills
from ..tensor_files import read_tensors, write_tensors

Sample = dict[str, Tensor]
_BLOCK = 16


@dataclass(frozen=True)
class BankConfig:
    """Size of a bank.

    Attributes:
        size: Things kept (a window over all that are ever made).
        first: Things made before the first batch.
        fresh: New things a batch.
        lanes: Independent banks that batches use in turn. As many as there are background
            processes, and each makes only the things of its own lane.
    """

    size: int = 2048
    first: int = 128
    fresh: int = 8
    lanes: int = 1


class Bank:
    """A sliding window over an endless numbered sequence of things, batches drawn from it."""

    def __init__(self, config: BankConfig, make: Callable[[int, int], Sample]) -> None:
        """Start empty.

        Args:
            config: Size.
            make: ``make(count, index)`` returns things number ``index .. index + count - 1``, each
                tensor's first axis counting them.
        """
        if min(config.size, config.first, config.lanes) < 1 or config.fresh < 0:
            raise ValueError(f"a bank needs size, first and lanes of at least 1; got {config}")
        self._config, self._make = config, make
        self._things: dict[int, dict[int, Sample]] = {}

    def draw(self, number: int, count: int, generator: Generator) -> Sample:
        """Return ``count`` different things (with repetition only from a smaller bank).

        Args:
            number: Number of the batch.
            count: Things wanted.
            generator: Chooses among the window.
        """
        config = self._config
        lane, turn = number % config.lanes, number // config.lanes
        end = config.first + turn * config.fresh
        things = self._fill(lane, max(0, end - config.size), end)
        order = torch.randperm(len(things), generator=generator, device=generator.device).tolist()
        rounds = -(-count // len(order))
        keys = sorted(things)
        chosen = [things[keys[k]] for k in (order * rounds)[:count]]
        return {name: torch.stack([thing[name] for thing in chosen]) for name in chosen[0]}

    def _fill(self, lane: int, start: int, end: int) -> dict[int, Sample]:
        """Return the things of a lane's window, making those that are missing."""
        things = self._things.setdefault(lane, {})
        for old in [k for k in things if not start <= k < end]:
            del things[old]
        missing = [k for k in range(start, end) if k not in things]
        while missing:
            block = missing[0] // _BLOCK
            run = [k for k in missing[:_BLOCK] if k // _BLOCK == block]
            run = [k for i, k in enumerate(run) if k == run[0] + i]  # without a gap
            # Lanes own blocks of numbers in turn, so that they never make the same thing.
            number = (block * self._config.lanes + lane) * _BLOCK + run[0] % _BLOCK
            made = self._make(len(run), number)
            for i, k in enumerate(run):
                things[k] = {name: value[i] for name, value in made.items()}
            missing = missing[len(run) :]
        return things


def stills(world: World) -> Callable[[int, int], Sample]:
    """Return a maker of stills: image, depth (uint8, 255 = 1) and region (uint8 index).

    Shapes: ``image [N, 3, S, S]``, ``region [N, S, S]``, ``depth [N, 1, S, S]``.
    """

    def make(count: int, index: int) -> Sample:
        clip = render_stills(world.scenes(count, index))
        return {
            "image": as_bytes(clip.video[:, :, 0]),
            "region": clip.regions.argmax(1).to(torch.uint8),
            "depth": as_bytes(clip.depth),
        }

    return make


def cached(make: Callable[[int, int], Sample], folder: Path) -> Callable[[int, int], Sample]:
    """Return a maker that keeps what it makes, a file a thing, for things that are costly to make.

    Args:
        make: The maker.
        folder: Where the files go. Only the same maker may use it again.
    """

    def read_or_make(count: int, index: int) -> Sample:
        paths = [folder / f"{index + k:08d}.safetensors" for k in range(count)]
        if all(path.is_file() for path in paths):
            things = [read_tensors(path) for path in paths]
            return {name: torch.cat([thing[name] for thing in things]) for name in things[0]}
        made = make(count, index)
        for k, path in enumerate(paths):
            write_tensors(path, {name: value[k : k + 1] for name, value in made.items()}, {})
        return made

    return read_or_make


def as_bytes(values: Tensor) -> Tensor:
    """Return values in 0..1 as uint8 in 0..255."""
    return (values.clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def from_bytes(values: Tensor) -> Tensor:
    """Return uint8 in 0..255 as float32 in 0..1."""
    return values.float() / 255
