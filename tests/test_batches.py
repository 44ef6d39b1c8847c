import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from splits import ArraySplit

from segrepro.datasets import batches, folder
from segrepro.datasets.base import IGNORE
from segrepro.datasets.batches import InMemory, evaluation_batches, in_memory, training_batches
from segrepro.errors import InputError


def split_of(count, size=(8, 12)):
    rng = np.random.default_rng(1)
    labels = [rng.integers(-1, 3, size) for _ in range(count)]
    return ArraySplit(labels, [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)])


def draw(split, start, stop, **changes):
    options = {"augmentation": "scale_crop", "crop_size": (6, 8), "batch_size": 4, "seed": 3, **changes}
    return list(training_batches(split, start=start, stop=stop, **options))


def assert_same(some, others):
    assert len(some) == len(others) > 0
    for a, b in zip(some, others, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)
        assert torch.equal(a.index, b.index)
        assert a.sources == b.sources


def test_contract_of_a_batch():
    (batch,) = draw(split_of(5), 0, 1)
    assert batch.images.shape == (4, 3, 6, 8)
    assert batch.images.dtype == torch.uint8
    assert batch.labels.shape == (4, 6, 8)
    assert batch.labels.dtype == torch.int64
    assert batch.labels.min() >= IGNORE
    assert batch.sources == [f"array {i}" for i in batch.index]
    moved = batch.to("meta")
    assert moved.images.device.type == moved.labels.device.type == moved.index.device.type == "meta"


def test_an_iteration_depends_on_seed_and_number_alone():
    split = split_of(7)
    whole = draw(split, 0, 6)
    assert_same(whole[2:5], draw(split, 2, 5))
    assert_same(whole[2:5], draw(split, 2, 5, workers=2))
    assert not torch.equal(whole[0].images, draw(split, 0, 1, seed=4)[0].images)


