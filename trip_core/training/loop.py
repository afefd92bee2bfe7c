"""The training loop: any task, one device or many, resumable to the same numbers.

Batches are numbered, the learning rate is a function of the step and everything random comes with
the batch; so a run that was killed and resumed walks through the same weights, bit by bit.
"""

import logging
import math
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .batches import make_batches
from .config import StageConfig
from .ema import EMA
from .log import Log
from .optimizer import learning_rate_share, make_accelerator, make_optimizer
from .state import checkpoints, load_state, save_state
from .task import Batch, Task
from .weights import WEIGHTS, save_weights

_log = logging.getLogger(__name__)


class TrainingDiverged(RuntimeError):
    """The loss or the gradient stopped being a number; the last good checkpoint is kept."""


def train_stage(
    task: Task,
    stage: StageConfig,
    folder: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train one stage and write its weights.

    Args:
        task: What to learn, its modules already on the device.
        stage: How.
        folder: Where checkpoints, log, sheets and ``weights.safetensors`` go.
        device: "cpu", "cuda" or "auto" (a GPU when there is one).
        resume: Continue from the newest checkpoint in the folder, if there is one.
        progress: Show a progress bar.

    Returns:
        The file of the final (averaged) weights.

    Raises:
        TrainingDiverged: If the loss or the gradient is not finite. The step is not taken.
        ValueError: If the folder holds checkpoints of a run that is not to be resumed.
        KeyboardInterrupt: On Ctrl-C or SIGTERM, after the running step was finished and saved.
    """
    trainer = _Trainer(task, stage, folder, device)
    start = trainer.resume(resume)
    batches = trainer.batches(start)
    shown = progress and trainer.main
    steps = range(start, stage.steps)
    bar = tqdm(steps, initial=start, total=stage.steps, desc=stage.name, disable=not shown)
    with _stop_signals() as stopped:
        for step in bar:
            values = trainer.step(step, batches)
            done = step + 1
            if done % stage.log_every == 0 or done == stage.steps:
                bar.set_postfix({"loss": trainer.report(done, values)}, refresh=False)
            if done % stage.save_every == 0 or done == stage.steps or stopped:
                trainer.save(done)
            if stage.sheet_every and (done % stage.sheet_every == 0 or done == stage.steps):
                trainer.draw(done)
            if stopped:
                raise KeyboardInterrupt
    return trainer.finish()


class _TaskModule(nn.Module):
    """The task as one module whose forward is the loss, as data parallelism wants it."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(task.modules)
        self._task = task

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self._task.loss(batch)


class _Trainer:
    """A stage's modules, optimizer, average and accelerator."""

    def __init__(self, task: Task, stage: StageConfig, folder: Path, device: str) -> None:
        self._task, self._stage, self._folder = task, stage, folder
        self._accelerator = make_accelerator(stage, device)
        self.main = bool(self._accelerator.is_main_process)
        folder.mkdir(parents=True, exist_ok=True)
        module = _TaskModule(task)
        self._parts = module.parts
        self._plain = make_optimizer(module.parts, stage)
        self._module, self._optimizer = self._accelerator.prepare(module, self._plain)
        self._module.train()
        self._average = EMA(module.parts, stage.ema) if stage.ema else None
        self._log = Log(folder, stage) if self.main else None

    def resume(self, wanted: bool) -> int:
        """Load the newest checkpoint if asked to; return the number of steps already done."""
        found = checkpoints(self._folder)
        if found and not wanted:
            raise ValueError(
                f"{self._folder} already holds {found[-1].name}; continue it with --resume, "
                "or remove it"
            )
        if not found:
            return 0
        state, shadow = load_state(found[-1], self._parts, self._plain)
        if self._average:
            self._average.load(shadow)
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        _log.info("resumed %s at step %d", self._stage.name, state["step"])
        return int(state["step"])

    def batches(self, start: int) -> Iterator[Batch]:
        """Yield this process's batches from step ``start`` on, in order."""
        share, rank = self._accelerator.num_processes, self._accelerator.process_index
        return make_batches(self._task, self._stage, start, share, rank)

    def step(self, step: int, batches: Iterator[Batch]) -> dict[str, Tensor]:
        """Take one optimizer step; return the last batch's loss, norm and parts."""
        for group in self._plain.param_groups:
            group["lr"] = group["initial_lr"] * learning_rate_share(step, self._stage)
        values: dict[str, Tensor] = {}
        for _ in range(self._stage.accumulation):
            with self._accelerator.accumulate(self._module):
                batch = {k: v.to(self._accelerator.device) for k, v in next(batches).items()}
                loss, parts = self._module(batch)
                self._accelerator.backward(loss)
                loss = loss.detach()
                norm = torch.zeros_like(loss)
                if self._accelerator.sync_gradients:
                    parameters = self._module.parameters()
                    norm = self._accelerator.clip_grad_norm_(parameters, self._stage.clip)
                self._check(step, loss, norm)
                self._optimizer.step()
                self._optimizer.zero_grad()
                values = {"loss": loss, "norm": norm} | parts
        if self._average:
            self._average.update(step)
        return values

    def report(self, done: int, values: dict[str, Tensor]) -> str:
        """Write a line of the log; return the loss for the progress bar."""
        rate = torch.tensor(self._plain.param_groups[0]["lr"])
        if self._log:
            self._log.write(done, values | {"rate": rate})
        return f"{values['loss'].item():.4f}"

    def save(self, done: int) -> None:
        """Write a resumable checkpoint."""
        if not self.main:
            return
        scaler = self._accelerator.scaler
        save_state(
            self._folder,
            done,
            self._parts,
            self._average.shadow if self._average else {},
            self._plain,
            {"stage": self._stage.name, "scaler": scaler.state_dict() if scaler else {}},
            self._stage.keep,
        )

    def draw(self, done: int) -> None:
        """Save a sample sheet of the averaged weights."""
        if self._log:
            self._module.eval()
            with self._averaged(), torch.no_grad():
                self._log.draw(done, self._task)
            self._module.train()

    def finish(self) -> Path:
        """Write the stage's weights, the averaged ones if there are any."""
        weights = self._folder / WEIGHTS
        if self.main:
            final = self._average.shadow if self._average else self._parts.state_dict()
            save_weights(weights, final, self._task.config())
        self._accelerator.wait_for_everyone()
        return weights

    def _averaged(self) -> AbstractContextManager[None]:
        return self._average.applied() if self._average else nullcontext()

    def _check(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Stop before a step that would spoil the weights."""
        # A scaled fp16 gradient may overflow: its scaler skips that step itself.
        watched = loss if self._stage.precision == "fp16" else loss + norm
        if math.isfinite(watched.item()):
            return
        found = checkpoints(self._folder)
        last = f"the last good checkpoint is {found[-1]}" if found else "nothing was saved yet"
        raise TrainingDiverged(
            f"stage {self._stage.name!r} stopped at step {step}: loss {loss.item():g}, gradient "
            f"norm {norm.item():g}; {last}; lower the learning rate, delete "
            f"{self._folder} and train the stage anew"
        )


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM instead of dying in the middle of a step."""
    seen: list[int] = []

    def note(number: int, _: Any) -> None:
        if seen:  # Asked twice: now.
            raise KeyboardInterrupt
        seen.append(number)

    try:
        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # Not the main thread: whoever owns it handles its signals.
        yield seen
        return
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
