"""The nineteen corruptions of CIFAR-10-C (Hendrycks and Dietterich, 2019), of which Learning from Failure uses all.

Each is a function of images (N, H, W, 3) in 0..1, H = W, a level from 1 (weak) to 5, and a random generator; it returns
images of the same shape, which `corrupt` clips to 0..1. Parameters by level, `LEVELS`, are those of CIFAR-10-C.

Differences from its code
    1. Frost is procedural: the original lays photographs of frost over the images, which we do not ship.
    2. Water drops (spatter, levels 1 to 3) have as edges the outermost pixels of each drop; the original finds edges
       with Canny's detector.
    3. Between the steps of snow, spatter, motion blur and glass blur nothing is rounded to 8 bits.
    4. Affine maps (elastic) are computed exactly; the original's library rounds places to 1/32 pixel.
    5. Random numbers come from one generator for all images that get a corruption.
As there: motion blur is ImageMagick's, one-sided from each pixel, with places rounded; glass blur copies neighbours,
where the text says swaps; the zooms' last step is the one that floating-point arithmetic gives.
"""

import io
from collections.abc import Callable

import numpy as np
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy import ndimage

Corruption = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]

# Level 1 to 5. Lengths are in pixels, those of elastic in sides of the image; values of pixels are 0 to 1.
LEVELS: dict[str, tuple] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation
    "shot_noise": (500, 250, 100, 75, 50),  # photons
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # share of values
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),  # standard deviation, of a factor
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),  # sigma
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),  # radius, sigma of the edge
    "glass_blur": ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)),  # sigma, passes
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),  # radius, sigma
    "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),  # where the factors end
    "snow": (  # mean and standard deviation of the noise, zoom, threshold; radius and sigma of the smear; share kept
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),  # weights of image and frost
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),  # strength, decay from one scale to the next
    "spatter": (  # mean and standard deviation of the noise, sigma, threshold; strength of light, or sigma of mud; kind
        (0.62, 0.1, 0.7, 0.7, 0.5, "water"),
        (0.65, 0.1, 0.8, 0.7, 0.5, "water"),
        (0.65, 0.3, 1, 0.69, 0.5, "water"),
        (0.65, 0.1, 0.7, 0.69, 0.6, "mud"),
        (0.65, 0.1, 0.5, 0.68, 0.6, "mud"),
    ),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added to the value
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # factor
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),  # factor, offset
    "elastic": (  # amplitude and sigma of the shifts, jitter of the affine map
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
    "jpeg": (80, 65, 58, 50, 40),  # quality
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # factor
}


def corrupt(images: np.ndarray, name: str, level: int, generator: np.random.Generator) -> np.ndarray:
    """Images (N, H, W, 3) uint8 with the corruption `name`, truncated to 8 bits as in the original."""
    result = np.clip(CORRUPTIONS[name](images / 255, level, generator), 0, 1)
    return (255 * result + 1e-3).astype(np.uint8)  # the thousandth: 8-bit results stay what they are


# Noise


def gaussian_noise(images, level, generator):
    """Normal noise in every value."""
    return images + generator.normal(scale=LEVELS["gaussian_noise"][level - 1], size=images.shape)


def shot_noise(images, level, generator):
    """Poisson noise: a value of 1 stands for so many photons."""
    photons = LEVELS["shot_noise"][level - 1]
    return generator.poisson(images * photons) / photons


def impulse_noise(images, level, generator):
    """Salt and pepper: a share of all values becomes 0 or 1."""
    hit = generator.random(images.shape) < LEVELS["impulse_noise"][level - 1]
    return np.where(hit, generator.random(images.shape) < 0.5, images)


def speckle_noise(images, level, generator):
    """Normal noise in proportion to each value."""
    return images * (1 + generator.normal(scale=LEVELS["speckle_noise"][level - 1], size=images.shape))


# Blur


def gaussian_blur(images, level, generator):
    """Smoothing with a Gaussian."""
    return _smooth(images, LEVELS["gaussian_blur"][level - 1])


