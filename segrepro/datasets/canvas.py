"""A pinhole camera and five shapes: what the synthetic scenes are drawn with.

Everything is stated in metres: X to the right of the camera's axis, Y above the ground, Z ahead. A point appears at

    x = vanishing + F X / Z          (in image widths)
    y = horizon + 2 F (C - Y) / Z    (in image heights; the 2 makes metres square in an image of 1 : 2)

so the layout does not depend on the size of the image. Later shapes cover earlier ones.

The same scene has the same bits on any machine: random numbers are PCG64's raw output, whose stream NumPy guarantees,
and every pixel comes from elementwise + - * / and comparisons of float64 (exact by IEEE 754) and from integers. There
is no sum, no matrix product, and nothing from the mathematics library (sin, exp, normal deviates), whose last bits
differ between processors.
"""

from functools import lru_cache
from math import ceil, floor

import numpy as np

from segrepro.datasets.cityscapes_classes import CITYSCAPES_CLASSES

FOCAL = 1.08  # focal length in image widths: about 50 degrees of view
CAMERA_HEIGHT = 1.9  # metres
LABELS = {name: label for label, name in enumerate(CITYSCAPES_CLASSES.names)}

_TEXTURES = ("plain", "grain", "blotch", "leaves", "slabs", "bricks", "bars")
_TILE = (256, 512)

Colour = tuple[float, float, float]


class Draws:
    """The random numbers of one object: uniform deviates handed out one by one."""

    def __init__(self, raw: np.ndarray):
        self._next = iter(((raw >> np.uint64(11)) * 2.0**-53).tolist()).__next__

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self._next()

    def chance(self, probability: float) -> bool:
        return self._next() < probability

    def pick(self, options):
        return options[int(self._next() * len(options))]

    def colour(self, *options: Colour, spread: float = 18) -> Colour:
        """One of the colours, shifted as a whole and a little in each channel."""
        shift = self.between(-spread, spread)
        return tuple(value + shift + self.between(-spread / 3, spread / 3) for value in self.pick(options))


def raw_bits(seed: int, index: int, *shape: int, purpose: int) -> np.ndarray:
    """Random uint64 of the given shape, a stream of its own for each (seed, index, purpose)."""
    generator = np.random.PCG64(np.random.SeedSequence([seed, index, purpose]))
    return generator.random_raw(int(np.prod(shape))).reshape(shape)


