import logging
import os
from pathlib import Path

import pytest
from PIL import Image

from fastnst.errors import FastnstError, InputError, OutputError
from fastnst.jobs import Job, Source, check_out, find_sources, jobs_of, one_batch, run_all


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["*.mp4", "[a.mp4,b.mp4]", "[ab].mp4", "a?.mp4", "[]", "x{1}.mp4", "**"])
def test_file_that_is_called_like_a_list_or_glob_is_that_file(name: str):
    put("a.mp4", "b.mp4", name)
    assert find_sources(name) == ([Source(Path(name))], False)


@pytest.mark.usefixtures("here")
def test_list_may_hold_files_folders_globs_and_quoted_commas():
    put("a.mp4", "b,c.mp4", "f/1.png", "f/0.MOV", "f/.hidden.mp4", "f/notes.txt", "g/x.mkv", "g/y.txt")
    sources, many = find_sources('[a.mp4, "b,c.mp4", f, g/*, missing.mp4, a.mp4]')
    folder = Path("f")
    assert many
    assert sources == [
        *(Source(Path("a.mp4")), Source(Path("b,c.mp4"))),
        *(Source(folder / "0.MOV", folder), Source(folder / "1.png", folder)),
        *(Source(Path("g/x.mkv")), Source(Path("missing.mp4"))),
    ]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("text", ["['b,c.mp4', it's.mp4]", '["b,c.mp4",it\'s.mp4]', "[ 'b,c.mp4' , it's.mp4 ]"])
def test_either_quotes_hold_a_comma_and_an_apostrophe_is_none(text: str):
    assert [str(source.path) for source in find_sources(text)[0]] == ["b,c.mp4", "it's.mp4"]
    assert [str(source.path) for source in find_sources("['tis.mp4,b.mp4]")[0]] == ["'tis.mp4", "b.mp4"]


@pytest.mark.usefixtures("here")
def test_glob_may_be_absolute_or_go_into_folders():
    put("a.mp4", "f/b.mp4")
    absolute = Path.cwd() / "a.mp4"
    assert find_sources(f"{Path.cwd()}/*.mp4") == ([Source(absolute)], True)
    assert find_sources("**/*.mp4") == ([Source(Path("a.mp4")), Source(Path("f/b.mp4"))], True)


def test_results_are_named_by_input_and_style_and_go_where_they_should(here: Path):
    sources = [Source(Path("x/a.avi")), Source(Path("b.png")), Source(Path("f/c.mp4"), Path("f"))]
    assert jobs_of(sources, None, "wave") == [
        Job(Path("x/a.avi"), Path("x/a_wave.mp4")),
        Job(Path("b.png"), Path("b_wave.png")),
        Job(Path("f/c.mp4"), here / "f_wave" / "c_wave.mp4"),
    ]
    assert [job.out.parent for job in jobs_of(sources, Path("o"), "wave")] == [Path("o")] * 3


def test_results_of_other_inputs_and_their_unfinished_parts_are_no_inputs():
    sources = [Source(Path(name)) for name in ("a.mp4", "a_wave.mp4", "a_wave.part.mp4", "a_picasso.mp4")]
    assert [job.source.name for job in jobs_of(sources, None, "wave")] == ["a.mp4", "a_picasso.mp4"]


@pytest.mark.parametrize(
    ("name", "form", "moves", "result"),
    [
        ("a.JPG", "JPEG", False, "a_s.JPG"), ("a.jfif", "JPEG", False, "a_s.jfif"), ("a.dat", "JPEG", False, "a_s.png"),
        ("a.avif", "AVIF", False, "a_s.avif"), ("a.gif", "GIF", False, "a_s.gif"), ("a.mp4", "PNG", False, "a_s.png"),
        ("a.gif", "GIF", True, "a_s.gif"), ("a.png", "PNG", True, "a_s.png"), ("a.apng", "PNG", True, "a_s.apng"),
        ("a.webp", "WEBP", True, "a_s.webp"), ("a.mp4", "GIF", True, "a_s.gif"), ("a.jpg", "WEBP", True, "a_s.webp"),
        ("a.avif", "AVIF", True, "a_s.mp4"),
    ],
)  # fmt: skip
def test_result_is_of_the_kind_that_the_content_is(name, form, moves, result, tmp_path):
    frames = [Image.new("RGB", (16, 12), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / name, form, **({"save_all": True, "append_images": frames[1:]} if moves else {}))
    [job] = jobs_of([Source(tmp_path / name)], None, "s")
    assert job.out == tmp_path / result
    check_out(job, overwrite=False)


def test_heic_becomes_jpeg_and_a_video_mp4(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "a.webm").touch()
    jobs = jobs_of([Source(tmp_path / "a.heic"), Source(tmp_path / "a.webm")], None, "s")
    assert [job.out.name for job in jobs] == ["a_s.jpg", "a_s.mp4"]


@pytest.mark.parametrize(
    ("name", "out"), [("a.png", "b.mp4"), ("a.png", "b.xyz"), ("a.webp", "b.xyz"), ("a.mp4", "b.jpg")]
)
def test_result_of_another_kind_is_refused_before_any_work(name, out, tmp_path):
    frames = [Image.new("RGB", (16, 12), colour) for colour in ("red", "blue")]
    if name != "a.mp4":
        frames[0].save(tmp_path / name, save_all=name != "a.png", append_images=frames[1:])
    with pytest.raises(FastnstError, match=f"no format '{Path(out).suffix}'"):
        check_out(Job(tmp_path / name, tmp_path / out), overwrite=False)


def test_names_in_the_table_are_of_one_line_and_the_table_is_whole(tmp_path, capsys, caplog):
    caplog.set_level(logging.ERROR)  # pytest-xdist cannot pass on a log with names that are no UTF-8
    odd = [os.fsdecode(b"caf\xe9.mp4"), "two\nlines.mp4", "\x1b[2J.mp4"]

    def fails(job):
        raise InputError(f"cannot read '{job.source}'")

    with pytest.raises(InputError, match="3 of 3 inputs failed"):
        run_all([Job(tmp_path / name, tmp_path / f"out {name}") for name in odd], fails, False, "text")
    lines = capsys.readouterr().out.splitlines()
    head, _, *rows = ([cell.strip() for cell in line.split("|")] for line in lines)
    assert [row[1] for row in [head, *rows]] == ["state", "failed", "failed", "failed"]
    for row, name in zip(rows, ("caf\\udce9.mp4", "two\\nlines", "\\x1b[2J"), strict=True):
        assert name in row[-2]


def test_home_and_file_addresses_in_a_list_name_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_sources(f"[~/a.mp4,file://{tmp_path}/b.mp4]")[0] == [
        Source(tmp_path / "a.mp4"),
        Source(tmp_path / "b.mp4"),
    ]


def test_the_same_batch_twice_at_once_is_refused_and_another_one_is_not(tmp_path):
    first, second = ([Job(tmp_path / "in.mp4", tmp_path / "out" / f"{name}.mp4")] for name in "ab")
    with one_batch(first):
        with pytest.raises(OutputError, match=f"process {os.getpid()} is making the same 1 results"), one_batch(first):
            pass
        with one_batch(second):
            pass
    assert list((tmp_path / "out").iterdir()) == []
