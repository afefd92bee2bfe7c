"""A 1024 clip in one piece: what the host reckons with, and what is really used.

``python -m benchmarks.large_clip`` in the pack's folder prints a table in markdown; the host is
found as the tests in ``tests/host`` find it. It writes a DynamiCrafter 1024 with random weights in
the layout and number type of the pruned files that people have (3 GB, in a temporary folder, gone
at the end). ``tests/host/inside_large_clip.py``, in the host's own Python, loads it by Load TRIP
Model, samples 16 frames of 1024 x 576 through the host's KSampler and decodes some by TRIP Decode.

A CPU stands for the graphics card: the host is told that it computes in bfloat16 and that so many
GiB of it are free. First the weights fit, then they do not, and the host keeps on the card what
leaves room for its own estimate of the activations; the same sampler must give the same clip.
"""

import argparse
import gzip
import json
import math
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.host.conftest import PACK, find_hosts, prepare, python_of
from trip_core.dynamicrafter_names import TEXT, VISION
from trip_core.schedule import dynamic_rescale
from trip_core.tensor_files import read_tensors, write_tensors

MANIFEST = PACK / "tests" / "fixtures" / "dynamicrafter_512.json.gz"
INSIDE = PACK / "tests" / "host" / "inside_large_clip.py"
#: Where the signal scale of the 1024 model ends; its other tensors are the 512 model's.
RESCALE_BASE = 0.3
GIB = 2**30


def write_checkpoint(path: Path) -> None:
    """Write a pruned 1024 file whose numbers keep the size of what passes through them."""
    shapes: dict[str, list[int]] = json.loads(gzip.decompress(MANIFEST.read_bytes()))
    kept = {k: shape for k, shape in shapes.items() if not k.startswith((TEXT, VISION))}
    generator = torch.Generator().manual_seed(0)
    tensors = {name: _drawn(name, shape, generator) for name, shape in sorted(kept.items())}
    tensors["scale_arr"] = dynamic_rescale(RESCALE_BASE, 1400).half()
    write_tensors(path, tensors, {"format": "pt"})


def _drawn(name: str, shape: list[int], generator: torch.Generator) -> Tensor:
    if len(shape) < 2:
        return torch.full(shape, float(name.endswith("weight"))).half()
    noise = torch.empty(shape, dtype=torch.float32).uniform_(-1, 1, generator=generator)
    return (noise * (3 / math.prod(shape[1:])) ** 0.5).half()  # variance 1 / fan_in


def animate(base: Path, card: float, options: argparse.Namespace) -> dict[str, Any]:
    """Run the host on a card of so many GiB; return what it found, and the most that it held."""
    wishes = {"card": int(card * GIB), **vars(options)}
    host = find_hosts()[0]
    command = [python_of(host), str(INSIDE), str(PACK), str(base), json.dumps(wishes)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    ended = subprocess.run(
        command, cwd=host, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(ended.stdout.splitlines()[-1])


def row(card: float, found: dict[str, Any], other: Tensor | None, clip: Tensor) -> str:
    """Return a line of the table."""
    used, reckoned = found["activations"], found["estimate"]
    on_card = found["resident"] + used + found["largest"]
    apart = "" if other is None else f"{((clip - other).norm() / other.norm()).item():.1e}"
    parts = [
        f"{card:g}",
        f"{found['resident'] / GIB:.2f} of {found['weights'] / GIB:.2f}",
        f"{reckoned / GIB:.2f}",
        f"{used / GIB:.2f}",
        f"{reckoned / used:.2f}",
        f"{on_card / GIB:.2f}",
        f"{found['seconds']:.0f}",
        "yes" if found["finite"] else "NO",
        apart,
        f"{found['decode_seconds']:.0f}",
        f"{found['decode_peak'] / GIB:.2f}",
        f"{found['process'] / GIB:.2f}",
    ]
    return f"| {' | '.join(parts)} |"


HEAD = """\
| card, GiB | weights on it | host's estimate | activations | estimate / used | in all on it \
| sampling, s | finite | apart from the first | decoding, s | its peak | process |
|---:|---:|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|"""


def main() -> None:
    """Measure; print the table."""
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = command.add_argument
    add("--cards", type=float, nargs="+", default=[16, 5], help="GiB free, a run each")
    add("--width", type=int, default=1024, help="pixels")
    add("--height", type=int, default=576, help="pixels")
    add("--frames", type=int, default=16, help="sampled in one piece")
    add("--steps", type=int, default=1, help="of the sampler, without guidance")
    add("--decoded", type=int, default=2, help="frames that are decoded")
    add("--threads", type=int, default=torch.get_num_threads(), help="of the host")
    options = command.parse_args()
    cards = options.__dict__.pop("cards")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        prepare(base)
        file = base / "models" / "trip" / "large.safetensors"
        write_checkpoint(file)
        print(f"checkpoint: {file.stat().st_size} bytes\n\n{HEAD}", flush=True)
        first = None
        for card in cards:
            found = animate(base, card, options)
            clip = read_tensors(base / "output" / "clip.safetensors")["clip"]
            print(row(card, found, first, clip), flush=True)
            first = clip if first is None else first


if __name__ == "__main__":
    main()
