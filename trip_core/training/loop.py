"""The training loop: any task, one device or many, resumable to the same numbers.

Batches are numbered, the learning rate is a function of the step and everything random comes with
the batch; so a run that was killed and resumed walks through the same weights, bit by bit.
"""

import json
import logging
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from .config import StageConfig
from .ema import EMA
from .state import checkpoints, load_state, save_state, save_weights
from .task import Batch, Task

_log = logging.getLogger(__name__)


class TrainingDiverged(RuntimeError):
    """The loss or the gradient stopped being a number; the last good checkpoint is kept."""


class _TaskModule(nn.Module):
    """The task as one module whose forward is the loss, as data parallelism wants it."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(task.modules)
        self._task = task

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self._task.loss(batch)


class _Batches(Dataset[Batch]):
    """The task's batches by number."""

    def __init__(self, task: Task, count: int) -> None:
        self._task, self._count = task, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Batch:
        return self._task.batch(index)


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
    accelerator = _accelerator(stage, device)
    folder.mkdir(parents=True, exist_ok=True)
    module = _TaskModule(task)
    optimizer = torch.optim.AdamW(_parameter_groups(module, stage), betas=stage.betas)
    prepared, prepared_optimizer = accelerator.prepare(module, optimizer)
    average = EMA(module.parts, stage.ema) if stage.ema else None
    start = _resume(folder, module, optimizer, average, accelerator, resume)
    peaks = [group["initial_lr"] for group in optimizer.param_groups]
    batches = _batches(task, stage, start, accelerator)
    log = _Log(folder, stage) if accelerator.is_main_process else None

    def save(step: int) -> Path:
        scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else {}
        shadow = average.shadow if average else {}
        extra = {"scaler": scaler, "stage": stage.name}
        return save_state(folder, step, module.parts, shadow, optimizer, extra, stage.keep)

    def averaged() -> Any:
        return average.applied() if average else _unchanged()

    prepared.train()
    steps = range(start, stage.steps)
    bar = tqdm(
        steps,
        initial=start,
        total=stage.steps,
        desc=stage.name,
        disable=not (progress and accelerator.is_main_process),
    )
    with _stop_signals() as stopped:
        for step in bar:
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * learning_rate_share(step, stage)
            parts: dict[str, Tensor] = {}
            for _ in range(stage.accumulation):
                with accelerator.accumulate(prepared):
                    batch = {k: v.to(accelerator.device) for k, v in next(batches).items()}
                    loss, parts = prepared(batch)
                    accelerator.backward(loss)
                    norm = loss.detach()
                    if accelerator.sync_gradients:
                        norm = accelerator.clip_grad_norm_(prepared.parameters(), stage.clip)
                    # A scaled fp16 gradient may overflow: its scaler skips that step itself.
                    watched = loss.detach() if stage.precision == "fp16" else loss.detach() + norm
                    if not math.isfinite(watched.item()):
                        raise TrainingDiverged(_diverged(stage, step, loss, norm, folder))
                    prepared_optimizer.step()
                    prepared_optimizer.zero_grad()
            if average:
                average.update(step)
            done = step + 1
            if log and (done % stage.log_every == 0 or done == stage.steps):
                rate = optimizer.param_groups[0]["lr"]
                values = log.write(
                    done, {"loss": loss.detach(), "norm": norm, "rate": rate} | parts
                )
                bar.set_postfix({"loss": f"{values['loss']:.4f}"}, refresh=False)
            if accelerator.is_main_process and (done % stage.save_every == 0 or stopped):
                save(done)
            if log and stage.sheet_every and done % stage.sheet_every == 0:
                prepared.eval()
                with averaged(), torch.no_grad():
                    _save_sheet(task, folder, done)
                prepared.train()
            if stopped:
                raise KeyboardInterrupt
    weights = folder / "weights.safetensors"
    if accelerator.is_main_process:
        save(stage.steps)
        prepared.eval()
        final = average.shadow if average else module.parts.state_dict()
        save_weights(weights, final, task.config())
        with averaged(), torch.no_grad():
            _save_sheet(task, folder, stage.steps)
    accelerator.wait_for_everyone()
    return weights


def learning_rate_share(step: int, stage: StageConfig) -> float:
    """Return the share of the peak learning rate at a step: linear warm-up, then decay."""
    if step < stage.warmup:
        return (step + 1) / stage.warmup
    progress = (step - stage.warmup) / max(stage.steps - stage.warmup, 1)
    left = {
        "constant": 1.0,
        "linear": 1 - progress,
        "cosine": 0.5 + 0.5 * math.cos(math.pi * progress),
    }[stage.decay]
    return stage.final_rate + (1 - stage.final_rate) * left


