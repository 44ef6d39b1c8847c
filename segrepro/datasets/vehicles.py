"""Cars, buses, trucks and trains of a synthetic street. Lengths are metres, colours RGB 0..255."""

from segrepro.datasets.canvas import Canvas, Draws

_DARK = (35, 36, 40)
_GLASS = (70, 85, 100)
_CARS = ((40, 60, 120), (150, 30, 35), (190, 190, 195), (45, 45, 50), (225, 225, 222), (70, 100, 85), (120, 120, 128))


def _body(
    canvas: Canvas,
    paint: int | None,
    x: float,
    z: float,
    half: float,
    length: float,
    y0: float,
    y1: float,
    flank: int | None,
    grid: tuple[float, float, float, float] | None = None,
) -> None:
    """The end of a box that faces the camera (`paint`) and its long side towards the vanishing point (`flank`)."""
    inner = x - half if x > half else x + half if x < -half else 0
    canvas.strip(flank, inner, z, z + length, y0, y1, grid)
    if grid is None:
        canvas.box(paint, x - half, x + half, y0, y1, z)


def _wheels(canvas: Canvas, name: str, x: float, z: float, half: float) -> None:
    tyre = canvas.paint(name, _DARK, "grain", 6)
    for side in (-1, 1):
        canvas.box(tyre, *sorted((x + side * half, x + side * half * 0.68)), 0, 0.5, z)


def car(canvas: Canvas, x: float, z: float, d: Draws, home: bool) -> None:
    """Low, in two tiers: a wide body and a narrower cabin of glass."""
    tone = d.colour(*_CARS)
    paint = canvas.paint("car", tone, "blotch", 24)
    flank = canvas.paint("car", tuple(value * 0.8 for value in tone), "blotch", 24)
    glass = canvas.paint("car", d.colour(_GLASS, (40, 48, 58)), "blotch", 50)
    under = canvas.paint("car", (30, 30, 32), "grain", 6)
    height, across = d.between(1.4, 1.75), d.chance(0.25) and z > 13
    half, length = (2.1, 1.8) if across else (0.9, 4.2)
    _body(canvas, under, x, z, half * 0.95, length, 0.15, 0.4, under)
    _wheels(canvas, "car", x, z, half * (0.75 if across else 0.95))
    _body(canvas, paint, x, z, half * 0.7, length, 0.3, 0.95, paint)  # the bonnet, seen from above
    _body(canvas, paint, x, z, half, length, 0.3, 0.95, flank)
    _body(canvas, None, x, z, half * 0.72, length * 0.7, 0.95, height, glass)
    canvas.slope(glass, (x - half * 0.88, x + half * 0.88), (x - half * 0.66, x + half * 0.66), 0.95, height, z)
    canvas.slope(paint, (x - half * 0.68, x + half * 0.68), (x - half * 0.62, x + half * 0.62), height - 0.1, height, z)
    light = canvas.paint("car", d.pick(((215, 40, 40), (245, 240, 210))), "plain")
    for side in (-1, 1):
        canvas.box(light, *sorted((x + side * half * 0.97, x + side * half * 0.68)), 0.65, 0.85, z)


def bus(canvas: Canvas, x: float, z: float, d: Draws, home: bool) -> None:
    """Tall, with a large pane, a lit destination board and a row of windows."""
    tone = d.colour((225, 45, 40), (245, 200, 40), (240, 150, 40))
    paint = canvas.paint("bus", tone, "grain", 10)
    flank = canvas.paint("bus", tuple(value * 0.82 for value in tone), "grain", 10)
    glass = canvas.paint("bus", (55, 65, 78), "blotch", 40)
    _wheels(canvas, "bus", x, z, 1.2)
    _body(canvas, paint, x, z, 1.25, 11, 0.3, 3.1, flank)
    _body(canvas, glass, x, z, 1.25, 11, 1.4, 2.5, glass, (1.8, 0.85, 1.1, 1))
    canvas.box(glass, x - 1.1, x + 1.1, 1.2, 2.5, z)
    canvas.box(canvas.paint("bus", (250, 180, 50), "bars", 60), x - 0.9, x + 0.9, 2.65, 2.95, z)
    canvas.box(canvas.paint("bus", (240, 235, 205), "plain"), x - 1.1, x - 0.7, 0.5, 0.8, z)
    canvas.box(canvas.paint("bus", (240, 235, 205), "plain"), x + 0.7, x + 1.1, 0.5, 0.8, z)


