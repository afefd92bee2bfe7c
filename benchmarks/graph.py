"""What ComfyUI costs: our graph beside the bare core, Video Combine beside the host's SaveVideo.

``python -m benchmarks.graph`` in the pack's folder prints a table in markdown; the host is found as
the tests in ``tests/host`` find it.

*Sampling*: the sampler node of the workflow ``animate_a_still``, previews on, beside
``pipeline.denoise_clip`` in a process of its own under the host's Python.

*Writing*: 64 frames of 512 x 512 from the host's cache into an mp4, each node in a host of its own;
memory is that process's resident peak and, behind the plus, how far it rose above what was held.

All that is compared runs in turns, one thread each, and the fastest round counts, so that the
ratios hold on a busy machine too. Linux only: the peak is read and reset in ``/proc``.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from tests.host.conftest import PACK, Host, find_hosts, prepare, python_of
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


class Watched(Host):
    """A host that has the still and the frames; its own messages time its nodes."""

    def seconds(self, graph: dict, timed: str = "") -> float:
        """Run a graph; return the seconds of one of its nodes."""
        heard = messages(self.port, "tests")
        self.queue(graph)
        total, now, started = 0.0, None, 0.0
        for message in heard:
            kind = "preview" if isinstance(message, bytes) else message["type"]
            if kind in ("execution_error", "execution_interrupted"):
                raise RuntimeError(json.dumps(message["data"])[:2000])
            if kind in ("executing", "execution_success"):
                clock = time.perf_counter()
                total += (clock - started) * (now == timed)
                now, started = message["data"].get("node"), clock
            if kind == "execution_success":
                break
        return total

    def memory(self, field: str) -> float:
        """Return MiB of the process: "VmRSS" now, "VmHWM" at the most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(field + ":")[1].split()[0]) / 1024


def new_host(folder: str) -> Watched:
    """Start a host with a base of its own in a folder."""
    base = Path(tempfile.mkdtemp(dir=folder))
    prepare(base)
    (base / "input" / "example.png").write_bytes(STILL.read_bytes())
    still = read_still(STILL)
    write_video(base / "input" / "clip.mp4", (still.roll(3 * i, -1) for i in range(FRAMES)), 24)
    return Watched(find_hosts()[0], base)


def time_sampling(rounds: int, base: str) -> tuple[float, float]:
    """Return the seconds of the graph's sampler and of the bare core."""
    graph = json.loads(GRAPH.read_text())
    sampler = graph["6"]["inputs"]
    numbers = (graph["5"]["inputs"]["length"], sampler["steps"], sampler["cfg"])
    given = (STILL, graph["3"]["inputs"]["text"], *numbers)
    command = [python_of(find_hosts()[0]), "-c", CORE, *map(str, given)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PACK)}
    hosted, bare = [], []
    core = subprocess.Popen(command, cwd=PACK, env=environment, **pipes)
    with core, new_host(base) as host:
        for seed in range(rounds + 1):  # the first round warms both
            sampler["seed"] = seed
            hosted.append(host.seconds(graph, "6"))
            print(seed, file=core.stdin, flush=True)
            bare.append(float(core.stdout.readline()))
    return min(hosted[1:]), min(bare[1:])


def time_writing(rounds: int, base: str) -> list[tuple[float, float, float]]:
    """Return seconds, peak in MiB and its rise, of Video Combine and of SaveVideo."""
    clip = node("LoadVideo", file="clip.mp4")
    frames = {"1": clip, "2": node("GetVideoComponents", video=["1", 0])}
    one = node("ImageFromBatch", image=["2", 0], batch_index=0, length=1)
    video = node("CreateVideo", images=["2", 0], fps=24.0)
    save = node("SaveVideo", video=["3", 0], format="mp4", codec="h264")
    writers = [{"4": combine(images=["2", 0], fps=24.0)}, {"3": video, "4": save}]
    found: list[list[tuple[float, float, float]]] = [[], []]
    with new_host(base) as ours, new_host(base) as theirs:
        for host in (ours, theirs):
            host.seconds(frames | {"3": one, "4": node("PreviewImage", images=["3", 0])})
        for number in range(rounds):
            for host, writer, rows in zip((ours, theirs), writers, found, strict=True):
                writer["4"]["inputs"]["filename_prefix"] = f"round{number}"
                Path(f"/proc/{host.process.pid}/clear_refs").write_text("5")
                held = host.memory("VmRSS")
                seconds, peak = host.seconds(frames | writer, "4"), host.memory("VmHWM")
                rows.append((seconds, peak, peak - held))
    return [(min(rows)[0], max(row[1] for row in rows), rows[0][2]) for rows in found]


def main() -> None:
    """Measure; print the table."""
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--rounds", type=int, default=5, help="timed rounds")
    rounds = command.parse_args().rounds
    with tempfile.TemporaryDirectory() as base:
        graph, core = time_sampling(rounds, base)
        ours, theirs = time_writing(rounds, base)
    print("| | seconds | ratio | peak, MiB |\n|---|---|---|---|")
    print(f"| sampling, bare core | {core:.2f} | 1.00 | |")
    print(f"| sampling, our graph | {graph:.2f} | {graph / core:.3f} | |")
    for name, (took, peak, more) in (("SaveVideo", theirs), ("Video Combine", ours)):
        print(f"| {name} | {took:.2f} | {took / theirs[0]:.2f} | {peak:.0f} (+{more:.0f}) |")


if __name__ == "__main__":
    main()
