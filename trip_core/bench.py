"""``python -m trip_core bench``: how fast the networks are, beside diffusers' classes, in one run.

All that is compared is timed in turns, round after round, and the fastest round counts: the ratios
then hold on a busy machine too. On one thread the time is the thread's own.

The fusion's share of a step has a floor, its share of the operations, which is printed beside it.
"""

import argparse
import json
import logging
import random
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .bench_networks import SIZES, Contestant, dynamicrafter_networks, trip_networks
from .cli_device import find_device
from .models import info
from .systems.trip import PRESETS, TRIP, TRIPConfig

log = logging.getLogger(__name__)
#: What must give diffusers' numbers.
_OURS = ("ours float32", "ours compiled float32")

Call = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One line of the table of networks.

    Attributes:
        size: Key of ``SIZES``.
        network: What was timed.
        milliseconds: Of one forward pass, batch 1.
        speedup: Over diffusers' class in float32.
        gflops: Billions of floating point operations a second.
        share: Of what this machine reaches in a plain matrix product of that type, 0..1.
        error: Norm of the difference to diffusers' float32 output over the norm of that output.
    """

    size: str
    network: str
    milliseconds: float
    speedup: float
    gflops: float
    share: float
    error: float


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    command.set_defaults(run=run)
    command.epilog = """\
examples:
  python -m trip_core bench --sizes small --threads 1
      the network that ships, on one thread: the steadiest figures
  python -m trip_core bench --system dynamicrafter --sizes middle --json"""
    add = command.add_argument
    add("--system", choices=("trip", "dynamicrafter"), default="trip", help="whose network")
    add("--official", type=Path, help="a clone of DynamiCrafter's published code, timed as well")
    add("--device", default="cpu", help="cpu or cuda")
    add("--sizes", nargs="+", choices=tuple(SIZES), help="default: small middle; full on cuda too")
    add("--rounds", type=int, default=5, help="how often each network is timed")
    add("--threads", type=int, help="CPU threads; without it torch's own choice")
    add("--compile", action="store_true", help="time torch.compile as well (always on cuda)")
    add("--model", help="checkpoint whose clip is timed; without it the model that ships")
    add("--json", action="store_true", help="print one JSON object instead of tables")


def run(options: argparse.Namespace) -> int:
    """Time, check, print.

    Returns:
        0, or 1 if our float32 output is not diffusers'.

    Raises:
        ValueError: If the device or the model is not there, or a number is out of range.
    """
    device = find_device(options.device)
    if options.rounds < 1 or (options.threads is not None and options.threads < 1):
        raise ValueError("--rounds and --threads must be at least 1")
    if options.model is not None and info(options.model)["system"] != "TRIP":
        raise ValueError(f"--model {options.model} is no TRIP checkpoint; bench times TRIP's clips")
    if options.threads:
        torch.set_num_threads(options.threads)
    cuda, trip = device.type == "cuda", options.system == "trip"
    if trip and options.official:
        raise ValueError("--official is DynamiCrafter's code; give --system dynamicrafter with it")
    sizes = options.sizes or ["small"] * (not options.official) + ["middle"] + ["full"] * cuda
    report: dict[str, Any] = {
        "system": options.system,
        "device": torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }
    with torch.inference_mode(), _exact_float32():
        rates = {dtype: matrix_rate(device, dtype) for dtype in _dtypes(device)}
        rows = []
        for size in sizes:
            log.info("timing the networks at size %r ...", size)

            def networks(size: str = size) -> dict[str, Contestant]:
                return (
                    trip_networks(size) if trip else dynamicrafter_networks(size, options.official)
                )

            rows += compare(size, networks, device, rates, options.rounds, options.compile or cuda)
        report["matrix_gflops"] = {_name(dtype): round(rate, 1) for dtype, rate in rates.items()}
        report["networks"] = [asdict(row) for row in rows]
        if trip:
            report["prior_and_fusion_share"] = {
                # Milliseconds beside a step's tenths of a second: more rounds find the fastest.
                size: fusion_share(size, device, 4 * options.rounds)
                for size in sizes[:2]
            }
            report["prior_and_fusion_operations"] = {
                size: fusion_operations(size) for size in SIZES
            }
    if trip:
        log.info("timing one clip ...")
        report["clip_seconds"] = clip_seconds(options.model, device)
        report["world_clips_per_second"] = world_rate(device, options.rounds)
    report["peak_memory_gib"] = peak_memory(device)
    print(json.dumps(report) if options.json else to_markdown(report))
    wrong = [row for row in rows if row.network in _OURS and row.error > 1e-4]
    return 1 if wrong else 0


# What is measured


def compare(
    size: str,
    build: Callable[[], dict[str, Contestant]],
    device: torch.device,
    rates: dict[torch.dtype, float],
    rounds: int,
    compiled: bool,
) -> list[Row]:
    """Time networks that should be equal, the first one the measure, in all types of the device."""
    from torch.utils.flop_counter import FlopCounterMode

    calls: dict[str, tuple[Call, torch.dtype]] = {}
    for dtype in rates:
        for who, contestant in build().items():
            if who == "official" and dtype != torch.float32:
                continue  # its norms compute in float32 only
            calls[f"{who} {_name(dtype)}"] = contestant.ready(device, dtype), dtype
            if who == "ours" and compiled:
                # On CUDA this mode records CUDA graphs.
                mode = "reduce-overhead" if device.type == "cuda" else "default"
                fast = contestant.ready(device, dtype, mode)
                calls[f"ours compiled {_name(dtype)}"] = fast, dtype
    first = next(iter(calls))
    with FlopCounterMode(display=False, custom_mapping=_fused_products()) as counter:
        calls["ours float32"][0]()
    flops = counter.get_total_flops()
    expected: Tensor = calls[first][0]().float()
    errors = {
        name: ((call().float() - expected).norm() / expected.norm()).item()
        for name, (call, _) in calls.items()
    }
    seconds = in_turns({name: call for name, (call, _) in calls.items()}, device, rounds)
    return [
        Row(
            size,
            name,
            milliseconds=1e3 * seconds[name],
            speedup=seconds[first] / seconds[name],
            gflops=flops / seconds[name] / 1e9,
            share=flops / seconds[name] / 1e9 / rates[dtype],
            error=errors[name],
        )
        for name, (_, dtype) in calls.items()
    ]


def _fused_products() -> dict[Any, Any]:
    """Return the count of operations of the product that torch's counter does not know."""

    def count(rows: Any, *_: Any, out_shape: Any, **__: Any) -> int:
        return 2 * torch.Size(out_shape).numel() * rows[-1]

    product = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    return {} if product is None else {product: count}


