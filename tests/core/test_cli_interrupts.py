"""Ctrl-C and signals: nothing half-written stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.core.conftest import files
from trip_core import cli, video_io
from trip_core.cli_process import Interrupt, signals
from trip_core.formats import FORMATS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("moment", [0, 2])
def test_ctrl_c_while_writing_leaves_nothing(still, model, capsys, monkeypatch, suffix, moment):
    add = video_io.VideoWriter.add

    def interrupted(writer, frame):
        if writer.num_frames == moment:
            raise KeyboardInterrupt
        add(writer, frame)

    monkeypatch.setattr(video_io.VideoWriter, "add", interrupted)
    words = ["animate", still, "--model", model, "--frames", "4", "--out", f"a{suffix}"]
    assert cli.main(words) == 130
    assert files() == ["still.png"]
    assert capsys.readouterr().err.count("\n") == 1


def test_ctrl_c_while_denoising_leaves_nothing(still, model, monkeypatch):
    from trip_core.systems.trip import TRIP

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(TRIP, "forward", interrupted)
    words = ["animate", still, "--model", model, "--frames", "4", "--edges", "generate"]
    assert cli.main(words) == 130
    assert files() == ["still.png"]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("number", "code", "moment"),
    [
        (signal.SIGINT, 130, "writing"),
        (signal.SIGINT, 130, "importing"),
        (signal.SIGTERM, 143, "writing"),
        *([(signal.SIGHUP, 129, "writing")] if hasattr(signal, "SIGHUP") else []),
    ],
)
def test_a_signal_to_the_process_leaves_nothing(still, model, number, code, moment):
    words = ["animate", still, "--model", model, "--frames", "128", "--size", "192"]
    process = subprocess.Popen(
        [sys.executable, "-m", "trip_core", *words, "--out", "clips/a.mp4"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell runs in the background ignores Ctrl-C, and so does what that starts.
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, number)],
    )
    try:
        deadline = time.monotonic() + (120 if moment == "writing" else 0.5)
        while not list(Path().glob("clips/.a.*.part.mp4")) and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code and "Traceback" not in said
    assert files() == ["still.png"]


def test_ctrl_c_in_the_first_moments_is_one_line():
    code = (
        "import runpy, sys\n"
        "class Pressed:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'trip_core.cli': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Pressed())\n"
        "runpy.run_module('trip_core', run_name='__main__')\n"
    )
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 130 and ended.stderr == "interrupted\n"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")
def test_what_was_told_to_outlive_its_terminal_does():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with signals(Interrupt()):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
