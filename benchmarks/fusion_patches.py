"""What larger patches cost temporal noise fusion: sizes 1, 2 and 4, trained side by side.

``python -m benchmarks.fusion_patches`` in the pack's folder prints a table in markdown. Around the
frozen UNet of a model, fusions that differ in their patches alone learn by the trainer's own loss
(``training/trip.py``) from the same clips of the procedural world, timesteps and noise: the UNet
answers once for all of them. They begin as linear fusion, and are judged, with the same noise
again, on clips of a world that nothing learned from; so is the model's own fusion, which its UNet
grew up with. ``±`` is the standard error over batches, which share clips; times are of the fusion
and its share of UNet and fusion. A seed gives the same errors on as many threads.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from trip_core.bench import in_turns
from trip_core.checkpoint import read_config
from trip_core.fusion import TemporalNoiseFusion
from trip_core.training.bank import BankConfig
from trip_core.training.config import StageConfig
from trip_core.training.optimizer import learning_rate_share, make_optimizer
from trip_core.training.sheet import HELD_OUT
from trip_core.training.task import Batch, TaskContext, seeded
from trip_core.training.trip import TripOptions, TripTask
from trip_core.trip_file import EMBEDDED

PATCHES = 1, 2, 4
BATCH, RATE = 8, 2e-3  # as a fusion is trained
LEARNED = 1  # another world than the shipped UNet's, which it knows better than any other
HELD_OUT_CLIPS, HELD_OUT_BATCHES, BANDS = 64, 24, 3
CPU = torch.device("cpu")
HEAD = """\
| fusion | held-out loss | beside the first | MSE, little noise | middle | much | ms | of both |
|---|---:|---:|---:|---:|---:|---:|---:|"""


def make_task(cli: argparse.Namespace, world: int, clips: int, gate_weight: float) -> TripTask:
    """Return the trainer's task around the frozen model, with so many clips of a world."""
    model = str(cli.model)
    options = TripOptions(
        start=model,
        autoencoder=model,
        words=model if "motion" in read_config(model) else str(EMBEDDED),
        bank=BankConfig(size=clips, first=clips, fresh=0),
        keep_clips=cli.keep is not None,
        residual_weight=0.0,
        gate_weight=gate_weight,
    )
    context = TaskContext((cli.keep or Path()) / f"world-{world}", CPU, CPU, BATCH, world)
    task = TripTask(options, context)
    task.trip.eval().requires_grad_(False)
    return task


def losses(task: TripTask, fusions: list[nn.Module], batch: Batch) -> Iterator[list[Tensor]]:
    """Yield each fusion's loss on a batch, and its plain error of x0; the UNet answers once."""
    unet, answers = task.trip.unet, []
    forward = unet.forward

    def first_answer(*inputs: Any) -> Tensor:
        answers[:] = answers or [forward(*inputs)]
        return answers[0]

    unet.forward = first_answer  # type: ignore[method-assign]
    for task.trip.fusion in fusions:  # type: ignore[assignment]
        loss, parts = task.loss(batch)
        yield [loss, parts["x0"]]
    unet.forward = forward


