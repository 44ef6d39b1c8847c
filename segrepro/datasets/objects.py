"""How each thing in a synthetic street looks and where it belongs. Lengths are metres, colours RGB 0..255."""

from collections.abc import Callable
from dataclasses import dataclass

from segrepro.datasets.canvas import Canvas, Draws
from segrepro.datasets.vehicles import bus, car, train, truck

_DARK = (35, 36, 40)
_GLASS = (70, 85, 100)
_CLOTHES = ((40, 45, 70), (120, 40, 45), (60, 90, 60), (150, 140, 120), (35, 35, 38), (170, 60, 40), (90, 110, 160))
_JACKETS = ((215, 225, 60), (240, 130, 40), (225, 60, 50), (60, 60, 70))  # most riders dress to be seen
_HELMETS = ((230, 225, 90), (200, 50, 50), (235, 235, 235))
_SKIN = ((215, 175, 150), (165, 120, 95), (110, 75, 60))


# ---- along the street -------------------------------------------------------------------------------------------


def house(canvas: Canvas, x: float, near: float, far: float, sign: int, d: Draws) -> None:
    tone = d.colour((175, 150, 125), (150, 95, 80), (190, 185, 175), (125, 125, 130), (165, 170, 150))
    height, texture = d.between(9, 26), d.pick(("bricks", "grain", "blotch"))
    front = canvas.paint("building", tone, texture, 16)
    gable = canvas.paint("building", tuple(value * 0.78 for value in tone), texture, 12)
    panes = canvas.paint("building", d.colour(_GLASS, (50, 55, 65), (120, 135, 150)), "blotch", 40)
    shop = canvas.paint("building", d.colour((90, 60, 50), (60, 70, 85), (110, 105, 95)), "blotch", 40)
    canvas.box(gable, *sorted((x, x + sign * 30)), 0, height, near)
    canvas.strip(front, x, near, far, 0, height)
    grid = (d.between(2.2, 4), d.between(0.35, 0.6), d.between(2.8, 3.6), d.between(0.45, 0.6))
    canvas.strip(panes, x, near, far, 3.2, height - 0.8, grid)
    canvas.strip(shop, x, near, far, 0, 2.6, (d.between(3, 6), d.between(0.3, 0.8), 2.6, 0.9))


def grove(canvas: Canvas, x: float, near: float, far: float, sign: int, d: Draws) -> None:
    tone = d.colour((70, 100, 50), (90, 115, 60), (60, 85, 55), (105, 110, 60))
    rough = canvas.texture("leaves", (int(d.between(0, 256)), 0)) * (1 / 256)
    back = canvas.paint("vegetation", tuple(value * 0.75 for value in tone), "leaves", 60)
    canvas.strip(back, x, near, far, 0, d.between(2, 5))
    for place in (0.85, 0.5, 0.15):
        z, height = near + (far - near) * place, d.between(5, 13)
        crown = canvas.paint("vegetation", tuple(value * d.between(0.85, 1.15) for value in tone), "leaves", 70)
        canvas.disc(crown, x + sign * d.between(0.5, 3), height * 0.6, z, height * 0.45, height * 0.5, rough)


def wall(canvas: Canvas, x: float, near: float, far: float, d: Draws) -> None:
    """Solid, with a pale coping; no windows, which tells it from a house."""
    height = d.between(2, 3.4)
    tone = d.colour((150, 145, 140), (140, 100, 85), (170, 165, 150))
    canvas.strip(canvas.paint("wall", tone, d.pick(("bricks", "blotch")), 30), x, near, far, 0, height)
    canvas.strip(canvas.paint("wall", (195, 192, 188), "grain", 8), x, near, far, height, height + 0.4)


def fence(canvas: Canvas, x: float, near: float, far: float, d: Draws) -> None:
    """Slats between posts under a dark rail."""
    height = d.between(1.5, 2.4)
    tone = d.colour((120, 120, 118), (110, 85, 65), (85, 100, 90))
    canvas.strip(canvas.paint("fence", tone, "bars", 100), x, near, far, 0, height)
    rail = canvas.paint("fence", tuple(value * 0.5 for value in tone), "grain", 8)
    canvas.strip(rail, x, near, far, height - 0.15, height + 0.05)
    canvas.strip(rail, x, near, far, 0, height + 0.2, (2.5, 0.12, height + 0.2, 1))


