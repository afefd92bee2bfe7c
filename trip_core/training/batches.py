"""A task's batches in the order of their numbers, made here or in background processes."""

import logging
import signal
from collections.abc import Iterable, Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from .config import StageConfig
from .task import Batch, Task

_log = logging.getLogger(__name__)


def make_batches(
    task: Task, stage: StageConfig, start: int, processes: int, rank: int
) -> Iterator[Batch]:
    """Yield one process's batches of a stage, in order.

    Args:
        task: Makes a batch of its number.
        stage: How many there are, and how many background processes make them.
        start: Optimizer steps that are already done.
        processes: How many processes train; they take the batches in turn.
        rank: Which of them this is, from 0.

    Raises:
        ValueError: What the task raises.
        OSError: Likewise.
    """
    total = stage.steps * stage.accumulation
    numbers = [k * processes + rank for k in range(start * stage.accumulation, total)]
    data = _Batches(task, total * processes)
    made: Iterable[Batch | Exception] = (data[number] for number in numbers)
    if stage.workers:
        made = DataLoader(
            data,
            batch_size=None,
            sampler=numbers,
            num_workers=stage.workers,
            worker_init_fn=_Beginning(stage.worker_threads),
            prefetch_factor=4,
        )
    for batch in made:
        if isinstance(batch, Exception):
            raise batch
        yield batch


class _Batches(Dataset[Batch | Exception]):
    """The task's batches by number, or why there is none.

    An error that has its own sentence is handed over: raised in a background process, it would
    come with that process's traceback in it.
    """

    def __init__(self, task: Task, count: int) -> None:
        self._task, self._count = task, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Batch | Exception:
        try:
            return self._task.batch(index)
        except (OSError, ValueError) as error:
            return error


class _Beginning:
    """What a background process does first."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def __call__(self, worker: int) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # to stop is for the loop, after its step
        torch.set_num_threads(self._threads)
        _log.debug("background process %d makes batches", worker)
