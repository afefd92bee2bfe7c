"""``python -m trip_core bench``: how fast the network is, beside diffusers' class, in one run.

All that is compared is timed in turns, round after round, and the fastest round counts: the ratios
then hold on a busy machine too. On one thread the time is the thread's own.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .nn.unet3d import VideoUNet, VideoUNetConfig
from .systems.trip import PRESETS, TRIP, TRIPConfig

log = logging.getLogger(__name__)

Call = Callable[[], Any]

#: Sizes by name: the UNet, frames, height and width of the latents, tokens of the text.
SIZES: dict[str, tuple[VideoUNetConfig, tuple[int, int, int], int]] = {
    "small": (PRESETS["small"].unet, (17, 16, 16), 32),
    "middle": (
        VideoUNetConfig(
            block_out_channels=(160, 320, 640, 640), layers_per_block=1, attention_head_dim=32
        ),
        (16, 16, 16),
        77,
    ),
    "full": (VideoUNetConfig(), (16, 32, 32), 77),
}


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
    add = command.add_argument
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
        ValueError: If the device is not there or a number is out of range.
    """
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no CUDA device here")
    if options.rounds < 1 or (options.threads or 1) < 1:
        raise ValueError("--rounds and --threads must be at least 1")
    if options.threads:
        torch.set_num_threads(options.threads)
    cuda = device.type == "cuda"
    sizes = options.sizes or ["small", "middle", *(["full"] if cuda else [])]
    with torch.inference_mode(), _exact_float32():
        rates = {dtype: matrix_rate(device, dtype) for dtype in _dtypes(device)}
        rows = []
        for size in sizes:
            log.info("timing the networks at size %r ...", size)
            rows += compare(size, device, rates, options.rounds, options.compile or cuda)
        shares = {size: fusion_share(size, device, options.rounds) for size in sizes[:2]}
    log.info("timing one clip ...")
    report = {
        "device": torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "matrix_gflops": {_name(dtype): round(rate, 1) for dtype, rate in rates.items()},
        "networks": [asdict(row) for row in rows],
        "prior_and_fusion_share": shares,
        "clip_seconds": clip_seconds(options.model, device),
        "peak_memory_gib": peak_memory(device),
    }
    print(json.dumps(report) if options.json else to_markdown(report))
    wrong = [row for row in rows if row.network.endswith("ours float32") and row.error > 1e-4]
    return 1 if wrong else 0


# What is measured


def compare(
    size: str,
    device: torch.device,
    rates: dict[torch.dtype, float],
    rounds: int,
    compiled: bool,
) -> list[Row]:
    """Time our UNet and diffusers' class, the same weights in both, in every type of the device."""
    from diffusers import UNet3DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    config, shape, tokens = SIZES[size]
    generator = torch.Generator().manual_seed(0)
    theirs = UNet3DConditionModel(**asdict(config)).eval()
    for parameter in theirs.parameters():  # no layer that starts at zero may hide an error
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.01)
    weights = theirs.state_dict()
    sample = torch.randn(1, config.in_channels, *shape, generator=generator).to(device)
    text = torch.randn(1, tokens, config.cross_attention_dim, generator=generator).to(device)
    timesteps = torch.tensor([500], device=device)

    calls: dict[str, tuple[Call, torch.dtype]] = {}
    for dtype in rates:
        x, context = sample.to(dtype), text.to(dtype)
        other = UNet3DConditionModel(**asdict(config)).eval()
        other.load_state_dict(weights)
        ours = VideoUNet(config).eval()
        ours.load_state_dict(weights)
        for network in (other, ours):
            torch.nn.Module.to(network, device, dtype)  # diffusers' own warns about nothing
        keys_values = ours.text_keys_values(context)
        name = _name(dtype)
        calls[f"diffusers {name}"] = (
            lambda f=other, x=x, c=context: f(x, timesteps, c).sample,
            dtype,
        )
        calls[f"ours {name}"] = (lambda f=ours, x=x, c=keys_values: f(x, timesteps, c), dtype)
        if compiled:
            # On CUDA this mode records CUDA graphs.
            mode = "reduce-overhead" if device.type == "cuda" else "default"
            fast = torch.compile(ours, mode=mode)
            calls[f"ours compiled {name}"] = (
                lambda f=fast, x=x, c=keys_values: f(x, timesteps, c).clone(),
                dtype,
            )
    first = next(iter(calls))
    with FlopCounterMode(display=False) as counter:
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


def fusion_share(size: str, device: torch.device, rounds: int) -> float:
    """Return which share of TRIP's step is not the UNet: image noise prior and fusion, 0..1."""
    unet, (frames, height, width), tokens = SIZES[size]
    base = PRESETS["small"] if size == "small" else PRESETS["trip"]
    config: TRIPConfig = replace(base, unet=unet)
    trip = TRIP(config).eval().to(device)
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(1, *shape, generator=generator).to(device)

    frames -= size == "small"  # its 17th frame is the still's, which TRIP puts in front itself
    z_t = noise(config.channels, frames, height, width)
    keys_values = trip.unet.text_keys_values(noise(tokens, unet.cross_attention_dim))
    timesteps = torch.tensor([500], device=device)
    still = noise(config.channels, height, width)
    motion = (z_t, noise(1, frames, height, width).sigmoid()) if config.motion else (None, None)
    seen = noise(unet.in_channels, frames + 1, height, width)
    seconds = in_turns(
        {
            "step": lambda: trip(z_t, timesteps, keys_values, still, *motion),
            "unet": lambda: trip.unet(seen, timesteps, keys_values),
        },
        device,
        rounds,
    )
    return max(0.0, 1 - seconds["unet"] / seconds["step"])


def clip_seconds(path: str | None, device: torch.device) -> dict[str, float]:
    """Return the seconds of each stage of one clip of 16 frames at 512 x 512."""
    from .checkpoint import load_model
    from .pipeline import animate

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
    shares = ", ".join(f"{k} {v:.1%}" for k, v in report["prior_and_fusion_share"].items())
    stages = ", ".join(f"{k} {v:.2f} s" for k, v in report["clip_seconds"].items())
    lines += [
        "",
        f"prior and fusion, of a step: {shares}",
        f"one clip (16 frames, 512 x 512): {stages or 'the model that ships is not here'}",
        f"peak memory: {report['peak_memory_gib'] or float('nan'):.2f} GiB",
    ]
    return "\n".join(lines)