# ---- things that stand on the ground at (x, z) ------------------------------------------------------------------


def tree(canvas: Canvas, x: float, z: float, d: Draws, home: bool) -> None:
    height = d.between(5, 9)
    tone = d.colour((75, 105, 50), (95, 120, 60), (60, 90, 55))
    rough = canvas.texture("leaves", (int(d.between(0, 256)), int(d.between(0, 512)))) * (1 / 200)
    canvas.box(canvas.paint("vegetation", (85, 70, 55), "grain", 20), x - 0.15, x + 0.15, 0, height / 2, z)
    for shift in (-0.6, 0.5, 0):
        crown = canvas.paint("vegetation", tuple(value * d.between(0.85, 1.2) for value in tone), "leaves", 75)
        x_crown, middle = x + shift * d.between(0.5, 2), height * d.between(0.6, 0.8)
        canvas.disc(crown, x_crown, middle, z, 0.3 * height, 0.28 * height, rough)


def pole(canvas: Canvas, x: float, z: float, d: Draws, home: bool, height: float | None = None) -> None:
    tone = d.colour((110, 112, 115), (75, 78, 80), (135, 130, 120))
    paint = canvas.paint("pole", tone, "grain", 14)
    lamp = height is None
    height = d.between(5, 9) if lamp else height
    canvas.box(paint, x - 0.1, x + 0.1, 0, height, z)
    canvas.box(paint, x - 0.16, x + 0.16, 0, 0.8, z)
    if lamp:
        arm = 1.6 if x < 0 else -1.6
        canvas.box(paint, *sorted((x, x + arm)), height - 0.12, height + 0.05, z)
        canvas.box(paint, *sorted((x + arm / 2, x + arm)), height - 0.25, height + 0.05, z)


def traffic_light(canvas: Canvas, x: float, z: float, d: Draws, home: bool) -> None:
    lamp, base = d.pick((0, 1, 2)), d.between(2.4, 3.4)
    if home:
        pole(canvas, x, z, d, home, height=base + 0.2)
    else:
        base = d.between(0, 5)
    frame = canvas.paint("traffic light", d.colour((215, 170, 40), (225, 225, 215)), "grain", 8)
    canvas.box(frame, x - 0.38, x + 0.38, base - 0.15, base + 1.45, z)
    canvas.box(canvas.paint("traffic light", (28, 30, 30), "grain", 8), x - 0.26, x + 0.26, base, base + 1.3, z)
    for place, colour in enumerate(((60, 235, 130), (250, 190, 60), (250, 60, 50))):
        tone = colour if place == lamp else tuple(value * 0.3 for value in colour)
        canvas.disc(canvas.paint("traffic light", tone, "plain"), x, base + 0.25 + 0.4 * place, z, 0.18, 0.18)


def traffic_sign(canvas: Canvas, x: float, z: float, d: Draws, home: bool) -> None:
    kind, base = d.pick(("board", "board", "round", "triangle", "square")), d.between(2, 2.8)
    if home:
        pole(canvas, x, z, d, home, height=base + 0.5)
    else:
        base = d.between(0, 5)
    white = canvas.paint("traffic sign", (235, 235, 230), "grain", 6)
    red = canvas.paint("traffic sign", d.colour((205, 30, 40), spread=10), "grain", 6)
    blue = canvas.paint("traffic sign", d.colour((30, 80, 170), (35, 120, 70), (235, 200, 60), spread=10), "grain", 6)
    if kind == "board":
        wide, high = d.between(0.7, 1.3), d.between(0.9, 1.4)
        canvas.box(white, x - wide, x + wide, base, base + high, z)
        canvas.box(blue, x - wide + 0.12, x + wide - 0.12, base + 0.12, base + high - 0.12, z)
        canvas.box(white, x - wide * 0.6, x + wide * 0.5, base + high * 0.55, base + high * 0.7, z)
        canvas.box(white, x - wide * 0.6, x + wide * 0.2, base + high * 0.25, base + high * 0.4, z)
    elif kind == "round":
        canvas.disc(red, x, base + 0.5, z, 0.55, 0.55)
        canvas.disc(white, x, base + 0.5, z, 0.36, 0.36)
    elif kind == "triangle":
        canvas.slope(red, (x - 0.62, x + 0.62), (x, x), base, base + 1.1, z)
        canvas.slope(white, (x - 0.32, x + 0.32), (x, x), base + 0.2, base + 0.75, z)
    else:
        canvas.box(blue, x - 0.5, x + 0.5, base, base + 1, z)
        canvas.slope(white, (x - 0.3, x + 0.3), (x, x), base + 0.3, base + 0.8, z)


