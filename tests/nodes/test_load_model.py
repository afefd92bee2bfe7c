"""Load TRIP Model, as far as it needs no host."""

import os

import pytest


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        ("folder", "folder/unet/diffusion_pytorch_model.safetensors"),
        ("clips.safetensors", "clips.safetensors"),
        ("clips.safetensors", "text_encoder/model.safetensors"),  # beside a DynamiCrafter
    ],
)
@pytest.mark.parametrize("seconds", [60, -60])  # copies keep the time of what they are copied from
def test_replaced_weights_are_loaded_again(
    nodes, part, tmp_path, monkeypatch, model, weights, seconds
):
    (tmp_path / "clips.safetensors").touch()
    file = tmp_path / weights
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    monkeypatch.setattr(part("host_model_folder"), "model_path", lambda name: str(tmp_path / name))
    stamp = nodes["TRIP_LoadModel"].IS_CHANGED
    before = stamp(model, "auto")
    assert stamp(model, "auto") == before
    os.utime(file, times=(file.stat().st_mtime + seconds,) * 2)
    assert stamp(model, "auto") != before
