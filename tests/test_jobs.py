from pathlib import Path

import pytest

from fastnst.jobs import Job, Source, find_sources, jobs_of


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