def _accelerator(stage: StageConfig, device: str) -> Any:
    """Return accelerate's Accelerator for this stage's precision."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState

    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda; got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but this torch sees no CUDA device; use cpu")
    # accelerate keeps one precision per process; the stages of a run may differ.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    return Accelerator(
        mixed_precision=stage.precision,
        gradient_accumulation_steps=stage.accumulation,
        cpu=device == "cpu",
    )


def _parameter_groups(module: _TaskModule, stage: StageConfig) -> list[dict[str, Any]]:
    """Return AdamW's groups: by learning rate, and with or without weight decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    used = set()
    for name, parameter in module.parts.named_parameters():
        if not parameter.requires_grad:
            continue
        prefixes = [p for p in stage.learning_rates if name.startswith(p)]
        used.update(prefixes)
        prefix = max(prefixes, key=len, default=None)
        rate = stage.learning_rate if prefix is None else stage.learning_rates[prefix]
        decay = stage.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    idle = sorted(set(stage.learning_rates) - used)
    if idle:
        raise ValueError(f"stage {stage.name!r}: no parameter's name starts with {idle[0]!r}")
    return [
        {"params": params, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for (rate, decay), params in groups.items()
    ]


def _resume(
    folder: Path,
    module: _TaskModule,
    optimizer: torch.optim.Optimizer,
    average: EMA | None,
    accelerator: Any,
    resume: bool,
) -> int:
    """Load the newest checkpoint if asked to; return the number of steps already done."""
    found = checkpoints(folder)
    if found and not resume:
        raise ValueError(
            f"{folder} already holds {found[-1].name}; continue it with --resume, or remove it"
        )
    if not found:
        return 0
    state, shadow = load_state(found[-1], module.parts, optimizer)
    if average:
        average.load(shadow)
    if accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(state["scaler"])
    _log.info("resumed %s at step %d", folder.name, state["step"])
    return int(state["step"])


def _batches(task: Task, stage: StageConfig, start: int, accelerator: Any) -> Iterator[Batch]:
    """Yield this process's batches from step ``start`` on, in order."""
    share, rank = accelerator.num_processes, accelerator.process_index
    total = stage.steps * stage.accumulation
    numbers = [k * share + rank for k in range(start * stage.accumulation, total)]
    data = _Batches(task, total * share)
    if stage.workers == 0:
        return (data[number] for number in numbers)

    def begin(_: int) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # to stop is for the loop, after its step
        torch.set_num_threads(stage.worker_threads)

    return iter(
        DataLoader(
            data,
            batch_size=None,
            sampler=numbers,
            num_workers=stage.workers,
            worker_init_fn=begin,
            prefetch_factor=4,
        )
    )


def _diverged(stage: StageConfig, step: int, loss: Tensor, norm: Tensor, folder: Path) -> str:
    found = checkpoints(folder)
    last = f"the last good checkpoint is {found[-1]}" if found else "nothing was saved yet"
    return (
        f"stage {stage.name!r} stopped at step {step}: loss {loss.item():g}, gradient norm "
        f"{norm.item():g}; {last}; lower the learning rate and continue with --resume"
    )


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM instead of dying in the middle of a step."""
    seen: list[int] = []

    def note(number: int, _: object) -> None:
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


@contextmanager
def _unchanged() -> Iterator[None]:
    yield


def _save_sheet(task: Task, folder: Path, step: int) -> None:
    sheet = task.sheet()
    if sheet is not None:
        sheet.save(folder / f"sheet-{step:08d}.png")


class _Log:
    """One JSON line per log step, and tensorboard when it is asked for."""

    def __init__(self, folder: Path, stage: StageConfig) -> None:
        self._path = folder / "log.jsonl"
        self._began, self._last = time.monotonic(), 0
        self._board: Any = None
        if stage.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, step: int, values: dict[str, Any]) -> dict[str, float]:
        """Write one line; return the values as plain numbers."""
        plain = {name: float(value) for name, value in values.items()}
        plain["seconds"] = round(time.monotonic() - self._began, 2)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step} | plain) + "\n")
        if self._board is not None:
            for name, value in plain.items():
                self._board.add_scalar(name, value, step)
        return plain
