"""What ComfyUI costs: our graph beside the bare core, Video Combine beside the host's SaveVideo.

``python -m benchmarks.graph`` in the pack's folder prints a table in markdown; the host is found as
the tests in ``tests/host`` find it.

*Sampling*: the sampler node of the workflow ``animate_a_still``, previews on, beside
``pipeline.denoise_clip``. Both take turns in one host's process, each time with another seed: in
processes of their own, where the memory of each happens to lie moved the ratio by a tenth. What
counts is the processor time of all threads of the process, which other programs disturb less than
the time on the wall; the graph's is read between two nodes, so its previews and messages are in it.
The ratio is the median of the turns' ratios; seconds are medians.

*Writing*: 64 frames of 512 x 512 from the host's cache into an mp4, each node in hosts of its own,
in turns, the fastest of each. Memory is the process's resident peak and, behind the plus, how far
the first clip took it above what was held, each the median of several fresh hosts: what is held
differs between two starts by more than the nodes do.

One thread computes. Linux only: the peak is read and reset in ``/proc``.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.host.conftest import PACK, Host, find_hosts, prepare
from tests.host.graphs import combine, node
from tests.host.websocket import messages
from trip_core.stills import read_still
from trip_core.video_io import write_video

STILL = PACK / "assets" / "stills" / "lake.jpg"
NODES = PACK / "benchmarks" / "host_nodes"
GRAPH = PACK / "tests" / "workflows" / "animate_a_still.json"
FRAMES = 64
#: Fresh hosts for each node that writes.
HOSTS = 5
#: Seconds on the wall, and on the processor.
Clocks = tuple[float, float]


class Watched(Host):
    """A host that has the still and the frames; its own messages time its nodes."""

    def follow(self, graph: dict) -> Iterator[dict]:
        """Run a graph; yield the host's messages but the previews."""
        heard = messages(self.port, "tests")
        self.queue(graph)
        for message in heard:
            if isinstance(message, bytes):
                continue
            if message["type"] in ("execution_error", "execution_interrupted"):
                raise RuntimeError(json.dumps(message["data"])[:2000])
            yield message
            if message["type"] == "execution_success":
                return

    def seconds(self, graph: dict, timed: str = "") -> float:
        """Run a graph; return the seconds of one of its nodes."""
        total, now, started = 0.0, None, 0.0
        for message in self.follow(graph):
            if message["type"] in ("executing", "execution_success"):
                clock = time.perf_counter()
                total += (clock - started) * (now == timed)
                now, started = message["data"].get("node"), clock
        return total

    def between(self, graph: dict, start: str, end: str) -> Clocks:
        """Run a graph; return what its two stopwatches differ by."""
        told = self.shown(graph, "clocks")
        wall, processor = (b - a for a, b in zip(told[start], told[end], strict=True))
        return wall, processor

    def shown(self, graph: dict, key: str) -> dict[str, list[float]]:
        """Run a graph; return what its nodes show under a key."""
        told = [m["data"] for m in self.follow(graph) if m["type"] == "executed"]
        return {data["node"]: data["output"][key] for data in told if key in data["output"]}

    def memory(self, field: str) -> float:
        """Return MiB of the process: "VmRSS" now, "VmHWM" at the most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(field + ":")[1].split()[0]) / 1024


def new_host(folder: str) -> Watched:
    """Start a host with a base of its own in a folder."""
    base = Path(tempfile.mkdtemp(dir=folder))
    prepare(base)
    (base / "custom_nodes" / NODES.name).symlink_to(NODES)
    (base / "input" / "example.png").write_bytes(STILL.read_bytes())
    still = read_still(STILL)
    write_video(base / "input" / "clip.mp4", (still.roll(3 * i, -1) for i in range(FRAMES)), 24)
    return Watched(find_hosts()[0], base)


class Turns:
    """Seconds of two contestants, taken in turns; each is on the wall, on the processor."""

    def __init__(self, ours: Callable[[int], Clocks], theirs: Callable[[int], Clocks]) -> None:
        """Take functions of a seed that run once and return the seconds."""
        self._run, self._rows = (ours, theirs), []

    def play(self, rounds: int) -> None:
        """Run both, changing who begins; the first round warms and does not count."""
        for seed in range(rounds + 1):
            order = (0, 1) if seed % 2 else (1, 0)
            took = {who: self._run[who](seed) for who in order}
            self._rows += [(took[0], took[1])] if seed else []

    def seconds(self, who: int, clock: int) -> float:
        """Return the median of a contestant (0 ours, 1 theirs) by a clock (0 wall, 1 processor)."""
        return statistics.median(row[who][clock] for row in self._rows)

    def ratio(self, clock: int) -> float:
        """Return the median of the rounds' ratios, ours by theirs."""
        return statistics.median(ours[clock] / theirs[clock] for ours, theirs in self._rows)


