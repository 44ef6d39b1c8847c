"""What stands where in a synthetic street: the layout of a scene, and its drawing from far to near."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segrepro.datasets import objects
from segrepro.datasets.canvas import FOCAL, Canvas, Draws, raw_bits

# The share of scenes in which each of the rare things appears, at rarity 1.
PRESENCE = {
    "ridden motorcycle": 0.04,
    "ridden bicycle": 0.065,
    "motorcycle": 0.037,
    "bicycle": 0.26,
    "traffic light": 0.19,
    "traffic sign": 0.34,
    "train": 0.08,
    "bus": 0.08,
    "truck": 0.11,
    "wall": 0.25,
}
_THINGS = ("car", "person", "pole", "tree", *(name for name in PRESENCE if name != "wall"))
_GROUPS = ("scene", "left", "right", *_THINGS)
_ITEMS, _DRAWS = 12, 96  # objects a group, random numbers an object


@dataclass(frozen=True)
class Street:
    """The ground plan, in metres from the camera's axis; a pair is (left, right), the left one negative."""

    kerb: tuple[float, float]
    walk: tuple[float, float]  # outer edge of the sidewalk
    front: tuple[float, float]  # where buildings begin


def draw_scene(
    seed: int, index: int, size: tuple[int, int], *, co_location: float, rarity: float, without: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) uint8 and labels (H, W) int16 of scene `index`.

    Every object has random numbers of its own, so leaving a class out or turning a knob changes nothing else.
    """
    raw = raw_bits(seed, index, len(_GROUPS), _ITEMS, _DRAWS, purpose=1)

    def stream(group: str, item: int) -> Draws:
        return Draws(raw[_GROUPS.index(group), item])

    d = stream("scene", 0)
    canvas = Canvas(size, horizon=d.between(0.35, 0.44), vanishing=d.between(0.4, 0.6), without=without)
    offset = (int(d.between(0, 256)), int(d.between(0, 512)))
    kerb = (-d.between(4, 6.5), d.between(4, 6.5))
    walk = (kerb[0] - d.between(2.8, 6), kerb[1] + d.between(2.8, 6))
    verge = [d.between(3, 9) if d.chance(0.48) else 0.3 for _ in range(2)]
    street = Street(kerb, walk, (walk[0] - verge[0], walk[1] + verge[1]))

    _backdrop(canvas, stream("scene", 1))
    _ground(canvas, street, stream("scene", 2), terrain=[width > 1 for width in verge])
    for side, group in ((0, "left"), (1, "right")):
        _side(canvas, street, side, lambda item, group=group: stream(group, item), rarity)
    things = []
    for name in _THINGS:
        things += _place(name, street, canvas.vanishing, stream, co_location, rarity)
    for _, draw in sorted(things, key=lambda thing: -thing[0]):
        draw(canvas)
    return _light(canvas, stream("scene", 3), seed, index, offset)


def _backdrop(canvas: Canvas, d: Draws) -> None:
    """Sky, and what closes the street at its end. Without the sky there is a wall of building; without the road the
    ground is sidewalk throughout; without the sidewalk it is road.
    """
    sky = d.colour((150, 190, 235), (190, 205, 220), (215, 215, 220), (225, 205, 180), spread=14)
    plain = canvas.paint("sky", sky, "blotch", d.pick((4, 12, 24)))
    if plain is None:
        plain = canvas.paint("building", (140, 135, 130), "bricks", 10)
    canvas.ids[:] = plain
    x = -40.0
    while x < 40:
        width, height = d.between(9, 20), d.between(6, 24)
        if d.chance(0.5):
            paint = canvas.paint("building", d.colour((150, 140, 130), (165, 165, 170)), "grain", 10)
            canvas.box(paint, x, x + width, 0, height, 90)
        else:
            paint = canvas.paint("vegetation", d.colour((85, 110, 75)), "leaves", 30)
            canvas.disc(paint, x + width / 2, height / 3, 90, width * 0.7, height * 0.6)
        x += width


def _ground(canvas: Canvas, street: Street, d: Draws, terrain: list[bool]) -> None:
    tone = d.colour((95, 95, 100), (80, 82, 85), (115, 110, 108), spread=12)
    road = canvas.paint("road", tone, d.pick(("grain", "blotch")), d.pick((12, 20, 28)))
    walk = canvas.paint("sidewalk", d.colour((150, 145, 142), (165, 150, 140), (125, 122, 122)), "slabs", 22)
    grass = canvas.paint("terrain", d.colour((120, 140, 70), (140, 130, 85), (100, 130, 70)), "grain", 34)
    canvas.ground(road if walk is None else walk, -300, 300, 1, 400)
    canvas.ground(road, *street.kerb, 1, 400)
    kerb = canvas.paint("sidewalk", (175, 172, 168), "grain", 10)
    line = canvas.paint("road", d.colour((205, 205, 200), (180, 178, 170)), "grain", 16)
    for side in range(2):
        edge, outer = street.kerb[side], street.walk[side]
        canvas.ground(kerb, edge - 0.12, edge + 0.12, 4, 60)
        if terrain[side]:
            canvas.ground(grass, *sorted((outer, street.front[side])), 4, 120)
    middle = (street.kerb[0] + street.kerb[1]) / 2
    if d.chance(0.7):
        start, step = d.between(4, 8), d.pick((5.0, 8.0))
        for dash in range(6):
            canvas.ground(line, middle - 0.08, middle + 0.08, start + dash * step, start + dash * step + step / 2)
    if d.chance(0.2):
        near = d.between(8, 16)
        for stripe in range(int(street.kerb[0]), int(street.kerb[1])):
            canvas.ground(line, stripe + 0.2, stripe + 0.7, near, near + 2.5)
    if d.chance(0.3):
        worn = canvas.paint("road", tuple(value * 0.8 for value in tone), "grain", 16)
        x, near = d.between(-4, 2), d.between(4, 12)
        canvas.ground(worn, x, x + d.between(1, 3), near, near + d.between(2, 10))


def _side(canvas: Canvas, street: Street, side: int, stream: Callable[[int], Draws], rarity: float) -> None:
    """Buildings and greenery along one side of the street, far to near, then perhaps a fence or a wall before them."""
    x, sign = street.front[side], 2 * side - 1
    room = (1 - canvas.vanishing) if side else canvas.vanishing
    d = stream(0)
    greenery, far, edge = d.pick((0.05, 0.2, 0.35, 0.55)), 95.0, FOCAL * abs(x) / room
    for item in range(1, _ITEMS - 1):
        e = stream(item)
        near = max(far - e.between(0.12, 0.35) * far, edge * 0.8)
        if e.chance(greenery):
            objects.grove(canvas, x, near, far, sign, e)
        else:
            objects.house(canvas, x, near, far, sign, e)
        far = near
        if far < edge:
            break
    barriers = ((objects.fence, 0.34, d), (objects.wall, PRESENCE["wall"] / 2 / rarity, stream(_ITEMS - 1)))
    for build, presence, e in barriers:
        present, near, margin = e.chance(presence), edge * e.between(0.9, 1.4), e.between(0.3, 0.6)
        if present:
            build(canvas, x - sign * margin, near, near + e.between(10, 35), e)


def _place(
    name: str, street: Street, vanishing: float, stream: Callable[[str, int], Draws], co_location: float, rarity: float
) -> list[tuple[float, Callable[[Canvas], None]]]:
    """The objects of one kind: (depth, how to draw it)."""
    kind = objects.KINDS[name]
    d = stream(name, 0)
    if not d.chance(PRESENCE[name] / rarity if name in PRESENCE else kind.presence):
        return []
    placed = []
    for item in range(1, 1 + int(d.between(kind.count[0], kind.count[1] + 1))):
        e = stream(name, item)
        side, across, depth = e.pick((0, 1)), e.between(0, 1), e.between(0, 1)
        in_place, anywhere = e.chance(co_location), e.between(0.03, 0.97)
        x = kind.place(street, side, across)
        room = (0.97 - vanishing) if x > 0 else vanishing - 0.03
        nearest = max(kind.depth[0], FOCAL * abs(x) / room)
        z = nearest + (kind.depth[1] - nearest) * depth * depth if nearest < kind.depth[1] else nearest
        if not in_place:
            x = min(max((anywhere - vanishing) * z / FOCAL, street.walk[0]), street.walk[1])
        placed.append((z, lambda canvas, x=x, z=z, e=e, home=in_place: kind.draw(canvas, x, z, e, home)))
    return placed


def _light(canvas: Canvas, d: Draws, seed: int, index: int, offset: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Shadows of what is not seen, the weather, and the camera's noise."""
    for _ in range(d.pick((0, 1, 2, 3))):
        near, x, dark = d.between(4, 25), d.between(-14, 6), int(d.between(110, 190))
        canvas.shadow(x, x + d.between(3, 16), near, near + d.between(2, 20), dark)
    brightness, warmth = d.between(190, 320), d.between(-18, 18)
    gain = (int(brightness + warmth), int(brightness), int(brightness - warmth))
    haze = (d.colour((205, 210, 215)), int(d.pick((20, 60, 120)) * d.between(0.5, 1)))
    strength = d.pick((6, 12, 22))
    pixels = canvas.height * canvas.width
    bits = raw_bits(seed, index, pixels // 8 + 1, purpose=2).astype("<u8").view(np.uint8)[:pixels]
    grain = bits.reshape(canvas.height, canvas.width, 1).astype(np.int32) * strength >> 8
    return canvas.develop(gain, haze, grain - strength // 2, offset)