def defocus_blur(images, level, generator):
    """Smoothing with a disk whose edge is softened by a Gaussian of 3 x 3."""
    radius, softness = LEVELS["defocus_blur"][level - 1]
    y, x = np.mgrid[-2:3, -2:3]
    disk = (x**2 + y**2 <= radius**2).astype(float)
    kernel = ndimage.gaussian_filter(disk / disk.sum(), softness, radius=1)
    return ndimage.correlate(images, kernel[None, :, :, None], mode="mirror")


def glass_blur(images, level, generator):
    """Smoothed, each inner pixel replaced by a near one above or to the left once or twice, and smoothed again."""
    sigma, passes = LEVELS["glass_blur"][level - 1]
    result = _smooth(images, sigma)
    rows, columns = np.mgrid[2 : images.shape[1], 2 : images.shape[2]]
    for _ in range(passes):
        shift = generator.integers(-1, 1, size=(2, len(images), *rows.shape))  # -1 or 0
        result[:, 2:, 2:] = result[np.arange(len(images))[:, None, None], rows + shift[0], columns + shift[1]]
    return _smooth(result, sigma)


def motion_blur(images, level, generator):
    """Smeared to one side in a direction within 45 degrees of the horizontal, drawn for each image."""
    radius, sigma = LEVELS["motion_blur"][level - 1]
    return _smear(images, radius, sigma, generator.uniform(-45, 45, len(images)))


def zoom_blur(images, level, generator):
    """Mean of the image and its enlargements up to a factor, in steps of 0.01."""
    factors = np.arange(1, LEVELS["zoom_blur"][level - 1], 0.01)
    return (images + sum(_zoom(images, factor) for factor in factors)) / (1 + len(factors))


# Weather


def snow(images, level, generator):
    """Paler, with falling flakes: large values of noise, enlarged and smeared downwards; and the same upside down."""
    mean, deviation, zoom, threshold, radius, sigma, kept = LEVELS["snow"][level - 1]
    flakes = _zoom(generator.normal(mean, deviation, (*images.shape[:3], 1)), zoom)
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)
    flakes = _smear(flakes, radius, sigma, generator.uniform(-135, -45, len(images)))
    grey = images @ (0.299, 0.587, 0.114)
    pale = kept * images + (1 - kept) * np.maximum(images, 1.5 * grey[..., None] + 0.5)
    return pale + flakes + flakes[:, ::-1, ::-1]


def frost(images, level, generator):
    """Darker, under a bluish layer of crystals (difference 1)."""
    kept, weight = LEVELS["frost"][level - 1]
    return kept * images + weight * _frost_layer(images.shape, generator)


def fog(images, level, generator):
    """A fractal cloud is added, and the sum scaled back to the image's own range."""
    strength, decay = LEVELS["fog"][level - 1]
    most = images.max(axis=(1, 2, 3), keepdims=True)
    cloud = strength * _plasma(images.shape[:3], decay, generator)[..., None]
    return (images + cloud) * most / (most + strength)


def spatter(images, level, generator):
    """Drops of water (levels 1 to 3) or mud."""
    mean, deviation, sigma, threshold, strength, kind = LEVELS["spatter"][level - 1]
    liquid = _smooth(generator.normal(mean, deviation, (*images.shape[:3], 1)), sigma)
    if kind == "mud":
        covered = _smooth((liquid > threshold).astype(float), strength)
        covered[covered < 0.8] = 0
        return images * (1 - covered) + covered * np.array((63, 42, 20)) / 255
    drops = np.where(liquid < threshold, 0, np.floor(255 * liquid))
    drops *= np.stack([_relief(drop > 0) for drop in drops[..., 0]])[..., None]
    light = strength * drops / np.maximum(drops.max(axis=(1, 2, 3), keepdims=True), 1)
    return images + light * np.array((175, 238, 238)) / 255


