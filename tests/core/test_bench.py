"""The bench compares the same network twice and says so when it is not the same."""

import argparse
import json
from dataclasses import replace

import pytest
import torch

from trip_core import bench, bench_networks
from trip_core.nn.unet3d import VideoUNetConfig

TINY = VideoUNetConfig(
    down_block_types=("DownBlock3D",),
    up_block_types=("UpBlock3D",),
    block_out_channels=(32,),
    layers_per_block=1,
    cross_attention_dim=16,
    attention_head_dim=4,
    norm_num_groups=8,  # with one channel in a group the norms would forget the timestep
)


def options(*arguments):
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def tiny(monkeypatch):
    sizes = {"middle": (TINY, (3, 4, 4), 5)}
    monkeypatch.setattr(bench_networks, "SIZES", sizes)
    monkeypatch.setattr(bench, "SIZES", sizes)
    monkeypatch.setattr(bench, "clip_seconds", lambda *_: {"sample": 1.0})
    monkeypatch.setattr(bench, "world_rate", lambda *_: 3.0)


@pytest.mark.usefixtures("tiny")
def test_reports_ratios_of_one_run(capsys):
    arguments = options("--rounds", "1", "--threads", "1", "--json")
    arguments.sizes = ["middle"]
    assert arguments.run(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    rows = {row["network"]: row for row in report["networks"]}
    assert set(rows) == {
        f"{who} {dtype}" for who in ("diffusers", "ours") for dtype in ("float32", "bfloat16")
    }
    assert rows["diffusers float32"]["speedup"] == 1
    assert rows["ours float32"]["error"] < 1e-5 < rows["ours bfloat16"]["error"] < 0.1
    assert 0 <= report["prior_and_fusion_share"]["middle"] < 1
    assert 0 < report["prior_and_fusion_operations"]["middle"] < 1
    assert report["world_clips_per_second"] == 3
    assert "| middle | ours float32 |" in bench.to_markdown(report)


def test_the_world_is_timed():
    assert 0.05 < bench.world_rate(torch.device("cpu"), rounds=1, clips=1) < 1000


@pytest.mark.usefixtures("tiny")
def test_exits_with_one_when_the_numbers_differ(monkeypatch, capsys):
    class Wrong(bench_networks.VideoUNet):
        def forward(self, *args):
            return super().forward(*args) * 1.01

    monkeypatch.setattr(bench_networks, "VideoUNet", Wrong)
    arguments = options("--rounds", "1")
    arguments.sizes = ["middle"]
    assert arguments.run(arguments) == 1
    assert "| middle | ours float32 |" in capsys.readouterr().out


@pytest.mark.usefixtures("tiny")
def test_dynamicrafter_made_of_diffusers_blocks_is_ours(capsys):
    arguments = options("--system", "dynamicrafter", "--rounds", "1", "--json")
    arguments.sizes = ["middle"]
    assert arguments.run(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    rows = {row["network"]: row["error"] for row in report["networks"]}
    assert rows["ours float32"] < 1e-5 < rows["ours bfloat16"] < 0.1
    assert "| middle | ours bfloat16 |" in bench.to_markdown(report)


@pytest.mark.usefixtures("tiny")
def test_dynamicrafter_reads_every_tensor_it_is_given():
    """What the comparison cannot see: a condition that neither network used."""
    network = bench_networks.dynamicrafter_networks("middle")["diffusers"]
    with torch.no_grad():
        tensors = [*network.given, *network.context]
        before = network.network(*tensors)
        for index, tensor in enumerate(tensors):
            other = [*tensors[:index], tensor + 3, *tensors[index + 1 :]]
            assert (network.network(*other) - before).abs().max() > 1e-4, index


def test_takes_turns_and_keeps_the_fastest():
    calls = []
    seconds = bench.in_turns(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, torch.device("cpu"), 2
    )
    assert calls == ["a", "b"] * 3
    assert set(seconds) == {"a", "b"}


def test_sizes_are_what_ships_and_what_was_published():
    small, (frames, *_), _ = bench.SIZES["small"]
    assert small == bench.PRESETS["small"].unet
    assert frames == 17  # sixteen and the still's
    assert bench.SIZES["full"][0] == replace(small, **vars(VideoUNetConfig()))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("system", "sentence"), [("trip", "--system dynamicrafter"), ("dynamicrafter", "a clone of")]
)
def test_published_code_that_is_not_there(system, sentence, tmp_path):
    arguments = options("--system", system, "--official", str(tmp_path))
    with pytest.raises(ValueError, match=sentence):
        arguments.run(arguments)


def test_a_model_is_checked_before_anything_is_timed(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "matrix_rate", lambda *_: pytest.fail("timed"))
    with pytest.raises(ValueError, match="does not exist"):
        bench.run(options("--model", str(tmp_path / "none.safetensors")))


@pytest.mark.parametrize("wrong", [("--rounds", "0"), ("--threads", "0"), ("--device", "cuda")])
def test_refuses_wrong_use(wrong, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments = options(*wrong)
    with pytest.raises(ValueError, match=r"at least 1|cuda cannot be used here"):
        arguments.run(arguments)
