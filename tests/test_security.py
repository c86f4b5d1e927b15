"""What strangers hand in (nets, settings, names, pictures, videos) runs no code, leads nowhere, takes no memory."""

import ast
import io
import json
import os
import pickle
import random
import re
import socket
import struct
import subprocess
import sys
import tomllib
import zipfile
import zlib
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from media import clip, ffmpeg, pictures
from packaging.requirements import Requirement
from PIL import Image

from fastnst import cli, images
from fastnst.checkpoint import load_checkpoint, save_checkpoint
from fastnst.errors import ConfigError, FastnstError, InputError
from fastnst.flow import load_raft
from fastnst.images import load_image
from fastnst.net import StylizationNet
from fastnst.settings import TrainSettings
from fastnst.training.saving import AtomicCheckpointIO, load_training_checkpoint
from fastnst.vgg import read_weights
from fastnst.video import opening
from fastnst.video.opening import main_video_stream, open_input
from fastnst.video.reader import VideoReader

ROOT = Path(__file__).parent.parent
SOURCES = [*ROOT.glob("*.py"), *(ROOT / "fastnst").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
MIB = 2**20


@contextmanager
def memory_within(limit: int):
    """Fails if this process takes over `limit` bytes more at any moment inside the block."""
    status = Path("/proc/self/status")

    def kilobytes(what: str) -> int:
        return int(re.findall(rf"{what}:\s+(\d+)", status.read_text())[0])

    if not status.exists():
        pytest.skip("memory is measured on Linux only")
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = kilobytes("VmHWM")
    yield
    assert (kilobytes("VmHWM") - before) * 1024 < limit


# code


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_code_runs_what_a_string_or_a_file_says(path):
    for name, call in calls(path):
        last, keywords = name.rpartition(".")[2], {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert name not in {"eval", "exec", "compile", "__import__", "importlib.import_module", "os.system", "os.popen"}
        assert last not in {"instantiate", "get_class", "get_method", "get_object", "imread", "Unpickler"}
        assert keywords.get("shell", "False") == "False"
        assert keywords.get("allow_pickle", "False") == "False"
        if name == "torch.load":
            assert keywords["weights_only"] == "True"
        if name == "Image.open":
            assert "formats" in keywords
    assert not re.search(r"\b(LOAD_TRUNCATED_IMAGES|MAX_IMAGE_PIXELS)\b", path.read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    assert not imported & {"pickle", "marshal", "shelve", "dill", "joblib", "yaml", "hydra.utils", "hydra.main"}


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("load", [load_checkpoint, load_training_checkpoint, read_weights, load_raft])
@pytest.mark.parametrize("old", [True, False], ids=["pickle", "zip"])
def test_pickle_is_never_run_whatever_the_environment_says(load, old, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    content = {"recipe": {}, "features.0.weight": Payload(tmp_path / "pwned"), "state_dict": {}}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
    with pytest.raises(FastnstError) as fault:
        load(tmp_path / "a.pt")
    assert fault.value.exit_status in (2, 3)
    assert not (tmp_path / "pwned").exists()
    pickle.loads(pickle.dumps(Payload(tmp_path / "pwned")))  # it would have
    assert (tmp_path / "pwned").exists()


# packages


def test_lock_pins_all_that_pyproject_asks_for_by_hash():
    """`make lock` writes it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = (ROOT / "requirements.lock").read_text().replace("\\\n", "")
    pins = [line for line in lock.splitlines() if not line.startswith("#")]
    assert all(re.match(r"[a-z0-9.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line) for line in pins)
    versions = dict(re.findall(r"^(\S+)==(\S+)", "\n".join(pins), re.MULTILINE))
    extras = project["optional-dependencies"].values()
    for text in [*project["dependencies"], *(text for extra in extras for text in extra)]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(versions[wanted.name]), f"{text}: run `make lock`"


# settings and names


@pytest.mark.parametrize(
    "override",
    [
        "+_target_=os.system", "++loss._target_=os.system", "loss._target_=os.system", "style={_target_:os.system}",
        "style.name={_target_:os.system}", "trainer.precision={_target_:os.system}", "seed={_target_:os.system}",
        "temporal.pair={_target_:torch.load,weights_only:false}", "~loss",
        "hydra.searchpath=[file:///tmp]", "style=../../etc/x", "style=/etc/x", "style=a\0b", "data=../style/picasso",
    ],
)  # fmt: skip
def test_target_or_path_in_an_override_is_an_error_in_one_line(override):
    with pytest.raises(ConfigError) as fault:
        cli.load(TrainSettings, [override])
    assert "\n" not in str(fault.value)


def test_target_in_a_file_name_is_only_a_name():
    assert cli.load(TrainSettings, ["vgg={_target_:os.system}"]).vgg == "{_target_:os.system}"


def test_settings_file_elsewhere_cannot_be_named(tmp_path):
    (tmp_path / "evil.yaml").write_text("name: picasso\nimage: null\nsize: 64\nseed: 1\n")
    way = os.path.relpath(tmp_path / "evil", ROOT / "conf" / "style")
    with pytest.raises(ConfigError, match="must be base, clouds, liechtenstein, picasso or wave"):
        cli.load(TrainSettings, [f"style={way}"])


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "a\0b", "", "x" * 101, "a\nb"])
def test_style_name_in_a_checkpoint_cannot_leave_the_folder(name, tmp_path):
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, StylizationNet((4, 6, 8), residual_blocks=1), "s", {})
    header, weights = header_and_rest(path)
    header["__metadata__"]["fastnst"] = json.dumps(json.loads(header["__metadata__"]["fastnst"]) | {"style": name})
    path.write_bytes(joined(header, weights))
    with pytest.raises(InputError, match="not a plain name"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["../checkpoints/picasso", "picasso/../picasso", "picasso\0", "..", "/picasso"])
def test_checkpoint_that_ships_is_found_by_its_plain_name_only(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        load_checkpoint(name)


# playlists and addresses


def test_playlists_and_addresses_open_nothing_and_reach_nobody(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip(tmp_path / "good.mp4", seconds=0.2, size="32x32")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/good.mp4"
        for number, text in enumerate(
            (
                f"#EXTM3U\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n",
                f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/good.mp4\n#EXT-X-ENDLIST\n",
                f"ffconcat version 1.0\nfile {address}\n",
                "ffconcat version 1.0\nfile good.mp4\n",
                f'<?xml version="1.0"?><MPD><Period><BaseURL>{address}</BaseURL></Period></MPD>',
                f"v=0\nc=IN IP4 127.0.0.1\nm=video {server.getsockname()[1]} RTP/AVP 96\n",
            )
        ):
            Path(f"{number}.mp4").write_text(text)
            with pytest.raises(InputError, match="no video"):
                VideoReader(f"{number}.mp4")
        for name in (address, "concat:good.mp4|good.mp4", "subfile,,start,0,end,900,,:good.mp4", "file:good.mp4"):
            with pytest.raises(InputError, match="no such file"):
                VideoReader(name)
        with pytest.raises(BlockingIOError):
            server.accept()  # nobody called


@pytest.mark.parametrize("load", [load_checkpoint, load_training_checkpoint, load_raft])
def test_checkpoint_at_an_address_is_not_fetched(load):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        with pytest.raises(FastnstError):
            load(f"http://127.0.0.1:{server.getsockname()[1]}/last.ckpt")
        with pytest.raises(BlockingIOError):
            server.accept()


# sizes


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bombs() -> dict[str, bytes]:
    """Small files that claim to be large pictures."""
    zeros = zlib.compress(b"\0" * 90_001)
    side = 50_000
    png = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zeros)
    bmp = struct.pack("<IIIIHHIIIIII", 54 + 999, 0, 54, 40, 1, 24, 0, 0, 0, 0, 0, 0)
    bmp = b"BM" + bmp[:12] + struct.pack("<iiiHHIIIIII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)[0:40]
    tags = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, side), (279, 999)]
    tiff = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags))
    tiff += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + b"\0" * 999
    jpeg = bytearray(picture_files()["JPEG"])
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", side, side)
    gif = b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, side, side, 0)
    webp = bytearray(picture_files()["WEBP"])
    at = webp.index(b"VP8L") + 9
    webp[at : at + 4] = struct.pack("<I", 16382 | 16382 << 14)  # as large as this format goes
    return {
        "a.png": b"\x89PNG\r\n\x1a\n" + png + chunk(b"IEND", b""),
        "a.bmp": bmp + b"\0" * 999,
        "a.tif": tiff,
        "a.jpg": bytes(jpeg),
        "a.gif": gif + b"\2\2\x4c\1\0;",
        "a.webp": bytes(webp),
    }


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.jpg", "a.gif", "a.webp"])
def test_picture_that_claims_to_be_huge_is_refused_before_memory_is_taken(name, tmp_path):
    (tmp_path / name).write_bytes(bombs()[name])
    with memory_within(50 * MIB), pytest.raises(InputError, match=r"over (the limit of )?100 million pixels"):
        load_image(tmp_path / name)


def test_video_that_claims_to_be_huge_is_refused_before_memory_is_taken(tmp_path):
    def with_size(source: Path, old: bytes, new: bytes) -> Path:
        content = source.read_bytes()
        assert old in content
        source.write_bytes(content.replace(old, new))
        return source

    y4m = tmp_path / "a.y4m"
    y4m.write_bytes(b"YUV4MPEG2 W30000 H30000 F25:1 Ip C420\nFRAME\n" + b"\0" * 999)
    avi = ffmpeg(*pictures(0.2, "48x32"), "-c:v", "rawvideo", "-pix_fmt", "bgr24", tmp_path / "a.avi")
    mkv = ffmpeg(*pictures(0.2, "300x300"), "-c:v", "ffv1", tmp_path / "a.mkv")
    with memory_within(100 * MIB):
        for path in (
            y4m,
            with_size(avi, struct.pack("<ii", 48, -32), struct.pack("<ii", 100_000, -100_000)),
            with_size(mkv, b"\xb0\x82\x01\x2c\xba\x82\x01\x2c", b"\xb0\x82\x75\x30\xba\x82\x75\x30"),
        ):
            with pytest.raises(InputError, match=r"cannot read video '.*': it.*(150 million pixels|is no video)"):
                VideoReader(path)


def test_frame_that_grows_past_the_limit_later_in_the_stream_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setitem(opening.DECODER, "max_pixels", "10000")
    small, large = (clip(tmp_path / f"{size}.ts", seconds=0.4, size=size) for size in ("64x48", "640x480"))
    path = tmp_path / "joined.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with open_input(path) as container:
        video = main_video_stream(container, path)
        sizes = Counter()
        for packet in container.demux(video):
            try:
                sizes.update((frame.width, frame.height) for frame in packet.decode())
            except Exception:
                sizes["refused"] += 1
    assert sizes[64, 48] == 10
    assert sizes[640, 480] == 0
    assert sizes["refused"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.ckpt"
    torch.manual_seed(0)
    save_checkpoint(path, StylizationNet((2, 2, 2), residual_blocks=1), "tiny", {"steps": 3})
    return path


def header_and_rest(path: Path) -> tuple[dict, bytes]:
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def joined(header: object, rest: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def test_checkpoint_that_claims_to_be_huge_is_refused_before_memory_is_taken(tiny, tmp_path):
    header, rest = header_and_rest(tiny)
    name = next(key for key in header if key.endswith("weight"))
    large = dict(json.loads(header["__metadata__"]["fastnst"]), net={"channels": [1024] * 3, "residual_blocks": 64})
    foreign = {"a": {"dtype": "U8", "shape": [200 * MIB], "data_offsets": [0, 200 * MIB]}}
    with open(tmp_path / "foreign", "wb") as file:  # another program's model, whole: 200 MiB of nothing
        file.write(joined(foreign | {"__metadata__": header["__metadata__"]}, b""))
        file.truncate(file.tell() + 200 * MIB)
    for number, content in enumerate(
        (
            struct.pack("<Q", 2**62) + b"{}",
            struct.pack("<Q", 99_000_000) + b"{}",
            joined(header | {name: header[name] | {"shape": [2**40, 2**20], "data_offsets": [0, 2**61]}}, rest),
            joined(header | {name: header[name] | {"shape": [2**63, 2]}}, rest),
            joined(header | {"__metadata__": {"fastnst": json.dumps(large)}}, rest),
            joined(header | {"__metadata__": {"fastnst": "[" * 100_000}}, rest),
            joined(header | {"__metadata__": {"fastnst": "9" * 10_000}}, rest),
        )
    ):
        (tmp_path / str(number)).write_bytes(content)
    paths = [path for path in tmp_path.iterdir() if path.is_file()]
    assert len(paths) == 8
    with memory_within(100 * MIB):
        for path in paths:
            with pytest.raises(InputError):
                load_checkpoint(path)


def zipped(parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_training_checkpoint_that_unpacks_to_gigabytes_is_refused_before_memory_is_taken(tmp_path):
    torch.save({"recipe": {}, "state_dict": {"a": torch.arange(100.0)}}, tmp_path / "good")
    assert load_training_checkpoint(tmp_path / "good")["state_dict"]["a"][99] == 99
    with zipfile.ZipFile(tmp_path / "good") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    pkl, data = (next(name for name in parts if name.endswith(end)) for end in ("data.pkl", "data/0"))
    call = b"\x80\x02}X\x06\x00\x00\x00recipecbuiltins\nbytearray\nJ\x00\x00\x00\x40\x85Rs."  # bytearray(2**30)
    (tmp_path / "call").write_bytes(zipped(parts | {pkl: call}))
    (tmp_path / "bomb").write_bytes(zipped(parts | {data: b"\0" * 300 * MIB}, zipfile.ZIP_DEFLATED))
    assert parts[pkl].count(b"Kd") == 2  # of storage and tensor: 100 numbers
    (tmp_path / "storage").write_bytes(zipped(parts | {pkl: parts[pkl].replace(b"Kd", b"J\0\0\0\x20")}))
    with memory_within(50 * MIB):
        for name in ("call", "bomb", "storage"):
            with pytest.raises(InputError, match="damaged"):
                load_training_checkpoint(tmp_path / name)


# damaged files


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The bytes with some of them flipped, replaced, cut out, doubled or zeroed, most often near the start."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        size = len(damaged)
        at = rng.randrange(min(size, rng.choice((64, 512, size)))) if size else 0
        length = rng.choice((1, 2, 4, 40))
        match rng.randrange(7):
            case 0:
                damaged[at : at + 1] = bytes([damaged[at] ^ 1 << rng.randrange(8)]) if size else b""
            case 1:
                damaged[at : at + length] = rng.randbytes(length)
            case 2:
                del damaged[at : at + rng.choice((1, 40, size))]
            case 3:
                damaged[at:at] = damaged[rng.randrange(size or 1) :][: rng.choice((4, 400))]
            case 4:
                damaged[at : at + length] = b"\0" * length
            case 5:
                damaged[at : at + length] = b"\xff" * length
            case 6:
                damaged[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice((0, 1, 2**16, 2**31 - 1, 2**31)))
    return bytes(damaged)


def fuzzed(path: Path, contents, load) -> Counter:
    """How many of the contents, each written to `path`, load and how many are refused in one line."""
    ends = Counter()
    for content in contents:
        path.write_bytes(content)
        fault = ""
        try:
            load(path)
        except (InputError, ConfigError) as error:
            fault = str(error)
        assert not fault or (str(path) in fault and "\n" not in fault)
        ends["refused" if fault else "loads"] += 1
    return ends


def finite_net(path: Path) -> None:
    loaded = load_checkpoint(path)
    assert all(value.isfinite().all() for value in loaded.net.state_dict().values())
    assert type(loaded.recipe) is dict


def test_damaged_checkpoints_load_whole_or_are_refused_in_one_line(tiny, tmp_path):
    rng, whole = random.Random(0), tiny.read_bytes()
    header, rest = header_and_rest(tiny)

    def edited() -> bytes:
        """A valid safetensors file whose header says something else."""
        text = json.dumps(header)
        for _ in range(rng.choice((1, 2))):
            numbers = list(re.finditer(r"\d+|true|false|null|F16|encoder|weight|channels", text))
            found = rng.choice(numbers)
            values = ("0", "1", "-1", "1e400", "2.5", "null", "[]", "{}", "9" * 20, "F32", "BOOL", "F8_E4M3")
            text = text[: found.start()] + rng.choice(values) + text[found.end() :]
        return struct.pack("<Q", len(text)) + text.encode() + rest

    contents = [mutated(whole, rng) for _ in range(900)] + [edited() for _ in range(500)]
    with memory_within(100 * MIB):
        ends = fuzzed(tmp_path / "a.ckpt", contents, finite_net)
    assert ends["refused"] > 700
    assert ends["loads"] > 20


def test_damaged_training_checkpoints_load_whole_or_are_refused_in_one_line(tmp_path):
    rng = random.Random(0)
    net = torch.nn.Conv2d(2, 2, 3)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2, 4, 4)).sum().backward()
    optimizer.step()
    content = {
        "recipe": {"seed": 0}, "state_dict": net.state_dict(), "optimizer_states": [optimizer.state_dict()],
        "rng": torch.get_rng_state()[:64], "global_step": 1,
    }  # fmt: skip
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / "whole.ckpt")
    whole = (tmp_path / "whole.ckpt").read_bytes()
    with zipfile.ZipFile(tmp_path / "whole.ckpt") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def edited() -> bytes:
        """A valid zip file, its checksums right, with a damaged part."""
        name = rng.choice([name for name in parts if name.endswith((".pkl", "data/0", "version", "byteorder"))])
        return zipped(parts | {name: mutated(parts[name], rng)})

    contents = [mutated(whole, rng) for _ in range(400)] + [edited() for _ in range(600)]
    with memory_within(100 * MIB):
        ends = fuzzed(tmp_path / "last.ckpt", contents, load_training_checkpoint)
    assert ends["refused"] > 500
    assert ends["loads"] > 20


def picture_files() -> dict[str, bytes]:
    """A small picture in each format and in some of its kinds."""
    noise = np.random.default_rng(0).integers(0, 256, (13, 17, 4), dtype=np.uint8)
    rgba = Image.fromarray(noise)
    rgb, exif = rgba.convert("RGB"), Image.Exif()
    exif[0x0112] = 6
    kinds = {
        "JPEG": (rgb, {"exif": exif}),
        "JPEG CMYK": (rgb.convert("CMYK"), {"progressive": True}),
        "PNG": (rgba, {"exif": exif}),
        "PNG palette": (rgb.quantize(8), {"transparency": 0}),
        "PNG 16": (Image.fromarray(np.arange(221, dtype=np.uint16).reshape(13, 17) * 290), {}),
        "WEBP": (rgba, {"lossless": True}),
        "WEBP lossy": (rgb, {"exif": exif}),
        "TIFF": (rgb, {"exif": exif}),
        "TIFF lzw": (rgba, {"compression": "tiff_lzw"}),
        "TIFF jpeg": (rgb, {"compression": "jpeg"}),
        "GIF": (rgb.quantize(16), {}),
        "GIF moves": (rgb.quantize(16), {"save_all": True, "append_images": [rgb.rotate(90).quantize(16)]}),
        "BMP": (rgb, {}),
        "BMP palette": (rgb.quantize(4), {}),
    }
    files = {}
    for kind, (picture, options) in kinds.items():
        file = io.BytesIO()
        picture.save(file, kind.split()[0], **options)
        files[kind] = file.getvalue()
    return files


@pytest.mark.parametrize("kind", list(picture_files()))
def test_damaged_pictures_load_as_rgb_or_are_refused_in_one_line(kind, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(images, "MAX_PIXELS", 1_000_000)
    rng, whole = random.Random(kind), picture_files()[kind]

    def load(path: Path) -> None:
        picture = load_image(path)
        assert picture.mode == "RGB"
        assert picture.width * picture.height <= images.MAX_PIXELS

    with memory_within(100 * MIB):
        ends = fuzzed(tmp_path / "a", (mutated(whole, rng) for _ in range(200)), load)
    assert ends["refused"] > 20
    assert ends["loads"] > 0
    assert ends.total() == 200


def test_command_with_a_malicious_checkpoint_ends_in_one_line(tmp_path):
    torch.save(Payload(tmp_path / "pwned"), tmp_path / "a.ckpt")
    video = clip(tmp_path / "in.mp4", seconds=0.2, size="32x32")
    done = subprocess.run(
        [sys.executable, ROOT / "infer.py", f"video={video}", "ckpt=a.ckpt"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "pickle, which fastnst does not open" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "in.mp4"]