# Colour and detail


def brightness(images, level, generator):
    """Added to the value of HSV: hue and saturation stay, and black becomes grey."""
    hsv = rgb_to_hsv(images)
    hsv[..., 2] = np.minimum(hsv[..., 2] + LEVELS["brightness"][level - 1], 1)
    return hsv_to_rgb(hsv)


def contrast(images, level, generator):
    """Values drawn towards the mean of their channel."""
    means = images.mean(axis=(1, 2), keepdims=True)
    return means + (images - means) * LEVELS["contrast"][level - 1]


def saturate(images, level, generator):
    """Saturation of HSV times a factor, plus an offset; what is grey has the hue 0, red."""
    factor, offset = LEVELS["saturate"][level - 1]
    hsv = rgb_to_hsv(images)
    hsv[..., 1] = np.minimum(factor * hsv[..., 1] + offset, 1)
    return hsv_to_rgb(hsv)


def elastic(images, level, generator):
    """A small random affine map, then every pixel moved a little, with neighbours moved alike."""
    amplitude, sigma, jitter = images.shape[1] * np.array(LEVELS["elastic"][level - 1])
    count, side = images.shape[:2]
    far, near = side // 2 + side // 3, side // 2 - side // 3
    corners = np.array(((far, far), (far, near), (near, near)), dtype=float)
    moved = corners + generator.uniform(-jitter, jitter, (count, 3, 2))
    back = np.linalg.solve(np.insert(moved, 2, 1, axis=2), np.broadcast_to(corners, moved.shape))  # (N, 3, 2)
    grid = np.mgrid[:side, :side].astype(float)
    images = _resample(images, np.einsum("ihw,nij->jnhw", np.insert(grid, 2, 1, axis=0), back), mode="mirror")
    shifts = generator.uniform(-1, 1, (2, *images.shape[:3]))
    shifts = amplitude * ndimage.gaussian_filter(shifts, (0, 0, sigma, sigma), mode="reflect", truncate=3)
    return _resample(images, grid[:, None] + shifts, mode="reflect")


def jpeg(images, level, generator):
    """Stored as a JPEG of low quality."""

    def stored(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=LEVELS["jpeg"][level - 1])
        return Image.open(file)

    return _each(images, stored)


def pixelate(images, level, generator):
    """Reduced by averaging over boxes, and enlarged again."""
    side = images.shape[1]
    small = int(side * LEVELS["pixelate"][level - 1])
    box = Image.Resampling.BOX
    return _each(images, lambda image: image.resize((small, small), box).resize((side, side), box))


CORRUPTIONS: dict[str, Corruption] = {
    function.__name__: function
    for function in (
        gaussian_noise, shot_noise, impulse_noise, speckle_noise, gaussian_blur, defocus_blur, glass_blur, motion_blur,
        zoom_blur, snow, frost, fog, spatter, brightness, contrast, saturate, elastic, jpeg, pixelate,
    )
}  # fmt: skip


# What several share


def _smooth(images: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(images, (0, sigma, sigma, 0), mode="nearest")


def _smear(images: np.ndarray, radius: int, sigma: float, degrees: np.ndarray) -> np.ndarray:
    """ImageMagick's motion blur: a half Gaussian over 2 radius + 1 pixels in each image's direction, places rounded."""
    side = np.arange(images.shape[1])
    taps = np.arange(2 * radius + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2))
    result, each = np.zeros_like(images), np.arange(len(images))[:, None, None]
    for tap, weight in zip(taps, weights / weights.sum(), strict=True):
        rows, columns = (
            np.clip(side + np.ceil(tap * direction(np.radians(degrees)) - 0.5).astype(int)[:, None], 0, side[-1])
            for direction in (np.sin, np.cos)
        )
        result += weight * images[each, rows[:, :, None], columns[:, None]]
    return result