def truck(canvas: Canvas, x: float, z: float, d: Draws, home: bool) -> None:
    """A windowless load seen from behind, with doors and a striped bumper, or the lower cab before it."""
    load = d.colour((225, 225, 225), (90, 110, 170), (185, 125, 65), (210, 195, 150))
    paint = canvas.paint("truck", load, "grain", 10)
    flank = canvas.paint("truck", tuple(value * 0.8 for value in load), "grain", 14)
    seam = canvas.paint("truck", tuple(value * 0.6 for value in load), "grain", 8)
    dark = canvas.paint("truck", _DARK, "grain", 8)
    _body(canvas, dark, x, z, 1.1, 7, 0.45, 0.9, dark)
    _wheels(canvas, "truck", x, z, 1.2)
    _body(canvas, paint, x, z, 1.25, 7, 0.9, 3.5, flank)
    if d.chance(0.5):
        canvas.box(seam, x - 0.06, x + 0.06, 0.95, 3.4, z)
        canvas.box(canvas.paint("truck", (230, 60, 45), "bars", 90), x - 1.2, x + 1.2, 0.65, 0.95, z)
    else:
        cab = canvas.paint("truck", d.colour(*_CARS), "grain", 10)
        canvas.box(cab, x - 1.15, x + 1.15, 0.5, 2.6, z)
        canvas.box(canvas.paint("truck", (50, 58, 70), "blotch", 40), x - 1, x + 1, 1.6, 2.4, z)
        canvas.box(dark, x - 0.8, x + 0.8, 0.7, 1.2, z)


def train(canvas: Canvas, x: float, z: float, d: Draws, home: bool) -> None:
    """A long tram on rails: rounded nose, one dark windscreen, coloured skirt, current collector."""
    tone = d.colour((240, 240, 225), (235, 225, 175), spread=8)
    stripe = d.colour((30, 130, 85), (20, 110, 150), spread=8)
    paint = canvas.paint("train", tone, "grain", 8)
    flank = canvas.paint("train", tuple(value * 0.85 for value in tone), "grain", 8)
    band = canvas.paint("train", stripe, "grain", 8)
    glass = canvas.paint("train", (30, 36, 46), "blotch", 30)
    if home:
        rail = canvas.paint("road", (60, 58, 60), "grain", 10)
        for side in (-0.72, 0.72):
            canvas.ground(rail, x + side - 0.08, x + side + 0.08, 3, z)
    canvas.box(canvas.paint("train", _DARK, "plain"), x - 0.5, x + 0.5, 3.4, 4.1, z + 8)
    _body(canvas, band, x, z, 1.2, 30, 0.1, 1.1, band)
    _body(canvas, paint, x, z, 1.2, 30, 1.1, 3.2, flank)
    _body(canvas, glass, x, z, 1.2, 30, 1.5, 2.5, glass, (2.6, 0.7, 1, 1))
    canvas.slope(paint, (x - 1.2, x + 1.2), (x - 0.7, x + 0.7), 3.2, 3.6, z)
    canvas.slope(glass, (x - 0.85, x + 0.85), (x - 1, x + 1), 1.3, 2.7, z)
    canvas.disc(canvas.paint("train", (255, 250, 215), "plain"), x, 3.2, z, 0.16, 0.16)
    canvas.disc(canvas.paint("train", (255, 250, 215), "plain"), x - 0.8, 0.8, z, 0.16, 0.16)
    canvas.disc(canvas.paint("train", (255, 250, 215), "plain"), x + 0.8, 0.8, z, 0.16, 0.16)