def person(canvas: Canvas, x: float, z: float, d: Draws, home: bool) -> None:
    """Two legs, torso, head: upright, and wider at the feet than a rider."""
    size, stride = d.between(0.9, 1.1), d.between(0.05, 0.3)
    legs = canvas.paint("person", d.colour((45, 50, 75), (40, 40, 42), (110, 100, 85)), "grain", 14)
    for lean in (-1, 1):
        foot = x + lean * stride
        canvas.slope(legs, (foot - 0.09, foot + 0.09), (x + lean * 0.1 - 0.11, x + lean * 0.1 + 0.11), 0, 0.9 * size, z)
    _upper_body(canvas, "person", x, 0.8 * size, z, d, lean=0)


def _upper_body(canvas: Canvas, name: str, x: float, base: float, z: float, d: Draws, lean: float) -> None:
    torso = canvas.paint(name, d.colour(*(_JACKETS if name == "rider" else _CLOTHES)), "grain", 16)
    canvas.slope(torso, (x - 0.2, x + 0.2), (x + lean - 0.27, x + lean + 0.27), base, base + 0.7, z)
    head = d.pick(_HELMETS if name == "rider" else _SKIN)
    canvas.disc(canvas.paint(name, head, "grain", 6), x + lean, base + 0.85, z, 0.15, 0.17)


def bicycle(canvas: Canvas, x: float, z: float, d: Draws, home: bool, ridden: bool = False) -> None:
    """Two thin ringed wheels and a frame of tubes."""
    if ridden and not home:
        _rider(canvas, x, 0.9, z, d)
        return
    tyre = canvas.paint("bicycle", _DARK, "grain", 8)
    spokes = canvas.paint("bicycle", d.colour((120, 120, 122), spread=10), "bars", 30)
    frame = canvas.paint("bicycle", d.colour((170, 40, 40), (40, 90, 150), (200, 200, 195), (50, 120, 80)), "grain", 6)
    for wheel in (-0.55, 0.55):
        canvas.disc(tyre, x + wheel, 0.36, z, 0.38, 0.38)
        canvas.disc(spokes, x + wheel, 0.36, z, 0.27, 0.27)
    canvas.slope(frame, (x - 0.1, x + 0.05), (x + 0.35, x + 0.5), 0.3, 0.85, z)
    canvas.slope(frame, (x - 0.1, x + 0.05), (x - 0.3, x - 0.15), 0.3, 0.95, z)
    canvas.box(frame, x - 0.25, x + 0.45, 0.72, 0.84, z)
    canvas.box(tyre, x + 0.3, x + 0.6, 0.95, 1.08, z)
    if ridden:
        _rider(canvas, x - 0.2, 0.9, z, d)


