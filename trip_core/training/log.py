"""What a stage leaves to look at: a line of numbers every few steps, and sample sheets."""

import json
import time
from pathlib import Path
from typing import Any

from .config import StageConfig
from .task import Task


class Log:
    """One JSON line per log step in ``log.jsonl``, and tensorboard where it is asked for."""

    def __init__(self, folder: Path, stage: StageConfig) -> None:
        """Continue the folder's log, or begin it."""
        self._folder, self._began = folder, time.monotonic()
        self._board: Any = None
        if stage.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, step: int, values: dict[str, Any]) -> dict[str, float]:
        """Write the numbers of a step (scalars, on any device); return them as plain floats."""
        plain = {name: float(value) for name, value in values.items()}
        plain["seconds"] = round(time.monotonic() - self._began, 2)
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step} | plain) + "\n")
        if self._board is not None:
            for name, value in plain.items():
                self._board.add_scalar(name, value, step)
        return plain

    def draw(self, step: int, task: Task) -> None:
        """Save the task's sample sheet of a step, if it has one."""
        sheet = task.sheet()
        if sheet is not None:
            sheet.save(self._folder / f"sheet-{step:08d}.png")