@lru_cache(maxsize=1)
def _textures() -> np.ndarray:
    """Surface patterns (texture, 256, 512), int16 in -128..127, repeating without a seam."""
    noise = raw_bits(0, 0, *_TILE, purpose=0).astype(np.uint8).astype(np.int16) - 128

    def smooth(step: int) -> np.ndarray:  # value noise: a coarse grid, linearly interpolated in integers
        grid = noise[::step, ::step].astype(np.int32)
        for axis, size in enumerate(_TILE):
            position = np.arange(size)
            whole, part = position // step, position % step
            part = part[:, None] if axis == 0 else part
            after = np.take(grid, (whole + 1) % grid.shape[axis], axis)
            grid = (np.take(grid, whole, axis) * (step - part) + after * part) // step
        return grid

    rows, columns = np.arange(_TILE[0])[:, None], np.arange(_TILE[1])
    slabs = np.where((rows % 8 == 0) | ((columns + rows) % 16 == 0), -110, noise // 4)
    shift = (rows // 4 % 2) * 4
    bricks = np.where((rows % 4 == 0) | ((columns + shift) % 8 == 0), 100, noise // 3)
    bars = np.where(columns % 4 < 2, -100, 90) + 0 * rows
    leaves = np.clip(smooth(4) + smooth(16) + noise // 3, -128, 127)
    blotch = np.clip(smooth(32) + smooth(8) // 2, -128, 127)
    return np.stack([np.zeros_like(noise), noise, blotch, leaves, slabs, bricks, bars]).astype(np.int16)


class Canvas:
    """An image in the making.

    size: (height, width) in pixels; without: the class whose shapes are left out. horizon and vanishing place
    the vanishing point, in image heights and widths.
    """

    def __init__(self, size: tuple[int, int], horizon: float, vanishing: float, without: str | None = None):
        self.height, self.width = size
        self.horizon, self.vanishing, self.without = horizon, vanishing, without
        self.ids = np.zeros(size, np.int16)
        self.light = np.full(size, 256, np.int32)  # 256: as painted
        self.y = (np.arange(self.height) + 0.5) / self.height
        self.x = (np.arange(self.width) + 0.5) / self.width
        self._rows = np.arange(self.height) * _TILE[0] // self.height
        self._columns = np.arange(self.width) * _TILE[1] // self.width
        self._paints: list[tuple] = []

    def paint(self, name: str, colour: Colour, texture: str = "grain", amount: int = 20) -> int | None:
        """A paint for class `name`: colour 0..255, and how much (0..128) the texture lightens and darkens it."""
        if name == self.without:
            return None
        self._paints.append((LABELS[name], *map(int, colour), _TEXTURES.index(texture), amount))
        return len(self._paints) - 1

    def screen(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Where a point (metres) appears, in image widths and heights."""
        return self.vanishing + FOCAL * x / z, self.horizon + 2 * FOCAL * (CAMERA_HEIGHT - y) / z

    def _span(self, low: float, high: float, pixels: int) -> tuple[int, int]:
        """The pixels whose centres lie between two coordinates; at least one, so that thin things stay visible."""
        first, last = ceil(low * pixels - 0.5), ceil(high * pixels - 0.5)
        if last <= first:
            first = floor((low + high) / 2 * pixels)
            last = first + 1
        return min(max(first, 0), pixels), min(max(last, 0), pixels)

    def rectangle(self, paint: int | None, left: float, right: float, top: float, bottom: float) -> None:
        """A rectangle in image widths and heights."""
        if paint is not None:
            c0, c1 = self._span(left, right, self.width)
            r0, r1 = self._span(top, bottom, self.height)
            self.ids[r0:r1, c0:c1] = paint

    def box(self, paint: int | None, x0: float, x1: float, y0: float, y1: float, z: float) -> None:
        """An upright rectangle that faces the camera."""
        left, bottom = self.screen(x0, y0, z)
        right, top = self.screen(x1, y1, z)
        self.rectangle(paint, left, right, top, bottom)

    def slope(
        self, paint: int | None, base: tuple[float, float], top: tuple[float, float], y0: float, y1: float, z: float
    ) -> None:
        """A trapezoid that faces the camera: from base[0]..base[1] at height y0 to top[0]..top[1] at height y1."""
        if paint is None:
            return
        scale = FOCAL / z
        _, above = self.screen(0, y1, z)
        _, below = self.screen(0, y0, z)
        r0, r1 = self._span(above, below, self.height)
        left, right = min(*base, *top), max(*base, *top)
        c0, c1 = self._span(self.vanishing + left * scale, self.vanishing + right * scale, self.width)
        part = (below - self.y[r0:r1, None]) / (below - above)
        low = self.vanishing + scale * (base[0] + (top[0] - base[0]) * part)
        high = self.vanishing + scale * (base[1] + (top[1] - base[1]) * part)
        thin = 0.5 / self.width  # a line thinner than a pixel stays a pixel wide
        middle, half = (low + high) / 2, np.maximum((high - low) / 2, thin)
        self.ids[r0:r1, c0:c1][np.abs(self.x[c0:c1] - middle) <= half] = paint

    def disc(
        self, paint: int | None, x: float, y: float, z: float, across: float, up: float, rough: np.ndarray | None = None
    ) -> None:
        """An ellipse with half axes `across` and `up`; `rough` (a noise field of the image's size) frays its edge."""
        if paint is None:
            return
        cx, cy = self.screen(x, y, z)
        rx, ry = max(across * FOCAL / z, 0.5 / self.width), max(up * 2 * FOCAL / z, 0.5 / self.height)
        c0, c1 = self._span(cx - rx, cx + rx, self.width)
        r0, r1 = self._span(cy - ry, cy + ry, self.height)
        dx, dy = (self.x[c0:c1] - cx) / rx, (self.y[r0:r1, None] - cy) / ry
        distance = dx * dx + dy * dy
        if rough is not None:
            distance = distance + rough[r0:r1, c0:c1]
        self.ids[r0:r1, c0:c1][distance <= 1] = paint

    def strip(
        self,
        paint: int | None,
        x: float,
        near: float,
        far: float,
        y0: float,
        y1: float,
        grid: tuple[float, float, float, float] | None = None,
    ) -> None:
        """An upright wall along the street at lateral position x, from depth `near` to `far`.

        grid: only its windows, as (spacing along, share along, spacing up, share up), metres and 0..1.
        """
        if paint is None or x == 0:
            return
        ends = sorted((self.vanishing + FOCAL * x / near, self.vanishing + FOCAL * x / far))
        c0, c1 = self._span(*ends, self.width)
        if c0 == c1:
            return
        scale = np.maximum((self.x[c0:c1] - self.vanishing) / x, FOCAL / far)  # F / Z of each column
        scale = np.minimum(scale, FOCAL / near)
        low = self.horizon + 2 * scale * (CAMERA_HEIGHT - y0)
        high = self.horizon + 2 * scale * (CAMERA_HEIGHT - y1)
        r0, r1 = self._span(min(high[0], high[-1]), max(low[0], low[-1]), self.height)
        y = self.y[r0:r1, None]
        inside = (y >= high) & (y < low)
        if grid is not None:
            along, share_along, up, share_up = grid
            depth, rise = FOCAL / scale / along, (low - y) / (2 * scale) / up
            inside &= (depth - np.floor(depth) < share_along) & (np.abs(rise - np.floor(rise) - 0.5) < share_up / 2)
        self.ids[r0:r1, c0:c1][inside] = paint

    def ground(self, paint: int | None, x0: float, x1: float, near: float, far: float) -> None:
        """A rectangle on the ground, between lateral positions x0 and x1 and depths `near` and `far`."""
        if paint is not None:
            r0, r1, inside = self._ground(x0, x1, near, far)
            self.ids[r0:r1][inside] = paint

    def shadow(self, x0: float, x1: float, near: float, far: float, light: int) -> None:
        """Darken what is seen at a rectangle on the ground to light / 256, whatever stands there."""
        r0, r1, inside = self._ground(x0, x1, near, far)
        self.light[r0:r1][inside] = light

    def _ground(self, x0: float, x1: float, near: float, far: float) -> tuple[int, int, np.ndarray]:
        r0, r1 = self._span(self.screen(0, 0, far)[1], self.screen(0, 0, near)[1], self.height)
        scale = (self.y[r0:r1, None] - self.horizon) / (2 * CAMERA_HEIGHT)
        low, high = self.vanishing + scale * x0, self.vanishing + scale * x1
        half = np.maximum((high - low) / 2, 0.5 / self.width)
        return r0, r1, np.abs(self.x - (low + high) / 2) <= half

    def texture(self, name: str, offset: tuple[int, int] = (0, 0)) -> np.ndarray:
        """A texture laid over the image: (height, width) int16 in -128..127."""
        rows, columns = (self._rows + offset[0]) % _TILE[0], (self._columns + offset[1]) % _TILE[1]
        return _textures()[_TEXTURES.index(name)][rows[:, None], columns]

    def develop(
        self, gain: tuple[int, int, int], haze: tuple[Colour, int], noise: np.ndarray, offset: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The image (H, W, 3) uint8 and its labels (H, W) int16.

        gain: brightness a channel, 256 is neutral; haze: its colour, and its strength (0..256) at the horizon; noise:
        what is added, (H, W, 1) integers; offset: which part of the textures is seen.
        """
        paints = np.array(self._paints, np.int32)
        rows, columns = (self._rows + offset[0]) % _TILE[0], (self._columns + offset[1]) % _TILE[1]
        pattern = _textures()[paints[:, 4].take(self.ids), rows[:, None], columns]
        shade = (256 + ((pattern * paints[:, 5].take(self.ids)) >> 7)) * self.light >> 8
        image = paints[:, 1:4].take(self.ids, axis=0) * shade[..., None] >> 8
        far = np.maximum(0, 256 - (np.abs(self.y - self.horizon) * 1024).astype(np.int32)) * haze[1] >> 8
        far = far[:, None, None]
        image = (image * (256 - far) + np.array(haze[0], np.int32) * far) >> 8
        image = (image * np.array(gain, np.int32) >> 8) + noise
        return np.clip(image, 0, 255).astype(np.uint8), paints[:, 0].astype(np.int16).take(self.ids)