def motorcycle(canvas: Canvas, x: float, z: float, d: Draws, home: bool, ridden: bool = False) -> None:
    """Two thick solid wheels and a heavy coloured body with a headlight."""
    if ridden and not home:
        _rider(canvas, x, 0.9, z, d)
        return
    body = canvas.paint(
        "motorcycle", d.colour((200, 30, 30), (60, 190, 60), (40, 70, 190), (230, 130, 20)), "grain", 10
    )
    dark = canvas.paint("motorcycle", _DARK, "grain", 10)
    chrome = canvas.paint("motorcycle", (190, 190, 195), "grain", 20)
    for wheel in (-0.7, 0.7):
        canvas.disc(dark, x + wheel, 0.34, z, 0.36, 0.36)
        canvas.disc(chrome, x + wheel, 0.34, z, 0.14, 0.14)
    canvas.slope(dark, (x - 0.45, x + 0.4), (x - 0.35, x + 0.5), 0.2, 0.6, z)
    canvas.slope(body, (x - 0.95, x + 0.5), (x - 0.7, x + 0.65), 0.55, 0.95, z)
    canvas.box(chrome, x - 0.8, x + 0.1, 0.3, 0.42, z)
    canvas.slope(dark, (x + 0.5, x + 0.62), (x + 0.3, x + 0.42), 0.9, 1.2, z)
    canvas.disc(canvas.paint("motorcycle", (250, 245, 200), "plain"), x + 0.72, 0.95, z, 0.14, 0.14)
    if ridden:
        _rider(canvas, x - 0.15, 0.9, z, d)


def _rider(canvas: Canvas, x: float, seat: float, z: float, d: Draws) -> None:
    """Seated and leaning forward, one leg bent down the side."""
    legs = canvas.paint("rider", d.colour((45, 50, 75), (40, 40, 42), (110, 100, 85)), "grain", 14)
    canvas.slope(legs, (x + 0.1, x + 0.3), (x - 0.1, x + 0.3), 0.25, seat + 0.1, z)
    arm = canvas.paint("rider", d.colour(*_JACKETS), "grain", 10)
    _upper_body(canvas, "rider", x, seat, z, d, lean=0.22)
    canvas.slope(arm, (x + 0.55, x + 0.7), (x + 0.2, x + 0.35), seat + 0.2, seat + 0.55, z)


# ---- where things belong ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """How one kind of object is drawn, how many there are, how far away, and its stereotyped place.

    place: from the street, a side (0 left, 1 right) and a draw in 0..1 to the lateral position.
    """

    draw: Callable
    count: tuple[int, int]
    depth: tuple[float, float]
    place: Callable
    presence: float = 1


def _lane(street, side, across):  # two lanes ahead, and cars parked at the kerbs
    left, right = street.kerb
    return (left + 1.3, left / 2, right / 2, right - 1.3)[int(across * 4)]


def _driving(street, side, across):
    return street.kerb[side] * (0.4 + 0.2 * across)


def _kerbside(street, side, across):  # on the road, close to its edge
    return street.kerb[side] * (0.65 + 0.2 * across)


def _sidewalk(street, side, across):
    inner, outer = street.kerb[side], street.walk[side]
    return inner + (outer - inner) * (0.15 + 0.7 * across)


def _edge(street, side, across):  # just beyond the kerb
    return street.kerb[side] + (0.35 if side else -0.35)


def _tracks(street, side, across):
    return street.kerb[side] + (-1.5 if side else 1.5)


def _ridden(draw: Callable) -> Callable:
    return lambda canvas, x, z, d, home: draw(canvas, x, z, d, home, ridden=True)


KINDS = {
    "car": Kind(car, (1, 6), (10, 50), _lane, 0.95),
    "person": Kind(person, (2, 8), (9, 28), _sidewalk, 0.9),
    "pole": Kind(pole, (1, 2), (9, 35), _edge, 0.8),
    "tree": Kind(tree, (0, 2), (12, 35), _sidewalk, 0.6),
    "ridden motorcycle": Kind(_ridden(motorcycle), (1, 1), (10, 19), _kerbside),
    "ridden bicycle": Kind(_ridden(bicycle), (1, 2), (10, 19), _kerbside),
    "motorcycle": Kind(motorcycle, (1, 1), (11, 20), _kerbside),
    "bicycle": Kind(bicycle, (1, 4), (9, 20), _sidewalk),
    "traffic light": Kind(traffic_light, (1, 2), (9, 20), _edge),
    "traffic sign": Kind(traffic_sign, (1, 3), (11, 26), _edge),
    "train": Kind(train, (1, 1), (24, 50), _tracks),
    "bus": Kind(bus, (1, 1), (20, 45), _driving),
    "truck": Kind(truck, (1, 1), (18, 40), _driving),
}
