import numpy as np
import pytest
import torch

from segrepro.datasets.augmentation import KINDS, Augmentation
from segrepro.datasets.base import IGNORE
from segrepro.errors import InputError

RNG = np.random.default_rng(0)


def coded(height, width):
    """An image whose every pixel says its label, in a pattern coarse enough to survive resizing."""
    labels = np.kron(RNG.integers(0, 8, (height // 8, width // 8)), np.ones((8, 8))).astype(np.int16)
    image = np.repeat((20 + 30 * labels)[..., None], 3, axis=2).astype(np.uint8)
    return image, labels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("crop_size", [None, (32, 48), (80, 56)])  # of images of 64 x 96
def test_shapes_types_and_determinism(kind, crop_size):
    image, labels = coded(64, 96)
    augment = Augmentation(kind, crop_size)
    first, again, other = augment(image, labels, 1), augment(image, labels, 1), augment(image, labels, 2)
    assert first[0].shape == (3, *(crop_size or (64, 96)))
    assert first[1].shape == (crop_size or (64, 96))
    assert first[0].dtype == torch.uint8
    assert first[1].dtype == torch.int16
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    if kind in ("scale_crop", "resized_crop") or crop_size:
        assert not torch.equal(first[1], other[1])


@pytest.mark.parametrize("kind", ["none", "flip"])
def test_image_and_mask_stay_together_exactly(kind):
    image, labels = coded(64, 96)
    for seed in range(20):
        out_image, out_labels = Augmentation(kind, (80, 56))(image, labels, seed)
        padded = out_labels == IGNORE
        assert padded.sum() >= 16 * 56
        assert (out_image[:, padded] == 0).all()
        assert torch.equal(out_image[0][~padded].long(), 20 + 30 * out_labels[~padded].long())


@pytest.mark.parametrize("kind", ["scale_crop", "resized_crop"])
def test_image_and_mask_stay_together_when_resized(kind, monkeypatch):
    """Without colour jitter grey values agree with labels, except at borders of patches, where resizing mixes them."""
    image, labels = coded(128, 192)
    agreement, scales = [], set()
    for seed in range(20):
        augment = Augmentation(kind, (96, 128))
        monkeypatch.setattr(augment, "_colours", lambda *sample: sample)
        out_image, out_labels = augment(image, labels, seed)
        known = out_labels != IGNORE
        decoded = ((out_image[0].float() - 20) / 30).round()
        agreement.append((decoded == out_labels)[known].float().mean().item())
        scales.add(int((out_labels[:, 1:] != out_labels[:, :-1]).sum()))
        assert set(out_labels.unique().tolist()) <= {IGNORE, *range(8)}
    assert min(agreement) > 0.6
    assert np.mean(agreement) > 0.75  # a mirrored mask beside an unmirrored image would agree in 1 of 8 pixels
    assert len(scales) > 10


def test_flip_mirrors_half_the_time():
    image, labels = coded(16, 32)
    mirror = torch.tensor(labels).flip(1)
    assert 70 < sum(torch.equal(Augmentation("flip")(image, labels, seed)[1], mirror) for seed in range(200)) < 130


def test_scale_crop_pads_only_what_the_image_does_not_cover():
    """A crop as large as the image is padded only when the image shrinks, by 3/4 at most (scale 1/2)."""
    image, labels = coded(64, 64)
    crops = [Augmentation("scale_crop")(image, labels, seed)[1] for seed in range(100)]
    shares = [(crop == IGNORE).float().mean().item() for crop in crops]
    assert 0.6 < max(shares) <= 0.76
    assert 0.5 < np.mean([share == 0 for share in shares]) < 0.85  # two thirds of U(0.5, 2) enlarge


def test_none_with_a_fitting_crop_changes_nothing():
    image, labels = coded(16, 32)
    for crop_size in (None, (16, 32)):
        out_image, out_labels = Augmentation("none", crop_size)(image, labels, 3)
        assert np.array_equal(out_image.permute(1, 2, 0).numpy(), image)
        assert np.array_equal(out_labels.numpy(), labels)


def test_global_generator_and_input_are_left_alone():
    image, labels = coded(32, 32)
    copy = image.copy()
    state = torch.get_rng_state()
    Augmentation("resized_crop", (16, 16))(image, labels, 5)
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(image, copy)


def ramps(height, width):
    """An image whose first two channels say the row and the column of each pixel."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, 0 * rows], axis=2).astype(np.uint8), np.zeros((height, width), np.int16)


def test_resized_crop_takes_a_quarter_to_all_and_wider_than_high(monkeypatch):
    augment = Augmentation("resized_crop", (40, 60))
    monkeypatch.setattr(augment, "_colours", lambda *sample: sample)
    area, ratio = [], []
    for seed in range(400):
        image = augment(*ramps(160, 240), seed)[0].float()
        # what 32 of 40 rows and 48 of 60 columns span, to a pixel or so
        height = (image[0, 36, 30] - image[0, 4, 30]).item() / 0.8
        width = (image[1, 20, 54] - image[1, 20, 6]).abs().item() / 0.8
        area.append(height * width / (160 * 240))
        ratio.append(width / height)
    assert min(area) == pytest.approx(0.25, abs=0.01)
    assert max(area) == pytest.approx(1, abs=0.06)  # nearly all has nearly the image's shape, which is seldom drawn
    assert [min(ratio), max(ratio)] == pytest.approx([1.1, 1.6], abs=0.03)


def test_pad_crop_shifts_by_up_to_four_pixels():
    shifts = []
    for seed in range(400):
        image = Augmentation("pad_crop")(*ramps(16, 32), seed)[0].int()
        image = image.flip(2) if image[1, 8, 16] > image[1, 8, 17] else image  # as it was before it was mirrored
        shifts.append((image[0, 8, 16].item() - 8, image[1, 8, 16].item() - 16))
    rows, columns = zip(*shifts, strict=True)
    assert set(rows) == set(columns) == set(range(-4, 5))


@pytest.mark.parametrize("kind", ["scale_crop", "resized_crop"])
def test_brightness_contrast_and_saturation_vary_by_three_tenths(kind, monkeypatch):
    """Read off patches that are dark, coloured and bright; their luminances are 30, 90 and 150."""
    image = np.kron(np.array([[[30, 30, 30], [150, 60, 88], [150, 150, 150]]]), np.ones((8, 8, 1))).astype(np.uint8)
    labels, factors = np.zeros((8, 24), dtype=np.int16), []
    for seed in range(200):
        augment = Augmentation(kind)
        monkeypatch.setattr(augment, "_crop", lambda *sample: sample)
        out_image, out_labels = augment(image, labels, seed)
        left, coloured, right = out_image[:, 4, [4, 12, 20]].double().T
        brightness = (left + right).mean() / 180
        contrast = (left - right).abs().mean() / 120 / brightness
        saturation = (coloured[0] - coloured[1]) / 90 / brightness / contrast
        factors.append([brightness.item(), contrast.item(), saturation.item()])
        assert (out_labels == 0).all()
    np.testing.assert_allclose(np.min(factors, axis=0), 0.7, atol=0.03)
    np.testing.assert_allclose(np.max(factors, axis=0), 1.3, atol=0.03)


def test_pads_tells_which_images_are_smaller_than_the_crop():
    assert Augmentation("flip", (33, 32)).pads((32, 64))
    assert not Augmentation("flip", (32, 64)).pads((32, 64))
    assert not Augmentation("resized_crop", (64, 64)).pads((32, 32))  # enlarges instead
    assert not Augmentation("scale_crop", None).pads((32, 32))


def test_unknown_kind_lists_the_valid_ones():
    with pytest.raises(InputError, match="augmentation.*'mixup'.*none, flip, pad_crop, scale_crop, resized_crop"):
        Augmentation("mixup")