def time_sampling(rounds: int, base: str) -> Turns:
    """Return the turns of the graph's sampler and of the bare core."""
    graph = json.loads(GRAPH.read_text())
    graph = {key: graph[key] for key in "123456"}
    sampler, prompt = graph["6"]["inputs"], graph["3"]["inputs"]["text"]
    numbers = {"frames": graph["5"]["inputs"]["length"], "steps": sampler["steps"]}
    numbers["guidance"] = sampler["cfg"]
    graph["start"], graph["end"] = (node("Stopwatch", latent=at) for at in (["5", 2], ["6", 0]))
    sampler["latent"] = ["start", 0]
    # The host drops, at a new graph, the models of nodes that are not in it.
    before = {key: graph[key] for key in (*"12345", "start")}

    def hosted(seed: int) -> Clocks:
        sampler["seed"] = seed
        return host.between(graph, "start", "end")

    def bare(seed: int) -> Clocks:
        core = node("BareCore", still=str(STILL), prompt=prompt, seed=seed, **numbers)
        wall, processor = host.shown({**before, "core": core}, "seconds")["core"]
        return wall, processor

    with new_host(base) as host:
        turns = Turns(hosted, bare)
        turns.play(rounds)
    return turns


def time_writing(rounds: int, base: str) -> list[tuple[float, float, float]]:
    """Return seconds, peak in MiB and its rise, of Video Combine and of SaveVideo."""
    clip = node("LoadVideo", file="clip.mp4")
    frames = {"1": clip, "2": node("GetVideoComponents", video=["1", 0])}
    one = node("ImageFromBatch", image=["2", 0], batch_index=0, length=1)
    video = node("CreateVideo", images=["2", 0], fps=24.0)
    save = node("SaveVideo", video=["3", 0], format="mp4", codec="h264")
    writers = [{"4": combine(images=["2", 0], fps=24.0)}, {"3": video, "4": save}]
    warm = frames | {"3": one, "4": node("PreviewImage", images=["3", 0])}
    found: list[list[tuple[float, float, float]]] = [[], []]
    for _ in range(HOSTS):
        with new_host(base) as ours, new_host(base) as theirs:
            for host in (ours, theirs):
                host.seconds(warm)
            turns = [[] for _ in writers]
            for number in range(max(rounds // HOSTS, 1)):
                for host, writer, rows in zip((ours, theirs), writers, turns, strict=True):
                    writer["4"]["inputs"]["filename_prefix"] = f"round{number}"
                    rows.append(_written(host, frames | writer))
        for rows, all_of_them in zip(turns, found, strict=True):
            least, most = min(row[0] for row in rows), max(row[1] for row in rows)
            all_of_them.append((least, most, rows[0][2]))
    return [
        (min(rows)[0], *(statistics.median(row[k] for row in rows) for k in (1, 2)))
        for rows in found
    ]


def _written(host: Watched, graph: dict) -> tuple[float, float, float]:
    """Run a graph; return the seconds of its node "4", the peak in MiB and how far it rose."""
    Path(f"/proc/{host.process.pid}/clear_refs").write_text("5")
    held = host.memory("VmRSS")
    seconds, peak = host.seconds(graph, "4"), host.memory("VmHWM")
    return seconds, peak, peak - held


def main() -> None:
    """Measure; print the table."""
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--rounds", type=int, default=31, help="timed rounds")
    rounds = command.parse_args().rounds
    with tempfile.TemporaryDirectory() as base:
        sampling = time_sampling(rounds, base)
        ours, theirs = time_writing(rounds, base)
    print("| | seconds | ratio | peak, MiB (rise) |\n|---|---:|---:|---:|")
    for name, clock in (("processor", 1), ("wall", 0)):
        print(f"| sampling, bare core ({name}) | {sampling.seconds(1, clock):.2f} | 1.00 | |")
        seconds, ratio = sampling.seconds(0, clock), sampling.ratio(clock)
        print(f"| sampling, our graph ({name}) | {seconds:.2f} | {ratio:.3f} | |")
    for name, (took, peak, more) in (("SaveVideo", theirs), ("Video Combine", ours)):
        print(f"| {name} | {took:.2f} | {took / theirs[0]:.2f} | {peak:.0f} (+{more:.1f}) |")


if __name__ == "__main__":
    main()