def fusion_share(size: str, device: torch.device, rounds: int) -> float:
    """Return which share of TRIP's step is not the UNet: image noise prior and fusion, 0..1.

    The step is a guided one: with and without the text, in one batch, as the samplers take it.
    """
    _, (frames, height, width), tokens = SIZES[size]
    config = _trip_config(size)
    trip = TRIP(config).eval().to(device)
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(2, *shape, generator=generator).to(device)

    frames -= size == "small"  # its 17th frame is the still's, which TRIP puts in front itself
    z_t = noise(config.channels, frames, height, width)
    keys_values = trip.unet.text_keys_values(noise(tokens, config.unet.cross_attention_dim))
    timesteps = torch.tensor([500, 500], device=device)
    still = noise(config.channels, height, width)
    motion = (z_t, noise(1, frames, height, width).sigmoid()) if config.motion else (None, None)
    seen = noise(config.unet_in_channels, frames + 1, height, width)
    unet, output = trip.unet, noise(config.channels, frames + 1, height, width)
    # Timed apart: the difference of two long times would be mostly noise.
    trip.unet = _Ready(output)  # type: ignore[assignment]
    seconds = in_turns(
        {
            "unet": lambda: unet(seen, timesteps, keys_values),
            "rest": lambda: trip(z_t, timesteps, keys_values, still, *motion),
        },
        device,
        rounds,
    )
    return seconds["rest"] / (seconds["unet"] + seconds["rest"])


