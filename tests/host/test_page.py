"""The page in a real browser: a template opens, its clip plays, the file brings the graph back.

Needs Node.js with playwright-core (where ``NODE_PATH`` says) and a Chromium.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "page" / "page.js"


@pytest.fixture(scope="module")
def browser():
    """Chromium's path, where Node.js can drive it."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    node = shutil.which("node")
    probe = [str(node), "-e", "require('playwright-core')"]
    if path is None or node is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("no browser: needs Chromium, Node.js and playwright-core (see NODE_PATH)")
    return path


@pytest.mark.parametrize("renderer", ["classic", "vue"])
def test_the_template_runs_in_the_page_and_its_clip_brings_it_back(
    browser, comfy, renderer, tmp_path
):
    words = ["node", str(SCRIPT), browser, str(comfy.port), renderer, "still.png", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert not seen["missing"] and seen["status"] == "success"
    assert seen["cleared"] == [] and seen["dropped"] == seen["nodes"]
    if renderer == "classic":  # Nodes 2.0 is unfinished in the oldest pages that have it
        width, height, seconds = seen["videos"][0]
        assert (width, height) == (130, 96) and seconds == pytest.approx(2)
