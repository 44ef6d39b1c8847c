"""CIFAR-10's corruptions: by hand, against other formulas for the same thing, and in limits."""

import colorsys
import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from segrepro.datasets import corruptions
from segrepro.datasets.corruptions import CORRUPTIONS, LEVELS, corrupt

SURE = {"gaussian_blur", "defocus_blur", "zoom_blur", "brightness", "contrast", "saturate", "jpeg", "pixelate"}


def rng(seed=0):
    return np.random.default_rng(seed)


class Zeros:
    """A generator that draws no change."""

    def uniform(self, low, high, size):
        return np.zeros(size)


@pytest.fixture(scope="module")
def photos():
    """Four smooth images with some detail, 8 bits."""
    images = ndimage.gaussian_filter(rng(9).random((4, 32, 32, 3)), (0, 3, 3, 0), mode="wrap")
    images = (images - images.min()) / np.ptp(images)
    images[:, 8:20, 10:24] *= 0.5  # an edge
    return (255 * images).astype(np.uint8)


def impulse(row=16, column=16):
    image = np.zeros((1, 32, 32, 3))
    image[0, row, column] = 1
    return image


def test_levels_are_those_of_the_authors_code():
    """As read from that code, not copied from ours. Glass blur there also has a greatest shift, 1 at every level."""
    assert LEVELS == {
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
        "shot_noise": (500, 250, 100, 75, 50),
        "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
        "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
        "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
        "glass_blur": ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)),
        "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),
        "snow": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
        "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        "elastic": ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        "jpeg": (80, 65, 58, 50, 40),
        "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
        "spatter": (
            (0.62, 0.1, 0.7, 0.7, 0.5, "water"), (0.65, 0.1, 0.8, 0.7, 0.5, "water"),
            (0.65, 0.3, 1, 0.69, 0.5, "water"), (0.65, 0.1, 0.7, 0.69, 0.6, "mud"), (0.65, 0.1, 0.5, 0.68, 0.6, "mud"),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_corruption_reads_its_own_levels(name, photos, monkeypatch):
    for level, own in enumerate(LEVELS[name], start=1):
        expected = corrupt(photos, name, level, rng())
        with monkeypatch.context() as only:
            only.setattr(corruptions, "LEVELS", {name: {level - 1: own}})
            assert np.array_equal(corrupt(photos, name, level, rng()), expected)
            with pytest.raises(KeyError):
                corrupt(photos, name, level % 5 + 1, rng())


@pytest.mark.parametrize("level", range(1, 6))
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_changes_images_as_its_generator_says(name, level, photos):
    before = photos.copy()
    result = corrupt(photos, name, level, rng(0))
    assert np.array_equal(photos, before)
    assert (result.shape, result.dtype) == (photos.shape, np.uint8)
    assert np.array_equal(result, corrupt(photos, name, level, rng(0)))
    assert np.array_equal(result, corrupt(photos, name, level, rng(1))) == (name in SURE)
    assert (photos != result).mean() > 0.005


@pytest.mark.parametrize("name", set(CORRUPTIONS) - {"elastic", "saturate", "spatter"})
def test_level_5_changes_more_than_level_1(name, photos):
    changes = [np.abs(corrupt(photos, name, level, rng()) - photos.astype(float)).mean() for level in (1, 5)]
    assert changes[1] > 1.3 * changes[0]


def test_results_are_clipped_and_truncated_but_8_bit_values_stay():
    grey = np.full((1, 32, 32, 3), 200, dtype=np.uint8)
    grey[0, :16] = 101
    # mean 150.5, times 0.15: 150.5 +- 7.425 is 157.925 and 143.075
    assert set(np.unique(corrupt(grey, "contrast", 5, rng()))) == {157, 143}
    every = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(2, 0).repeat(2, 1)[None, :, :, None].repeat(3, -1)
    assert np.array_equal(corrupt(every, "contrast", 5, rng()).min(), 108)
    noisy = corrupt(np.full((4, 32, 32, 3), 254, dtype=np.uint8), "gaussian_noise", 5, rng())
    assert noisy.max() == 255
    assert noisy.min() > 100  # nothing wrapped around
    for value in range(256):
        flat = np.full((1, 32, 32, 3), value, dtype=np.uint8)
        assert np.array_equal(corrupt(flat, "pixelate", 5, rng()), flat)


# Noise


def test_noise_has_the_stated_size():
    grey = np.full((20, 32, 32, 3), 0.4)
    assert CORRUPTIONS["gaussian_noise"](grey, 5, rng()).std() == pytest.approx(0.10, rel=0.02)
    assert CORRUPTIONS["gaussian_noise"](grey, 1, rng()).std() == pytest.approx(0.04, rel=0.02)
    assert CORRUPTIONS["speckle_noise"](grey, 5, rng()).std() == pytest.approx(0.2 * 0.4, rel=0.02)
    assert CORRUPTIONS["shot_noise"](grey, 5, rng()).var() == pytest.approx(0.4 / 50, rel=0.05)
    assert CORRUPTIONS["speckle_noise"](0 * grey, 5, rng()).max() == 0


def test_impulse_noise_replaces_its_share_by_salt_and_pepper_alike():
    result = CORRUPTIONS["impulse_noise"](np.full((20, 32, 32, 3), 0.4), 5, rng())
    assert (result == 1).mean() == pytest.approx(0.035, rel=0.1)
    assert (result == 0).mean() == pytest.approx(0.035, rel=0.1)
    assert (result == 0.4).mean() == pytest.approx(0.93, rel=0.01)


# Blur


def test_gaussian_blur_of_a_point():
    result = CORRUPTIONS["gaussian_blur"](impulse(), 5, rng())[0, :, :, 1]
    assert result.sum() == pytest.approx(1)
    assert result[16, 17] / result[16, 16] == pytest.approx(np.exp(-1 / 2))


def test_defocus_blur_of_a_point_is_the_disk():
    """Radius 1: five pixels. Radius 1.5: nine. With softened edges, of which little is left at 0.2 and 0.1."""
    cross, square = (CORRUPTIONS["defocus_blur"](impulse(), level, rng())[0, :, :, 0] for level in (4, 5))
    assert (cross[14:19, 14:19] > 0.1).astype(int).tolist() == [
        [0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0],
    ]  # fmt: skip
    assert np.allclose(square[15:18, 15:18], 1 / 9, atol=1e-6)
    assert cross.sum() == pytest.approx(1)
    weak = CORRUPTIONS["defocus_blur"](impulse(), 1, rng())[0, :, :, 0]  # a point, softened with sigma 0.4
    assert weak[16, 17] / weak[16, 16] == pytest.approx(np.exp(-1 / (2 * 0.4**2)))


def test_glass_blur_copies_near_pixels():
    """At level 1 the smoothing is too narrow to reach a neighbour."""
    images = rng().random((50, 32, 32, 3))
    result = CORRUPTIONS["glass_blur"](images, 1, rng(1))
    near = np.stack([images[:, 2 - down : 32 - down, 2 - right : 32 - right] for down in (0, 1) for right in (0, 1)])
    source = (result[:, 2:, 2:] == near).all(-1)
    assert (source.sum(0) == 1).all()
    assert np.allclose(source.mean((1, 2, 3)), 0.25, atol=0.01)
    assert np.array_equal(result[:, :2], images[:, :2])
    assert np.array_equal(result[:, :, :2], images[:, :, :2])


def test_motion_blur_takes_from_one_side_with_half_a_gaussian():
    images = np.concatenate([impulse(), impulse(), impulse()])
    right, above, slanted = corruptions._smear(images, 3, 1.5, np.array([0, -90, 45]))[..., 0]
    weights = np.exp(-(np.arange(7) ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    assert np.allclose(right[16, 10:17], weights[::-1])  # a pixel takes from those to its right
    assert np.allclose(above[16:23, 16], weights)  # and at -90 degrees from those above
    for image in (right, above, slanted):
        assert image.sum() == pytest.approx(1)
    # On the diagonal, steps of 1 / sqrt(2) are rounded: 0, 1, 1, 2, 3, 4, 4.
    assert np.allclose(
        slanted[[16, 15, 14, 13, 12], [16, 15, 14, 13, 12]],
        [weights[0], weights[1:3].sum(), weights[3], weights[4], weights[5:].sum()],
    )
    border = corruptions._smear(np.ones((1, 32, 32, 1)), 9, 2.5, np.array([30]))
    assert np.allclose(border, 1)


@pytest.mark.parametrize("factor", [1.0, 1.05, 1.25, 1.75, 2.25])
def test_zoom_enlarges_the_middle(factor, photos):
    kept = int(np.ceil(32 / factor))
    top = (32 - kept) // 2
    expected = ndimage.zoom(photos[0, top : top + kept, top : top + kept] / 255, (factor, factor, 1), order=1)
    extra = (len(expected) - 32) // 2
    result = corruptions._zoom(photos / 255, factor)
    assert result.shape == photos.shape
    assert np.allclose(result[0], expected[extra : extra + 32, extra : extra + 32])


def test_zoom_blur_keeps_the_centre_sharpest():
    result = CORRUPTIONS["zoom_blur"](np.ones((1, 32, 32, 3)), 5, rng())
    assert np.allclose(result, 1)
    stripes = np.tile(np.arange(32) % 4 < 2, (1, 32, 1)).astype(float)[..., None].repeat(3, -1)
    result = CORRUPTIONS["zoom_blur"](stripes, 5, rng())[0, 16, :, 0]
    assert np.ptp(result[13:19]) > 2 * np.ptp(result[:6])


# Weather


def test_plasma_spans_0_to_1_and_is_smoother_where_it_decays_faster():
    rough, smooth = (corruptions._plasma((50, 32, 32), decay, rng()) for decay in (1.75, 3))
    for clouds in (rough, smooth):
        assert clouds.shape == (50, 32, 32)
        assert (clouds.min((1, 2)) == 0).all()
        assert (clouds.max((1, 2)) == 1).all()
    assert np.abs(np.diff(smooth)).mean() < 0.7 * np.abs(np.diff(rough)).mean()
    assert not np.array_equal(rough[0], rough[1])
    around = np.abs(rough - np.roll(rough, 1, 2))  # the torus: no seam between the first and the last column
    assert around[:, :, 0].mean() < 1.5 * around.mean()


def test_fog_worked_by_hand():
    assert CORRUPTIONS["fog"](np.zeros((1, 32, 32, 3)), 5, rng()).max() == 0  # scaled back to a black image's range
    white = CORRUPTIONS["fog"](np.ones((1, 32, 32, 3)), 5, rng())
    assert white.max() == pytest.approx(1)
    assert white.min() == pytest.approx(1 / 2.5)


def test_snow_brightens_and_falls():
    images = np.full((200, 32, 32, 3), 0.3)
    result = CORRUPTIONS["snow"](images, 2, rng())
    pale = 0.9 * 0.3 + 0.1 * (1.5 * 0.3 + 0.5)
    assert result.min() == pytest.approx(pale)
    flakes = (result - pale)[..., 0]
    assert np.allclose(flakes, flakes[:, ::-1, ::-1])
    down, across = (np.abs(np.diff(flakes, axis=axis)).mean() for axis in (1, 2))
    assert down < 0.8 * across  # streaks are nearer to the vertical


def test_frost_is_a_layer_over_a_darker_image():
    layer = corruptions._frost_layer((50, 32, 32, 3), rng())
    assert 0 <= layer.min() < 0.4
    assert 0.8 < layer.max() <= 1
    assert 0.3 < layer.mean() < 0.8
    assert (layer[..., 2] >= layer[..., 0]).all()
    image = np.full((50, 32, 32, 3), 0.6)
    assert np.allclose(CORRUPTIONS["frost"](image, 5, rng()), 0.75 * 0.6 + 0.45 * layer)


def test_spatter_is_bright_drops_of_water_and_brown_ones_of_mud():
    images = np.full((20, 32, 32, 3), 0.5)
    water = CORRUPTIONS["spatter"](images, 3, rng()) - images
    assert water.min() == pytest.approx(0, abs=1e-9)
    assert np.allclose(water[..., 0] * 238, water[..., 1] * 175)
    assert np.allclose(water[..., 1].max((1, 2)), 0.5 * 238 / 255)
    assert 0.05 < (water[..., 0] > 1e-9).mean() < 0.5
    mud = CORRUPTIONS["spatter"](images, 5, rng())
    covered = (0.5 - mud[..., 0]) / (0.5 - 63 / 255)
    assert np.allclose(0.5 + covered * (20 / 255 - 0.5), mud[..., 2])
    assert ((covered < 1e-9) | (covered > 0.8 - 1e-9)).all()
    assert 0.02 < (covered > 0).mean() < 0.3


def test_relief_of_no_drops_and_of_nothing_but_drops():
    for drops in (np.zeros((32, 32), dtype=bool), np.ones((32, 32), dtype=bool)):
        relief = corruptions._relief(drops)
        assert np.isfinite(relief).all()


# Colour and detail


def check_hsv(name, level, photos, change):
    """The corruption is `change` of hue, saturation and value, pixel by pixel, also of black, grey and white ones."""
    images = photos / 255
    images[0, :12] = np.repeat((0, 0.6, 1), 4)[:, None, None]
    pixels = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in images.reshape(-1, 3).tolist()]
    assert np.allclose(CORRUPTIONS[name](images, level, rng()).reshape(-1, 3), pixels)


def test_brightness_is_added_to_the_value_of_hsv(photos):
    check_hsv("brightness", 5, photos, lambda hue, saturation, value: (hue, saturation, min(value + 0.3, 1)))


@pytest.mark.parametrize(("level", "factor", "offset"), [(1, 0.3, 0), (3, 1.5, 0), (5, 2.5, 0.2)])
def test_saturation_is_that_of_hsv(level, factor, offset, photos):
    check_hsv("saturate", level, photos, lambda hue, saturation, value: (
        hue, min(factor * saturation + offset, 1), value
    ))  # fmt: skip


def test_elastic_without_jitter_or_shift_is_the_image(photos):
    assert np.allclose(CORRUPTIONS["elastic"](photos / 255, 5, Zeros()), photos / 255)


def test_elastic_at_level_1_is_an_affine_map():
    """What is linear stays linear, where the border does not reach: the three corners move by 0.08 x 32 at most."""
    ramp = (np.mgrid[:32, :32][:, None, :, :, None].repeat(3, -1) / 32).astype(float)  # down, and to the right
    for seed in range(5):
        down, right = (CORRUPTIONS["elastic"](image, 1, rng(seed))[0, 12:20, 12:20, 0] for image in ramp)
        for result in (down, right):
            assert np.allclose(np.diff(result, 2, axis=0), 0)
            assert np.allclose(np.diff(result, 2, axis=1), 0)
        assert 0.5 < 32 * np.diff(down, axis=0).mean() < 1.5
        moved = np.abs(32 * down - np.arange(12, 20)[:, None])
        assert 0 < moved.max() < 2 * 0.08 * 32


def test_elastic_moves_neighbours_alike():
    ramp = (np.mgrid[:32, :32][0] / 32).astype(float)[None, :, :, None].repeat(3, -1)
    shift = 32 * (CORRUPTIONS["elastic"](ramp, 2, rng()) - ramp)[0, 8:24, 8:24, 0]
    assert np.abs(np.diff(shift, axis=1)).max() < 0.5  # of a pixel


def test_jpeg_and_pixelate(photos):
    result = corrupt(photos, "jpeg", 5, rng())
    file = io.BytesIO()
    Image.fromarray(photos[2]).save(file, "JPEG", quality=40)
    assert np.array_equal(result[2], np.asarray(Image.open(file)))
    noise = rng().integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    blocks = corrupt(noise, "pixelate", 5, rng())
    assert len(np.unique(blocks[0].reshape(32, -1), axis=0)) == 20  # int(0.65 x 32) different rows
