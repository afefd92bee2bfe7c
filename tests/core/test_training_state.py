"""What a stage leaves on disk: whole or not at all, and continued only as it was begun."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.core.test_training_loop import STAGE, Toy
from trip_core.training.bank import cached
from trip_core.training.config import StageConfig, TrainConfig
from trip_core.training.loop import train_stage
from trip_core.training.run import train
from trip_core.training.state import checkpoints, save_state
from trip_core.training.weights import save_weights

WORDS = StageConfig(
    "words", "words", steps=2, batch_size=2, learning_rate=1e-4, save_every=1, precision="no"
)


@contextmanager
def _full_disk() -> Iterator[None]:
    """No file may grow beyond 8 KiB, as on a disk that fills up while it is written."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    net = nn.Linear(64, 64)
    optimizer = torch.optim.AdamW(net.parameters())
    save_state(tmp_path, 1, net, {}, optimizer, {}, keep=2)
    with _full_disk(), pytest.raises(OSError, match=r"00000002 could not be saved: .*"):
        save_state(tmp_path, 2, net, {}, optimizer, {}, keep=2)
    with _full_disk(), pytest.raises(OSError, match=r"weights\.safetensors could not be written"):
        save_weights(tmp_path / "weights.safetensors", net.state_dict(), {})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000001"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_full_disk_is_one_sentence_from_the_bank_too(tmp_path: Path, workers: int) -> None:
    class Keeping(Toy):
        def batch(self, index: int) -> dict[str, torch.Tensor]:
            make = cached(lambda count, _: {"x": torch.ones(count, 64, 64)}, tmp_path / "kept")
            return make(1, index)

    stage = replace(STAGE, workers=workers)
    with _full_disk(), pytest.raises(OSError, match="could not be written") as caught:
        train_stage(Keeping(), stage, tmp_path / "toy", device="cpu", progress=False)
    assert "\n" not in str(caught.value) and not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize("name", ["modules", "average", "optimizer"])
def test_a_truncated_checkpoint_is_named(tmp_path: Path, name: str) -> None:
    train_stage(Toy(), STAGE, tmp_path, device="cpu", progress=False)
    file = checkpoints(tmp_path)[-1] / f"{name}.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match=rf"{name}.safetensors is truncated.*delete .*00000012"):
        train_stage(Toy(), STAGE, tmp_path, device="cpu", resume=True, progress=False)


@pytest.mark.parametrize("text", [b"", b"{step", b"[]", b"{}", b'{"step": "x"}', b"\xff\xfe"])
def test_a_damaged_state_is_named(tmp_path: Path, text: bytes) -> None:
    train_stage(Toy(), STAGE, tmp_path, device="cpu", progress=False)
    (checkpoints(tmp_path)[-1] / "state.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"state\.json is damaged.*delete .*checkpoint-00000012"):
        train_stage(Toy(), STAGE, tmp_path, device="cpu", resume=True, progress=False)


def test_killed_without_a_word_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole = train_stage(Toy(), STAGE, tmp_path / "whole", device="cpu", progress=False)
    program = (
        "import pathlib, sys; from tests.core.test_training_state import *\n"
        "task = Toy(stop_at=6, stop_by=signal.SIGKILL)\n"
        "train_stage(task, STAGE, pathlib.Path(sys.argv[1]), device='cpu', progress=False)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "cut")]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in checkpoints(tmp_path / "cut")] == ["checkpoint-00000004"]
    # As if it had been killed in the middle of a save.
    shutil.copytree(tmp_path / "cut" / "checkpoint-00000004", tmp_path / "cut/.partial-00000006")
    cut = train_stage(Toy(), STAGE, tmp_path / "cut", device="cpu", resume=True, progress=False)
    assert whole.read_bytes() == cut.read_bytes()
    assert not list((tmp_path / "cut").glob(".partial-*"))


def test_tensorboard_gets_every_line_of_the_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stage = replace(STAGE, tensorboard=True)
    train_stage(Toy(), stage, tmp_path, device="cpu", progress=False)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert set(events.Tags()["scalars"]) == set(lines[0]) - {"step"} >= {"loss", "error", "rate"}
    for name in ("loss", "norm", "rate"):
        written = [(event.step, event.value) for event in events.Scalars(name)]
        assert written == [(line["step"], pytest.approx(line[name])) for line in lines]


def _train_words(folder: Path, resume: bool = False, seed: int = 0, **changes: object) -> None:
    plan = TrainConfig("test", "unused", (replace(WORDS, **changes),), seed=seed)
    train(plan, out=folder, resume=resume, device="cpu", progress=False)


def test_a_stage_goes_on_only_with_the_settings_it_began_with(tmp_path: Path) -> None:
    _train_words(tmp_path)
    stage = tmp_path / "words"
    advice = f"put the settings back, or delete {stage} to train it anew"
    for _ in ("finished", "unfinished"):
        with pytest.raises(ValueError, match=r"batch_size = 2, learning_rate = 0\.0001") as caught:
            _train_words(tmp_path, True, learning_rate=1e-3, batch_size=4)
        assert advice in str(caught.value) and "learning_rate = 0.001" in str(caught.value)
        with pytest.raises(
            ValueError, match=r"options\.combined = 0\.5.* now options\.combined = 1"
        ):
            _train_words(tmp_path, True, options={"combined": 1.0})
        with pytest.raises(ValueError, match="seed = 0"):
            _train_words(tmp_path, True, seed=1)
        (stage / "weights.safetensors").unlink(missing_ok=True)
        shutil.rmtree(stage / "checkpoint-00000002", ignore_errors=True)
    # What changes no weight may change; a default may be spelled out.
    _train_words(tmp_path, True, log_every=1, workers=1, keep=1, options={"combined": 0.5})
    assert (stage / "weights.safetensors").is_file()


def test_a_stage_of_before_settings_were_stored_goes_on(tmp_path: Path) -> None:
    _train_words(tmp_path)
    stage = tmp_path / "words"
    (stage / "settings.json").unlink()
    (stage / "weights.safetensors").unlink()
    shutil.rmtree(stage / "checkpoint-00000002")
    _train_words(tmp_path, True, batch_size=4)
    assert (stage / "weights.safetensors").is_file()


def test_a_stage_that_saved_nothing_may_begin_again_with_other_settings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no parameter's name starts with 'x'"):
        _train_words(tmp_path, learning_rates={"x": 0.1})
    _train_words(tmp_path)
    with pytest.raises(ValueError, match=r"learning_rates = {}"):
        _train_words(tmp_path, learning_rates={"text": 0.1})


def test_damaged_settings_are_named(tmp_path: Path) -> None:
    _train_words(tmp_path)
    (tmp_path / "words" / "settings.json").write_text("{")
    with pytest.raises(ValueError, match=r"settings\.json is damaged"):
        _train_words(tmp_path)