def _zoom(images: np.ndarray, factor: float) -> np.ndarray:
    """The middle of square images, enlarged linearly to their own size."""
    side = images.shape[1]
    kept = int(np.ceil(side / factor))
    top = (side - kept) // 2
    matrix = ndimage.zoom(np.eye(side)[top : top + kept], (factor, 1), order=1)  # linear: the same for every row
    extra = (len(matrix) - side) // 2
    matrix = matrix[extra : extra + side]
    return np.moveaxis(matrix @ np.moveaxis(images, -1, 1) @ matrix.T, 1, -1)


def _plasma(shape: tuple[int, int, int], decay: float, generator: np.random.Generator) -> np.ndarray:
    """Fractal clouds (N, S, S) from 0 to 1, S a power of 2: the diamond-square algorithm on a torus.

    What is added at random shrinks by decay squared from one scale to the next.
    """
    count, side, _ = shape
    heights, spread, step = np.zeros(shape), 1.0, side

    def place(rows: slice, columns: slice, *neighbours: np.ndarray) -> np.ndarray:
        heights[:, rows, columns] = sum(neighbours) / 4 + generator.uniform(-spread, spread, neighbours[0].shape)
        return heights[:, rows, columns]

    while step >= 2:
        corner, between = slice(0, side, step), slice(step // 2, side, step)
        corners = heights[:, corner, corner]
        below, right = np.roll(corners, -1, 1), np.roll(corners, -1, 2)
        centres = place(between, between, corners, below, right, np.roll(below, -1, 2))
        place(corner, between, corners, right, centres, np.roll(centres, 1, 1))
        place(between, corner, corners, below, centres, np.roll(centres, 1, 2))
        step, spread = step // 2, spread / decay**2
    heights -= heights.min(axis=(1, 2), keepdims=True)
    return heights / heights.max(axis=(1, 2), keepdims=True)


def _frost_layer(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Needles in two directions that cross, denser and brighter where a cloud is."""
    count = shape[0]
    cloud = _plasma(shape[:3], 1.75, generator)[..., None]
    angle = generator.uniform(0, 360, count)
    needles = [
        _smear((generator.random((*shape[:3], 1)) < 0.12) * 1.0, 6, 4, angle + turn) for turn in (0, 60, 180, 240)
    ]
    layer = 0.25 + 0.35 * cloud + 1.2 * cloud * np.maximum.reduce(needles)
    return np.clip(layer, 0, 1) * np.array((0.85, 0.95, 1.0))


def _relief(drops: np.ndarray) -> np.ndarray:
    """How light falls on drops of water (H, W) bool: 0..255, from the distance to their edges, equalised, embossed."""
    edges = drops & ~ndimage.binary_erosion(drops, border_value=1)
    distance = np.minimum(ndimage.distance_transform_edt(~edges), 20) if edges.any() else np.full(drops.shape, 20.0)
    distance = np.floor(ndimage.uniform_filter(distance, 3, mode="mirror"))
    rank = np.searchsorted(np.sort(distance, axis=None), distance, side="right")  # how many pixels are not farther
    equalised = 255 * (rank - rank.min()) / max(rank.size - rank.min(), 1)
    embossed = ndimage.correlate(equalised, np.array(((-2, -1, 0), (-1, 1, 1), (0, 1, 2.0))), mode="mirror")
    return ndimage.uniform_filter(np.clip(embossed, 0, 255), 3, mode="mirror")


def _resample(images: np.ndarray, places: np.ndarray, mode: str) -> np.ndarray:
    """Values at places (2, N, H, W), rows and columns, between pixels."""
    each = np.broadcast_to(np.arange(len(images))[:, None, None], places.shape[1:])
    return np.stack([
        ndimage.map_coordinates(images[..., channel], (each, *places), order=1, mode=mode)
        for channel in range(images.shape[-1])
    ], axis=-1)  # fmt: skip


def _each(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    pictures = map(Image.fromarray, np.round(255 * images).astype(np.uint8))
    return np.stack([np.asarray(change(picture)) for picture in pictures]) / 255