class _Ready(torch.nn.Module):
    """A network that has its answer."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, *_: Any) -> Tensor:
        return self.output


def fusion_operations(size: str) -> float:
    """Return the fusion's share of the operations of TRIP's step, 0..1; nothing is computed."""
    from torch.utils.flop_counter import FlopCounterMode

    _, (frames, height, width), tokens = SIZES[size]
    config = _trip_config(size)
    with torch.device("meta"):
        trip = TRIP(config)
        shape, text = (frames, height, width), config.unet.cross_attention_dim
        z_t = torch.empty(1, config.channels, *shape)
        motion = (z_t, torch.empty(1, 1, *shape)) if config.motion else (None, None)
        still, timesteps = z_t[:, :, 0], torch.empty(1, dtype=torch.long)
        keys_values = trip.unet.text_keys_values(torch.empty(1, tokens, text))
        with FlopCounterMode(display=False) as counter:
            trip(z_t, timesteps, keys_values, still, *motion)
    flops = counter.get_flop_counts()
    return sum(flops["TRIP.fusion"].values()) / sum(flops["Global"].values())


def _trip_config(size: str) -> TRIPConfig:
    """Return TRIP around a UNet of ``SIZES``; its fusion is as wide as that UNet's finest level."""
    unet = SIZES[size][0]
    if size == "small":
        return PRESETS["small"]
    base, width = PRESETS["trip"], unet.block_out_channels[0]
    heads = max(1, base.fusion_config.num_heads * width // base.fusion_config.width)
    return replace(
        base, unet=unet, fusion_config=replace(base.fusion_config, width=width, num_heads=heads)
    )


def clip_seconds(path: str | None, device: torch.device) -> dict[str, float]:
    """Return the seconds of each stage of one clip of 16 frames at 512 x 512."""
    from .pipeline import animate
    from .trip_file import load_model

    started = time.perf_counter()
    try:
        model = load_model(path, device)
    except ValueError:
        if path is not None:
            raise
        return {}  # a checkout without the model that ships: there is no clip to time
    seconds = {"load": time.perf_counter() - started}
    still = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    still = torch.nn.functional.interpolate(still[None], (512, 512), mode="bicubic")[0].clamp(0, 1)
    edges = "mirror" if model.motion is None else "generate"
    clip = animate(model, still, "the camera pans left", edges=edges)
    for _ in clip.frames:
        pass
    return seconds | clip.seconds


def world_rate(device: torch.device, rounds: int, clips: int = 2) -> float:
    """Return how many clips of 16 frames of 128 x 128 the procedural world draws in a second."""
    from .data.captions import sample_caption
    from .data.world import World, render

    rng, world = random.Random(0), World(size=128, seed=0, device=str(device))
    parameters = torch.tensor([sample_caption(rng).parameters for _ in range(clips)])

    def draw() -> None:
        render(world.scenes(clips), parameters, 16, list(range(16)))

    return clips / in_turns({"world": draw}, device, rounds)["world"]


def peak_memory(device: torch.device) -> float | None:
    """Return the most memory this process has held, in GiB (None on Windows)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def matrix_rate(device: torch.device, dtype: torch.dtype, side: int = 1024) -> float:
    """Return the speed of a plain matrix product, in GFLOP/s."""
    side *= 8 if device.type == "cuda" else 1
    a = torch.randn(side, side, device=device, dtype=dtype)
    return 2e-9 * side**3 / in_turns({"product": lambda: a @ a}, device, 10)["product"]


def in_turns(calls: dict[str, Call], device: torch.device, rounds: int) -> dict[str, float]:
    """Return the fastest time of each call, in seconds, after one that does not count."""
    cuda = device.type == "cuda"
    # One thread's own time is blind to what else runs on the machine.
    alone = not cuda and torch.get_num_threads() == 1
    now = time.thread_time if alone else time.perf_counter
    best = dict.fromkeys(calls, float("inf"))
    for turn in range(rounds + 1):
        for name, call in calls.items():
            if cuda:
                torch.cuda.synchronize()
            started = now()
            call()
            if cuda:
                torch.cuda.synchronize()
            if turn:
                best[name] = min(best[name], now() - started)
    return best


def _dtypes(device: torch.device) -> tuple[torch.dtype, ...]:
    half = (torch.float16,) if device.type == "cuda" else ()
    return (torch.float32, torch.bfloat16, *half)


def _exact_float32() -> Any:
    """Keep float32 products in float32 (no TF32) while they are compared."""
    torch.set_float32_matmul_precision("highest")
    cudnn = torch.backends.cudnn
    return cudnn.flags(enabled=True, allow_tf32=False) if cudnn.is_available() else nullcontext()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as tables."""
    rates = ", ".join(f"{k} {v:.0f} GFLOP/s" for k, v in report["matrix_gflops"].items())
    lines = [
        f"torch {report['torch']}, {report['device']}; a matrix product: {rates}",
        "",
        "| size | network | ms | times diffusers float32 | GFLOP/s | of matrix product | error |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in report["networks"]:
        lines.append(
            f"| {row['size']} | {row['network']} | {row['milliseconds']:.1f} "
            f"| {row['speedup']:.2f} | {row['gflops']:.0f} | {row['share']:.0%} "
            f"| {row['error']:.1e} |"
        )
    lines.append("")
    if "clip_seconds" in report:
        shares, operations = (
            ", ".join(f"{k} {v:.1%}" for k, v in report[f"prior_and_fusion_{what}"].items())
            for what in ("share", "operations")
        )
        stages = ", ".join(f"{k} {v:.2f} s" for k, v in report["clip_seconds"].items())
        lines += [
            f"prior and fusion, of a step's time: {shares}; of its operations: {operations}",
            f"one clip (16 frames, 512 x 512): {stages or 'the model that ships is not here'}",
            f"the procedural world: {report['world_clips_per_second']:.1f} clips a second",
        ]
    lines.append(f"peak memory: {report['peak_memory_gib'] or float('nan'):.2f} GiB")
    return "\n".join(lines)
