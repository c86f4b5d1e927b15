import http.server
import io
import struct
import threading
import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastnst.errors import ConfigError, EnvironmentFault
from fastnst.training.photos import (
    ContentPhotos,
    Photos,
    StepSampler,
    centre_box,
    cropped,
    download,
    find_photos,
    fingerprint,
    random_box,
    sample_photos,
)  # fmt: skip


def batches(count, **changes):
    settings = {"photos": 10, "batch_size": 4, "seed": 0, "first_step": lambda: 0, **changes}
    iterator = iter(StepSampler(**settings))
    return [next(iterator) for _ in range(count)]


def test_every_photo_comes_once_before_any_comes_again():
    photos = [photo for batch in batches(5) for photo, _ in batch]
    assert sorted(photos[:10]) == sorted(photos[10:]) == list(range(10))
    assert photos[:10] != photos[10:]


def test_sampler_goes_on_at_the_step_it_is_told():
    assert batches(8)[5:] == batches(3, first_step=lambda: 5)


def test_another_seed_gives_another_order():
    assert [photo for photo, _ in batches(2, seed=1)[0]] != [photo for photo, _ in batches(2)[0]]


def test_two_ranks_share_the_batch_of_one():
    one, first, second = batches(3), batches(3, rank=0, ranks=2), batches(3, rank=1, ranks=2)
    assert [sorted(a + b) for a, b in zip(first, second, strict=True)] == [sorted(batch) for batch in one]


def test_crop_is_a_function_of_its_key(photo_folder):
    photos = Photos(find_photos(photo_folder)[0], 48)
    first, again, other = photos[(3, (0, 1))], photos[(3, (0, 1))], photos[(3, (0, 2))]
    assert torch.equal(first["content"], again["content"])
    assert first["seed"] == again["seed"] != other["seed"]
    assert not torch.equal(first["content"], other["content"])


def test_soft_crops_are_the_same_crops_out_of_focus(photo_folder):
    paths, keys = find_photos(photo_folder)[0], [(3, (0, place)) for place in range(20)]
    sharp, half, soft = ([Photos(paths, 48, soft=share)[key]["content"] for key in keys] for share in (0.0, 0.5, 1.0))
    detail = [[crop.diff(dim=2).abs().mean() for crop in crops] for crops in (sharp, soft)]
    assert all(less < 0.9 * more for more, less in zip(*detail, strict=True))
    assert all(torch.allclose(a.mean(), b.mean(), atol=0.05) for a, b in zip(sharp, soft, strict=True))
    kept = sum(torch.equal(a, b) for a, b in zip(sharp, half, strict=True))
    assert 4 <= kept <= 16
    assert torch.equal(
        Photos(paths, 48, soft=1.0, augment=False)[keys[0]]["content"], Photos(paths, 48, False)[keys[0]]["content"]
    )


@pytest.mark.parametrize("size", [(40, 300), (300, 40), (1, 1), (33, 33)])
def test_crops_have_the_size_asked_for(size):
    image = Image.new("RGB", size, (10, 20, 30))
    for box in (random_box(size, np.random.default_rng(0)), centre_box(size)):
        content = cropped(image, 64, *box)
        assert content.shape == (3, 64, 64)
        torch.testing.assert_close(content[:, 0, 0] * 255, torch.tensor([10.0, 20.0, 30.0]))


def test_unusable_files_are_named_with_the_reason(photo_folder, tmp_path):
    good = Image.open(photo_folder / "00.png")
    good.save(tmp_path / "good.jpg")
    good.convert("CMYK").save(tmp_path / "cmyk.jpg")
    good.quantize(8).save(tmp_path / "palette.png")
    (tmp_path / "sub").mkdir()
    Image.fromarray(np.full((50, 50), 40000, np.uint16)).save(tmp_path / "sub" / "deep.png")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_text("<html>")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "good.jpg").read_bytes()[:1500])
    (tmp_path / "live.jpg").write_bytes((tmp_path / "good.jpg").read_bytes() + bytes(9000))  # phones append a film
    (tmp_path / "bomb.png").write_bytes(bomb(30000))
    (tmp_path / "wide.png").write_bytes(bomb(11000))
    (tmp_path / "notes.txt").write_text("no picture")
    photos, bad = find_photos(tmp_path)
    assert [path.name for path in photos] == ["cmyk.jpg", "good.jpg", "live.jpg", "palette.png", "deep.png"]
    assert bad == {
        "empty.jpg": "empty file", "page.jpg": "not a picture", "dot.png": "only 1x1 pixels", "half.jpg": "truncated",
        "bomb.png": "over 100 million pixels", "wide.png": "over 100 million pixels",
    }  # fmt: skip
    data = Photos(photos, 32)
    assert all(data[(number, (0,))]["unreadable"] == [] for number in range(5))


