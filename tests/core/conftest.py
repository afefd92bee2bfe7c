"""What tests of the command line share: a model, a still, and what a refusal is."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.core.tiny_model import save_tiny_model
from trip_core import cli


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_tiny_model(path)
    return str(path)


@pytest.fixture
def still(tmp_path, monkeypatch):
    """A noisy still (so that files of clips are large) in the current folder."""
    monkeypatch.chdir(tmp_path)
    pixels = torch.randint(0, 256, (48, 64, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(pixels.to(torch.uint8).numpy()).save("still.png")
    return "still.png"


def files():
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def fails(capsys, *words):
    """Run; return the one line on stderr of a run that ends with exit code 2."""
    before = files()
    assert cli.main(list(words)) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("trip_core: ")
    assert files() == before
    return said.err