def learn(task: TripTask, fusions: list[nn.Module], cli: argparse.Namespace) -> None:
    """Train the fusions, none of which sees the others; print their mean losses, ten times."""
    stage = StageConfig("fusion", "trip", cli.steps, BATCH, RATE)
    optimizer, recent = make_optimizer(nn.ModuleList(fusions), stage), []
    for step in (bar := tqdm(range(cli.steps), "learning", unit="step")):
        optimizer.zero_grad()
        found = losses(task, fusions, task.batch(cli.seed * 1_000_000 + step))
        recent.append([loss.backward() or loss.item() for loss, _ in found])
        for fusion in fusions:
            nn.utils.clip_grad_norm_(fusion.parameters(), stage.clip)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * learning_rate_share(step, stage)
        optimizer.step()
        if (step + 1) % max(1, cli.steps // 10) == 0:
            means = " ".join(f"{mean:.4f}" for mean in torch.tensor(recent).mean(0))
            bar.write(f"{step + 1:5d} steps: {means}", file=sys.stderr)
            recent.clear()


@torch.no_grad()
def judge(task: TripTask, fusions: list[nn.Module]) -> Tensor:
    """Return losses and plain errors, ``[fusions, 2, BANDS, batches]``; band 0 has least noise."""
    found, steps = [], task.trip.schedule.num_train_timesteps
    for number in tqdm(range(HELD_OUT_BATCHES), "judging", unit="batch"):
        batch = task.batch(number)
        for band in range(BANDS):
            part = {"timesteps": (batch["timesteps"] + band * steps) // BANDS}
            found += map(torch.stack, losses(task, fusions, batch | part))
    return torch.stack(found).view(-1, BANDS, len(fusions), 2).permute(2, 3, 1, 0)


@torch.no_grad()
def milliseconds(task: TripTask, fusions: list[nn.Module]) -> list[float]:
    """Return the time of each fusion, then of the UNet: batch 1, 16 frames, 128 x 128 pixels."""
    trip, steps = task.trip, torch.tensor([500])
    z = torch.randn(1, trip.config.channels, 16, 16, 16)
    seen = torch.randn(1, trip.config.unet_in_channels, 17, 16, 16)
    text = torch.randn(1, 64, trip.config.unet.cross_attention_dim)
    clip = {"still": z, "residual_x0": z, "trust": z[:, :1].sigmoid(), "timesteps": steps}
    clip["alpha_bar"] = torch.tensor([0.5])
    calls: dict[str, Any] = {str(k): lambda f=f: f(z, z, **clip) for k, f in enumerate(fusions)}
    calls["unet"] = lambda: trip.unet(seen, steps, text)
    return [1e3 * best for best in in_turns(calls, CPU, rounds=10).values()]


def main() -> None:
    """Train, judge, print the table."""
    command = argparse.ArgumentParser(description=__doc__)
    add = command.add_argument
    add("--model", type=Path, default=EMBEDDED, help="TRIP file; without it the one that ships")
    add("--steps", type=int, default=500, help="of training, 8 clips each")
    add("--starts", type=int, default=2, help="random weights that each patch size starts from")
    add("--clips", type=int, default=256, help="to learn from")
    add("--width", type=int, help="of the fusions; without it the model's")
    add("--seed", type=int, default=0, help="of weights, batches, timesteps and noise")
    add("--keep", type=Path, help="folder that keeps the clips, for models of one autoencoder")
    cli = command.parse_args()
    try:
        task = make_task(cli, LEARNED, cli.clips, TripOptions.gate_weight)
    except ValueError as error:
        command.error(str(error))
    own = task.trip.fusion
    if own is None:
        command.error(f"{cli.model} has no temporal noise fusion; give a TRIP that has")
    width = cli.width or own.config.width
    heads = max(1, width * own.config.num_heads // own.config.width)
    configs = [replace(own.config, patch_size=p, width=width, num_heads=heads) for p in PATCHES]
    names = [f"patch {p}, start {k}" for k in range(cli.starts) for p in PATCHES]
    with seeded(cli.seed):
        fusions: list[nn.Module] = [TemporalNoiseFusion(c) for c in configs * cli.starts]
    names += ["linear: one not trained", f"the model's own, patch {own.config.patch_size}"]
    every = [*fusions, TemporalNoiseFusion(configs[0]), own]
    learn(task, fusions, cli)
    found = judge(make_task(cli, HELD_OUT, HELD_OUT_CLIPS, gate_weight=0.0), every)
    *times, unet = milliseconds(task, every)
    about = f"width {width}, {cli.steps} steps, {cli.clips} clips, seed {cli.seed}"
    print(f"{cli.model.name}, {about}; its UNet takes {unet:.1f} ms\n\n{HEAD}")
    for name, (loss, error), ms in zip(names, found, times, strict=True):
        more = (loss - found[0, 0]).mean(0) / found[0, 0].mean()  # of each batch
        change = f"{more.mean():+.1%} ± {more.std() / len(more) ** 0.5:.1%}"
        bands = " | ".join(f"{band:.4f}" for band in error.mean(1).tolist())
        cells = [name, f"{loss.mean():.4f}", change, bands, f"{ms:.1f}", f"{ms / (ms + unet):.1%}"]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