def bomb(side: int) -> bytes:
    """A PNG whose header promises `side` x `side` pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rest = b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND")
    )
    return b"\x89PNG\r\n\x1a\n" + rest


def test_photo_is_turned_as_its_exif_says(photo_folder, tmp_path):
    upright, exif = Image.open(photo_folder / "00.png"), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.save(tmp_path / "a.png")
    upright.rotate(90, expand=True).save(tmp_path / "b.png", exif=exif)
    data = Photos([tmp_path / "a.png", tmp_path / "b.png"], 32)
    assert torch.equal(data[(0, (0,))]["content"], data[(1, (0,))]["content"])


def test_photo_that_breaks_later_is_replaced_and_named(photo_folder, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        Image.open(photo_folder / "01.png").save(tmp_path / name)
    photos, _ = find_photos(tmp_path)
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:600])
    item = Photos(photos, 32)[(0, (0,))]
    assert item["unreadable"] == ["a.jpg"]
    assert item["content"].std() > 0


@pytest.mark.parametrize("content", [None, "empty", "only bad"])
def test_folder_without_photos_fails(content, tmp_path):
    if content == "only bad":
        (tmp_path / "x.jpg").write_text("no")
    with pytest.raises(ConfigError, match="no folder" if content is None else "no photos in"):
        find_photos(tmp_path / "nothing" if content is None else tmp_path)


def test_validation_photos_are_kept_out_of_training(photo_folder):
    paths, _ = find_photos(photo_folder)
    photos = ContentPhotos(paths, 32, 4, workers=0, validation=4, seed=0)
    assert len(photos.validation_items) == 4
    assert sorted(photos.items + photos.validation_items) == paths
    assert photos.validation().shape == (4, 3, 32, 32)


def test_one_photo_fails(photo_folder):
    with pytest.raises(ConfigError, match="too few"):
        ContentPhotos([photo_folder / "00.png"], 32, 4, workers=0, validation=4, seed=0)


def test_sample_photos_come_with_pip_packages():
    photos = sample_photos()
    assert len(photos) >= 10
    assert {"astronaut.png", "china.jpg"} <= {path.name for path in photos}
    assert Photos(photos, 32)[(0, (0,))]["unreadable"] == []


def test_fingerprint_tells_folders_apart(photo_folder):
    paths, _ = find_photos(photo_folder)
    assert fingerprint(paths) == fingerprint(list(paths)) != fingerprint(paths[1:])


class Resumable(http.server.SimpleHTTPRequestHandler):
    """A file server that knows the Range header, as COCO's does."""

    asked: list[str | None]

    def do_GET(self):
        whole = Path(self.translate_path(self.path)).read_bytes()
        asked = self.headers.get("Range")
        self.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(whole):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(whole) - start))
        self.end_headers()
        self.wfile.write(whole[start:])

    def log_message(self, format, *_):
        pass


@pytest.fixture
def server(photo_folder, tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in photo_folder.iterdir():
            archive.write(path, f"train2017/{path.name}")
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "train2017.zip").write_bytes(packed.getvalue())
    handler = type("Handler", (Resumable,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "www"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/train2017.zip", handler.asked, packed.getvalue()
        server.shutdown()


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_download_goes_on_where_it_stopped(server, share, tmp_path, photo_folder):
    url, asked, whole = server
    root = tmp_path / "coco"
    root.mkdir()
    done = int(len(whole) * share)
    if done:
        (root / "train2017.zip.part").write_bytes(whole[:done])
    download(url, root)
    assert asked == [f"bytes={done}-" if done else None]
    names = [path.name for path in find_photos(root)[0]]
    assert names == sorted(path.name for path in photo_folder.iterdir())
    assert not list(root.glob("*.part"))
    download(url, root)
    assert len(asked) == 1  # complete: nothing is asked for again


def test_download_of_something_else_fails_and_leaves_no_zip(server, tmp_path):
    url, _, _ = server
    (tmp_path / "www" / "train2017.zip").write_bytes(b"sorry")
    with pytest.raises(EnvironmentFault, match="whole zip"):
        download(url, tmp_path / "coco")
    assert not list((tmp_path / "coco").glob("*.part"))


def test_download_without_a_server_fails_in_one_line(tmp_path):
    with pytest.raises(EnvironmentFault, match=r"cannot download.*data\.root=FOLDER"):
        download("http://127.0.0.1:9/x.zip", tmp_path / "coco")
