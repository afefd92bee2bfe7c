"""Animate the bundled stills with three prompts each and lay the clips on one contact sheet.

Run by ``make demo``; by hand: ``python scripts/demo.py [output folder]``.
"""

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# Nothing is downloaded: the model that ships is in the repository.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from trip_core.allocator import keep_freed_memory  # noqa: E402
from trip_core.contact_sheet import contact_sheet  # noqa: E402
from trip_core.pipeline import animate  # noqa: E402
from trip_core.stills import read_still  # noqa: E402
from trip_core.trip_file import load_model  # noqa: E402
from trip_core.video_io import VideoWriter  # noqa: E402

FRAMES, FPS = 16, 8
SHOWN = (0, 3, 6, 9, 12, 15)
PROMPTS = {
    "ship": (
        "gentle waves ripple on the sea",
        "slow zoom in while the clouds drift left",
        "the camera pans right",
    ),
    "castle": (
        "the camera moves sideways to the left",
        "the clouds drift to the right while the river flows",
        "the camera slowly moves forward",
    ),
    "lake": (
        "clouds drift left over the hills",
        "the camera slowly zooms out",
        "the camera rolls clockwise",
    ),
}


def main() -> int:
    """Write the clips and the sheet and say where they are and how long it took."""
    parser = argparse.ArgumentParser(description="Animate the bundled stills.")
    parser.add_argument("output", type=Path, nargs="?", default=ROOT / "output", help="folder")
    output: Path = parser.parse_args().output
    keep_freed_memory()
    output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    model = load_model()
    print(f"model loaded in {time.perf_counter() - started:.1f} s", flush=True)
    rows, labels = [], []
    for name, prompts in PROMPTS.items():
        still = read_still(next((ROOT / "assets" / "stills").glob(f"{name}.*")))
        for number, prompt in enumerate(prompts, start=1):
            path = output / f"{name}-{number}.mp4"
            begun = time.perf_counter()
            shown = []
            with VideoWriter(path, FPS) as writer:
                for index, frame in enumerate(
                    animate(model, still, prompt, num_frames=FRAMES).frames
                ):
                    writer.add(frame)
                    if index in SHOWN:
                        shown.append(frame)
            rows.append(shown)
            labels.append(f"{name}: {prompt}")
            print(f"{path}  {time.perf_counter() - begun:5.1f} s  {prompt}", flush=True)
    sheet = output / "contact_sheet.png"
    contact_sheet(rows, labels).save(sheet)
    print(f"{sheet}")
    print(f"{len(rows)} clips in {time.perf_counter() - started:.1f} s")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        sys.exit(f"demo: {error}")
