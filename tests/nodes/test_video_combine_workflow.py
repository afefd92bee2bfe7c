"""A clip brings its workflow back: where the page looks for it in each format."""

import struct
import sys
from types import ModuleType, SimpleNamespace

import av
import pytest
from PIL import Image

from tests.nodes.clips import TEXTS, clip, tone


def test_mp4_metadata_is_where_the_page_looks(combine):
    for audio in (None, tone(1.0)):
        _, path = combine(images=clip(), audio=audio)
        assert mp4_texts(path.read_bytes()) == TEXTS


def mp4_texts(data: bytes) -> dict[str, str]:
    """Read moov/udta/meta/{keys, ilst} as ComfyUI's frontend does."""

    def boxes(start, end):
        while start + 8 <= end:
            size, kind = struct.unpack(">I4s", data[start : start + 8])
            yield kind, start + 8, start + size
            start += size

    def find(start, end, *path):
        for kind, inner, stop in boxes(start, end):
            if kind == path[0]:
                inner += 4 if kind == b"meta" and data[inner : inner + 4] == b"\0" * 4 else 0
                return (inner, stop) if len(path) == 1 else find(inner, stop, *path[1:])
        raise AssertionError(path)

    top = [kind for kind, _, _ in boxes(0, len(data))]
    assert top.index(b"moov") < top.index(b"mdat")  # only the front of a file is read
    start, end = find(0, len(data), b"moov", b"udta", b"meta")
    keys_at, _ = find(start, end, b"keys")
    count = struct.unpack(">I", data[keys_at + 4 : keys_at + 8])[0]
    names, at = [], keys_at + 8
    for _ in range(count):
        size = struct.unpack(">I", data[at : at + 4])[0]
        names.append(data[at + 8 : at + size].decode())
        at += size
    values_at, values_end = find(start, end, b"ilst")
    texts = {}
    for kind, inner, stop in boxes(values_at, values_end):
        payload, last = find(inner, stop, b"data")
        texts[names[struct.unpack(">I", kind)[0] - 1]] = data[payload + 8 : last].decode()
    return {name: text for name, text in texts.items() if name in TEXTS}


def test_other_files_bring_the_workflow_back(combine):
    _, webm = combine(images=clip(), format="webm (VP9)")
    with av.open(str(webm)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert tags["workflow"] == TEXTS["workflow"]
    data = webm.read_bytes()
    first_cluster = data.index(b"\x1f\x43\xb6\x75")  # its EBML id
    assert data.index(b"WORKFLOW") < first_cluster and data.index(b"PROMPT") < first_cluster
    _, webp = combine(images=clip(), format="animated WebP")
    assert set(Image.open(webp).getexif().values()) == {f"{k}:{v}" for k, v in TEXTS.items()}
    _, apng = combine(images=clip(), format="animated PNG")
    assert Image.open(apng).text == TEXTS
    _, gif = combine(images=clip(), format="GIF")
    assert Image.open(gif.with_suffix(".png")).text == TEXTS


def test_no_workflow_means_none(combine, folder):
    _, path = combine(images=clip(), format="GIF", save_workflow=False)
    assert [file.name for file in (folder / "output").iterdir()] == [path.name]


@pytest.mark.parametrize(("disabled", "names"), [(False, ["workflow", "prompt"]), (True, [])])
def test_a_host_without_metadata_is_obeyed(part, monkeypatch, disabled, names):
    arguments = SimpleNamespace(args=SimpleNamespace(disable_metadata=disabled))
    monkeypatch.setitem(sys.modules, "comfy", ModuleType("comfy"))
    monkeypatch.setitem(sys.modules, "comfy.cli_args", arguments)
    assert list(part("host").workflow_texts({"1": {}}, {"workflow": {}}, True)) == names
