import http.server
import io
import threading
import zipfile
from functools import partial
from pathlib import Path

import pytest

from fastnst.errors import EnvironmentFault
from fastnst.training.download import download
from fastnst.training.photos import find_photos


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
def test_download_continues_where_it_stopped(server, share, tmp_path, photo_folder):
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
