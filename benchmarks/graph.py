"""What ComfyUI costs: our graph beside the bare core, Video Combine beside the host's SaveVideo.

``python -m benchmarks.graph`` in the pack's folder prints a table in markdown; the host is found as
the tests in ``tests/host`` find it.

*Sampling*: the sampler node of the workflow ``animate_a_still``, previews on, beside
``pipeline.denoise_clip`` in a process without a host, on the same still, words, seed and steps.

*Writing*: 64 frames of 512 x 512, already in the host's cache, written to an mp4 by either node as
it comes, each in a host of its own; memory is that process's resident peak while the node works
and, behind the plus, how far that is above what it held before.

All that is compared runs in turns, one thread each, and the fastest round counts, so that the
ratios hold on a busy machine too. Linux only: the peak is read and reset in ``/proc``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.host.conftest import PACK, Host, find_host
from tests.host.graphs import combine, node
from tests.host.websocket import messages
from trip_core.stills import read_still
from trip_core.video_io import write_video

STILL = PACK / "assets" / "stills" / "lake.jpg"
GRAPH = PACK / "tests" / "workflows" / "animate_a_still.json"
FRAMES = 64

#: The bare core: warm, then one clip's sampling for every line that comes in.
CORE = """
import sys, time, torch
from trip_core import pipeline
from trip_core.checkpoint import load_model
from trip_core.stills import read_still
path, words, frames, steps, scale = sys.argv[1:]
model, still = load_model(), read_still(path)
with torch.no_grad():
    small, text = pipeline.fit_to_model(model, still), model.text.encode([words, ""])
    motion = pipeline.estimate_motion(model, small, text[:1])
    both = pipeline.condition(model, small, text, motion, int(frames), model.trip.config.prior)
    for seed in sys.stdin:
        started, numbers = time.perf_counter(), (int(frames), int(steps), float(scale), int(seed))
        pipeline.denoise_clip(model, both, *numbers, "ddim", None)
        print(time.perf_counter() - started, flush=True)
"""


@contextmanager
def running_host() -> Iterator["Watched"]:
    """Start a host that has the pack, the still and the frames; end it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for name in ("custom_nodes", "input", "output", "temp", "user", "models"):
            (base / name).mkdir()
        (base / "custom_nodes" / "trip").symlink_to(PACK)
        (base / "input" / "example.png").write_bytes(STILL.read_bytes())
        still = read_still(STILL)
        write_video(base / "input" / "clip.mp4", (still.roll(3 * i, -1) for i in range(FRAMES)), 24)
        host = Host(find_host(), base)
        try:
            host.wait()
            yield Watched(host)
        finally:
            host.process.terminate()
            host.process.wait(30)


class Watched:
    """A host whose nodes are timed, by its own messages."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.heard = messages(host.port, "tests")

    def run(self, graph: dict, timed: str = "") -> float:
        """Run a graph; return the seconds of one of its nodes."""
        self.host.queue(graph)
        seconds, now, started = 0.0, None, 0.0
        for message in self.heard:
            kind = "preview" if isinstance(message, bytes) else message["type"]
            if kind in ("execution_error", "execution_interrupted"):
                raise RuntimeError(json.dumps(message["data"])[:2000])
            if kind in ("executing", "execution_success"):
                clock = time.perf_counter()
                seconds += clock - started if timed and now == timed else 0.0
                now, started = message["data"].get("node"), clock
            if kind == "execution_success":
                break
        return seconds

    def memory(self, field: str) -> float:
        """Return MiB of the process: "VmRSS" now, "VmHWM" at the most."""
        status = Path(f"/proc/{self.host.process.pid}/status").read_text()
        return int(status.split(field + ":")[1].split()[0]) / 1024


def time_sampling(rounds: int) -> tuple[float, float]:
    """Return the seconds of the graph's sampler and of the bare core."""
    graph = json.loads(GRAPH.read_text())
    sampler = graph["6"]["inputs"]
    numbers = (graph["5"]["inputs"]["length"], sampler["steps"], sampler["cfg"])
    words = graph["3"]["inputs"]["text"]
    command = [sys.executable, "-c", CORE, str(STILL), words, *map(str, numbers)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PACK)}
    hosted, bare = [], []
    core = subprocess.Popen(command, cwd=PACK, env=environment, **pipes)
    with core, running_host() as host:
        for seed in range(rounds + 1):  # the first round warms both
            sampler["seed"] = seed
            hosted.append(host.run(graph, "6"))
            print(seed, file=core.stdin, flush=True)
            bare.append(float(core.stdout.readline()))
    return min(hosted[1:]), min(bare[1:])


def time_writing(rounds: int) -> list[tuple[float, float, float]]:
    """Return seconds, peak in MiB and its rise, of Video Combine and of SaveVideo."""
    clip = node("LoadVideo", file="clip.mp4")
    frames = {"1": clip, "2": node("GetVideoComponents", video=["1", 0])}
    one = node("ImageFromBatch", image=["2", 0], batch_index=0, length=1)
    video = node("CreateVideo", images=["2", 0], fps=24.0)
    save = node("SaveVideo", video=["3", 0], format="mp4", codec="h264")
    writers = [{"4": combine(images=["2", 0], fps=24.0)}, {"3": video, "4": save}]
    found: list[list[tuple[float, float, float]]] = [[], []]
    with running_host() as ours, running_host() as theirs:
        for host in (ours, theirs):
            host.run(frames | {"3": one, "4": node("PreviewImage", images=["3", 0])})
        for number in range(rounds):
            for host, writer, rows in zip((ours, theirs), writers, found, strict=True):
                writer["4"]["inputs"]["filename_prefix"] = f"round{number}"
                Path(f"/proc/{host.host.process.pid}/clear_refs").write_text("5")
                held = host.memory("VmRSS")
                seconds, peak = host.run(frames | writer, "4"), host.memory("VmHWM")
                rows.append((seconds, peak, peak - held))
    return [(min(rows)[0], max(row[1] for row in rows), rows[0][2]) for rows in found]


def main() -> None:
    """Measure; print the table."""
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--rounds", type=int, default=5, help="timed rounds")
    rounds = command.parse_args().rounds
    graph, core = time_sampling(rounds)
    ours, theirs = time_writing(rounds)
    print("| | seconds | ratio | peak, MiB |\n|---|---|---|---|")
    print(f"| sampling, bare core | {core:.2f} | 1.00 | |")
    print(f"| sampling, our graph | {graph:.2f} | {graph / core:.3f} | |")
    for name, (took, peak, more) in (("SaveVideo", theirs), ("Video Combine", ours)):
        print(f"| {name} | {took:.2f} | {took / theirs[0]:.2f} | {peak:.0f} (+{more:.0f}) |")


if __name__ == "__main__":
    main()
