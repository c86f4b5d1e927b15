import shutil

import numpy as np
import pytest
import torch
from media import silent
from runs import make_content, make_module, make_trainer

from fastnst.errors import ConfigError
from fastnst.settings import DataSettings
from fastnst.training.clips import FramePair
from fastnst.training.content import Items, PhotosAndClips, StepSampler, collate, find_items, in_tensors, split_photos
from fastnst.training.photos import Photos, find_photos


def batches(count, **changes):
    settings = {"photos": 10, "batch_size": 4, "seed": 0, "first_step": lambda: 0, **changes}
    iterator = iter(StepSampler(**settings))
    return [next(iterator) for _ in range(count)]


def test_every_photo_comes_once_before_any_comes_again():
    photos = [photo for batch in batches(5) for photo, _ in batch]
    assert sorted(photos[:10]) == sorted(photos[10:]) == list(range(10))
    assert photos[:10] != photos[10:]


def test_sampler_begins_at_the_step_it_is_told():
    assert batches(8)[5:] == batches(3, first_step=lambda: 5)


def test_another_seed_gives_another_order():
    assert [photo for photo, _ in batches(2, seed=1)[0]] != [photo for photo, _ in batches(2)[0]]


def test_two_ranks_share_the_batch_of_one():
    one, first, second = batches(3), batches(3, rank=0, ranks=2), batches(3, rank=1, ranks=2)
    assert [sorted(a + b) for a, b in zip(first, second, strict=True)] == [sorted(batch) for batch in one]


def test_workers_do_not_change_the_result(tiny_vgg, photo_folder, tmp_path):
    nets = []
    for workers in (0, 2):
        module = make_module(tiny_vgg, max_steps=3)
        make_trainer(tmp_path, 3).fit(module, make_content(photo_folder, workers))
        nets.append(module.state_dict())
    assert all(torch.equal(nets[0][key], nets[1][key]) for key in nets[0])


def test_batches_are_arrays_which_need_no_shared_memory(photo_folder):
    content = make_content(photo_folder)
    batch = next(iter(content.val_dataloader()))
    assert type(batch["content"]) is np.ndarray
    assert not [value for value in batch.values() if isinstance(value, torch.Tensor)]
    assert torch.equal(in_tensors(batch)["content"], content.validation_pictures())


def test_validation_photos_are_kept_out_of_training_and_evenly_spread(photo_folder):
    paths, _ = find_photos(photo_folder)
    training, aside = split_photos(paths, 4)
    assert aside == paths[::3]
    assert sorted(training + aside) == paths


@pytest.mark.parametrize(
    ("photos", "validation", "message"),
    [
        (1, 1, "1 photo is too few"),
        (12, 100, "over half of the 12 photos; give at most data.validation=6"),
        (12, 7, "7"),
    ],
)
def test_too_few_photos_fail(photos, validation, message, photo_folder):
    with pytest.raises(ConfigError, match=message):
        split_photos(find_photos(photo_folder)[0][:photos], validation)


def test_fingerprint_tells_photos_apart(photo_folder):
    paths, _ = find_photos(photo_folder)
    whole = Items(*split_photos(paths, 2)).fingerprint()
    assert whole == Items(*split_photos(list(paths), 2)).fingerprint()
    assert whole != Items(*split_photos(paths[1:], 2)).fingerprint()


def test_more_than_one_bad_file_in_a_hundred_fails_unless_allowed(photo_folder, tmp_path, capsys):
    for path in photo_folder.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "page.jpg").write_text("<html>")
    with pytest.raises(
        ConfigError, match=r"1 of 13 files in data\.root=.*page\.jpg \(not a picture\).*data\.max_bad=0\.08"
    ) as failure:
        find_items(DataSettings(root=str(tmp_path)))
    assert failure.value.exit_status == 2
    items = find_items(DataSettings(root=str(tmp_path), max_bad=0.08))
    assert (len(items.training), len(items.validation)) == (8, 4)
    assert "skipped 1 files" in capsys.readouterr().err


def test_clips_beside_photos_give_half_of_the_crops_and_validate_nothing(photo_folder, tmp_path):
    (tmp_path / "clips").mkdir()
    clip = silent(tmp_path / "clips" / "a.avi", "-c:v", "mjpeg", seconds=0.4, size="64x48", rate=10)
    items = find_items(DataSettings(root=str(photo_folder), clips=str(tmp_path / "clips"), validation=2))
    assert {pair.path for pair in items.beside} == {clip}
    training, validation = items.crops(32, flat=0.0)
    assert isinstance(training, PhotosAndClips)
    assert isinstance(validation, Photos)
    drawn = [training[(0, (0, step, 0))] for step in range(24)]
    filmed = ["filmed" in item for item in drawn]
    assert 6 <= sum(filmed) <= 18
    again = training[(0, (0, filmed.index(True), 0))]
    assert torch.equal(again["content"], drawn[filmed.index(True)]["content"])
    batch = in_tensors(collate(drawn[:6]))
    assert [after is not None for after in batch["filmed"]] == filmed[:6]
    assert batch["content"].shape == (6, 3, 32, 32)


def test_clips_alone_are_trained_on_as_pairs(tmp_path):
    silent(tmp_path / "a.mkv", seconds=1, size="64x48", rate=10)
    items = find_items(DataSettings(source="clips", root=str(tmp_path), validation=1))
    assert all(isinstance(item, FramePair) for item in (*items.training, *items.validation))
    assert len(items.validation) == 1
