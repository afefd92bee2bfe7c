"""The pack as the host loads it (one package, path-shaped name), without a host."""

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.nodes.clips import TEXTS, WIDGETS

PACK = Path(__file__).parents[2]
NAME = "custom_nodes_trip"


def load_pack():
    """Import the pack's root as a package; relative imports are the only ones that can work."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            NAME, PACK / "__init__.py", submodule_search_locations=[str(PACK)]
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = module
        spec.loader.exec_module(module)
    return sys.modules[NAME]


@pytest.fixture(scope="session")
def pack():
    """The imported pack."""
    return load_pack()


@pytest.fixture(scope="session")
def nodes(pack):
    """Node id -> class."""
    return pack.NODE_CLASS_MAPPINGS


@pytest.fixture
def part(pack):
    """Return a module of the pack's ``nodes`` by name."""
    del pack
    return lambda name: importlib.import_module(f"{NAME}.nodes.{name}")


@pytest.fixture
def folder(part, tmp_path, monkeypatch):
    """Node results go into ``tmp_path/output`` and ``tmp_path/temp``; progress counts only."""
    host, targets = part("host"), part("host_targets")

    def target(prefix, suffix, size, keep):
        del size
        root = tmp_path / ("output" if keep else "temp")
        path = root / f"{prefix}_00001_{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        subfolder = str(path.parent.relative_to(root)).removeprefix(".")
        return targets.Target(path, subfolder, root.name)

    class Progress:
        cancel_at = None

        def __init__(self, total):
            self.total, self.done = total, 0

        def step(self, count=1):
            self.done += count
            if self.done == Progress.cancel_at:
                raise InterruptedError

        def through(self, items):
            for item in items:
                self.step()
                yield item

    monkeypatch.setattr(targets, "target", target)
    monkeypatch.setattr(host, "Progress", Progress)
    monkeypatch.setattr(host, "workflow_texts", lambda *given: given[1] if given[2] else {})
    monkeypatch.setattr(part("video_combine"), "animation_video", lambda path, fps: (path, fps))
    return tmp_path


@pytest.fixture
def combine(nodes, folder):
    """Run Video Combine; return (ui, path)."""
    del folder

    def run(**inputs):
        out = nodes["TRIP_VideoCombine"]().combine(**{**WIDGETS, "extra_pnginfo": TEXTS, **inputs})
        return out["ui"], out["result"][0][0]

    return run