def test_processes_share_the_global_batch():
    split = split_of(7)
    whole = draw(split, 1, 5)
    parts = [draw(split, 1, 5, rank=rank, world=2) for rank in range(2)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(batch.images, torch.cat([first.images, second.images]))
        assert torch.equal(batch.labels, torch.cat([first.labels, second.labels]))
        assert batch.sources == first.sources + second.sources


def test_every_epoch_is_another_permutation():
    epochs = torch.cat([batch.index for batch in draw(split_of(6), 0, 9)]).reshape(6, 6)  # batches of 4 run across
    assert (epochs.sort(1).values == torch.arange(6)).all()
    assert len({tuple(epoch.tolist()) for epoch in epochs}) > 3


def test_augmentation_differs_between_epochs():
    first, second = draw(split_of(1), 0, 2, batch_size=1)
    assert first.index == second.index
    assert not torch.equal(first.images, second.images)


def test_repeats_count_within_an_epoch_and_vary():
    (epoch,) = draw(split_of(4), 0, 1, batch_size=7, repeats=np.array([2, 0, 1, 4]))
    assert torch.bincount(epoch.index, minlength=4).tolist() == [2, 0, 1, 4]
    copies = epoch.images[epoch.index == 3]
    assert not any(torch.equal(copies[0], copy) for copy in copies[1:])


def test_batch_larger_than_the_data_set():
    (batch,) = draw(split_of(3), 0, 1, batch_size=8)
    assert torch.bincount(batch.index, minlength=3).min() >= 2


def test_the_global_generator_is_not_touched():
    state = torch.get_rng_state()
    draw(split_of(3), 0, 2)
    list(evaluation_batches(split_of(3), batch_size=2, multiple=4))
    assert torch.equal(state, torch.get_rng_state())


def test_padding_is_said_once():
    split = split_of(5)
    with pytest.warns(UserWarning, match=r"crop_size \(16, 12\).*array \d.*\(8, 12\).*padded") as caught:
        (batch, *_) = draw(split, 0, 5, augmentation="none", crop_size=(16, 12))
    assert len(caught) == 1
    assert ((batch.labels == IGNORE).sum((1, 2)) >= 8 * 12).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(split, 0, 5, augmentation="none", crop_size=(8, 12))


def test_sizes_that_differ_need_a_crop():
    split = ArraySplit([np.zeros((8, 8)), np.zeros((8, 9))])
    with pytest.raises(InputError, match=r"array \d .*\(8, \d\).*array \d .*\(8, \d\).*crop_size"):
        draw(split, 0, 1, batch_size=2, crop_size=None, augmentation="none")
    assert draw(split, 0, 1, batch_size=2, crop_size=(4, 4))[0].labels.shape == (2, 4, 4)


def test_impossible_parameters():
    with pytest.raises(InputError, match="batch_size 4.*3 processes"):
        draw(split_of(3), 0, 1, world=3)
    with pytest.raises(InputError, match="No training image"):
        draw(split_of(3), 0, 1, repeats=np.zeros(3, dtype=int))
    with pytest.raises(InputError, match="augmentation"):
        draw(split_of(3), 0, 1, augmentation="cutout")


class Damaged(ArraySplit):
    def __getitem__(self, index):
        if index == 2:
            raise InputError("scene.png is damaged")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_arrive_as_they_were_raised(workers):
    split = Damaged([np.zeros((8, 8))] * 4)
    with pytest.raises(InputError, match="^scene.png is damaged$"):
        draw(split, 0, 3, workers=workers)
    with pytest.raises(InputError, match="^scene.png is damaged$"):
        list(evaluation_batches(split, batch_size=2, multiple=2, workers=workers))


def test_evaluation_pads_at_the_bottom_and_right():
    split = split_of(3, size=(5, 8))
    first, second = evaluation_batches(split, batch_size=2, multiple=4)
    assert first.index.tolist() == [0, 1]
    assert second.index.tolist() == [2]
    assert first.images.shape == (2, 3, 8, 8)
    assert first.labels.dtype == torch.int64
    assert np.array_equal(first.images[1, :, :5].permute(1, 2, 0).numpy(), split[1][0])
    assert np.array_equal(first.labels[1, :5].numpy(), split[1][1])
    assert (first.images[:, :, 5:] == 0).all()
    assert (first.labels[:, 5:] == IGNORE).all()


def test_evaluation_groups_sizes_and_shares_among_processes():
    split = ArraySplit([np.zeros(size) for size in [(4, 4), (4, 4), (4, 4), (8, 4), (7, 3), (4, 4)]])
    found = list(evaluation_batches(split, batch_size=2, multiple=4))
    assert [batch.index.tolist() for batch in found] == [[0, 1], [2], [3, 4], [5]]
    assert [tuple(batch.labels.shape[1:]) for batch in found] == [(4, 4), (4, 4), (8, 4), (4, 4)]
    for rank, share in enumerate([[0, 4], [1, 5], [2], [3]]):
        batches_of_rank = evaluation_batches(split, batch_size=2, multiple=4, rank=rank, world=4)
        assert torch.cat([batch.index for batch in batches_of_rank]).tolist() == share


def test_what_decoding_takes_is_added_up_from_the_files(tmp_path):
    for i, size in enumerate([(4, 6), (400, 300), (8, 5)]):  # the first says nothing about the others
        for kind, pixels in (("images", np.zeros((*size, 3))), ("masks", np.arange(size[0] * size[1]) % 2)):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels.reshape(*size, *pixels.shape[2:]).astype(np.uint8)).save(
                tmp_path / kind / f"{i}.png"
            )
    data = folder.load(tmp_path)
    for split in (data.train, data.val):
        decoded = sum(array.nbytes for i in range(len(split)) for array in split[i])
        assert split.decoded_bytes() == decoded


def test_in_memory_reads_each_sample_once(monkeypatch):
    split = split_of(3)
    kept = in_memory(split)
    assert isinstance(kept, InMemory)
    assert kept.fingerprint == split.fingerprint
    assert_same(draw(split, 0, 2), draw(kept, 0, 2))
    assert kept[1][0] is kept[1][0]
    monkeypatch.setattr(batches, "MEMORY_LIMIT", 3 * 8 * 12 * (3 + 2) - 1)
    assert in_memory(split) is split
