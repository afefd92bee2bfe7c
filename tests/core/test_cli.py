"""The command line's other commands, its help, and the streams that it speaks to."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.core.conftest import files
from trip_core import cli

ROOT = Path(__file__).parents[2]


def test_info_shows_parts_and_config(model, capsys):
    assert cli.main(["info", model]) == 0
    said = capsys.readouterr().out
    assert "TRIP checkpoint" in said and "motion" in said and '"steps": 2' in said
    assert cli.main(["info", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parts"]["trip"]["tensors"] > 10


@pytest.mark.usefixtures("still")
def test_preview_data_draws_a_sheet(capsys):
    words = ["preview-data", "--count", "1", "--size", "32", "--kind", "pan_left"]
    assert cli.main([*words, "--out", "new/sheet.png"]) == 0
    assert capsys.readouterr().out == "new/sheet.png\n"
    with Image.open("new/sheet.png") as sheet:
        assert sheet.width == 7 * 32


@pytest.mark.parametrize(
    "command",
    [[], *([name] for name in cli._COMMANDS)],
)
def test_help_explains_every_command(capsys, command):
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0 and "usage: python -m trip_core" in said
    assert said.count("  python -m trip_core ") >= 2


def test_help_shows_defaults(capsys):
    with pytest.raises(SystemExit):
        cli.main(["animate", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for words in ("frames; without it 16,", "second (default: 8.0)", "same file; without it 0"):
        assert words in said
    assert "None" not in said


def test_a_reader_that_goes_is_no_error(model):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as gone:
        ended = subprocess.run(
            [sys.executable, "-m", "trip_core", "info", model],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert ended.stderr == "" and ended.returncode == 141  # as if SIGPIPE had ended it


@pytest.mark.parametrize("closed", ["1", "2"])
@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_closed_streams_are_no_error(still, model, closed):
    words = [sys.executable, "-m", "trip_core", "animate", still, "--model", model, "--frames", "2"]
    ended = subprocess.run(
        ["sh", "-c", f'"$@" {closed}>&-', "sh", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0 and ended.stderr == ""
    assert files() == ["output/still.mp4", "still.png"]


def test_a_name_that_the_terminal_cannot_show(still, model, monkeypatch):
    Path(still).rename("m\u00fcll.png")
    said = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", said)
    assert cli.main(["animate", "m\u00fcll.png", "--model", model, "--frames", "2"]) == 0
    said.seek(0)
    assert said.read().startswith("output/m\\xfcll.mp4: 2 frames")
