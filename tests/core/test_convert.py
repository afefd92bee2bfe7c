"""A pickle becomes safetensors once, and nothing in it runs."""

import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from trip_core.cli import main
from trip_core.convert import convert

STATE = {
    "model.diffusion_model.out.2.bias": torch.linspace(0, 1, 4),
    "scale_arr": torch.linspace(1, 0.7, 7),
    "steps": torch.tensor([3]),
}


class Bomb:
    """What a malicious pickle holds: a call."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize(
    "held",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"module": {f"_forward_module.{k}": v for k, v in STATE.items()}},
    ],
)
def test_the_tensors_come_out_under_their_names(tmp_path, held, archive):
    torch.save(held, tmp_path / "a.ckpt", _use_new_zipfile_serialization=archive)
    assert convert(tmp_path / "a.ckpt", tmp_path / "a.safetensors")["tensors"] == 3
    made = load_file(tmp_path / "a.safetensors")
    assert made.keys() == STATE.keys()
    assert all(made[name].equal(tensor) for name, tensor in STATE.items())


def test_half_precision_spares_buffers_and_integers(tmp_path):
    torch.save(STATE, tmp_path / "a.ckpt")
    convert(tmp_path / "a.ckpt", tmp_path / "a.safetensors", torch.float16)
    made = load_file(tmp_path / "a.safetensors")
    assert made["model.diffusion_model.out.2.bias"].dtype == torch.float16
    assert made["scale_arr"].equal(STATE["scale_arr"])
    assert made["steps"].equal(STATE["steps"])


def test_nothing_is_run(tmp_path):
    torch.save({"state_dict": {**STATE, "bomb": Bomb(tmp_path / "boom")}}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="nothing in it was run"):
        convert(tmp_path / "a.ckpt", tmp_path / "a.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("absent.ckpt", "a.safetensors", "is not a file"),
        ("text.ckpt", "a.safetensors", "is damaged or holds more"),
        ("short.ckpt", "a.safetensors", "is damaged or holds more"),
        ("list.ckpt", "a.safetensors", "holds no tensors by name"),
        ("done.safetensors", "a.safetensors", "already"),
        ("good.ckpt", "a.bin", "must end in .safetensors"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, capsys, name, target, words):
    (tmp_path / "text.ckpt").write_text("not a checkpoint at all")
    torch.save([1, 2], tmp_path / "list.ckpt")
    torch.save(STATE, tmp_path / "good.ckpt")
    (tmp_path / "short.ckpt").write_bytes((tmp_path / "good.ckpt").read_bytes()[:-200])
    save_file(STATE, tmp_path / "done.safetensors")
    assert main(["convert", str(tmp_path / name), str(tmp_path / target)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert words in said
    assert not (tmp_path / target).exists()


def test_the_command_says_what_it_wrote(tmp_path, capsys):
    torch.save(STATE, tmp_path / "a.ckpt")
    assert main(["convert", str(tmp_path / "a.ckpt"), str(tmp_path / "a.safetensors")]) == 0
    assert "3 tensors" in capsys.readouterr().out
