"""What the scenes are drawn with: gradients, glows, shadows, textures and lettering.

Scenes are drawn at twice the size they are saved at, so that edges come out smooth. Everything
random comes from a seed, so that a picture is the same on every run.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

WIDTH, HEIGHT = 1280, 960

Colour = tuple[int, int, int]
Point = tuple[float, float]
Box = tuple[float, float, float, float]
Paint = Callable[[ImageDraw.ImageDraw], None]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)


def gradient(stops: Sequence[tuple[float, Colour]], size: tuple[int, int]) -> Image.Image:
    """A picture that goes through colours from top to bottom.

    Args:
        stops: height from 0 (top) to 1 (bottom), and the colour there; in order.
    """
    _, height = size
    column = Image.new("RGB", (1, height))
    for y in range(height):
        at = y / max(height - 1, 1)
        below = next((i for i, (stop, _) in enumerate(stops) if stop >= at), len(stops) - 1)
        (start, first), (end, second) = stops[max(below - 1, 0)], stops[below]
        share = min(max((at - start) / (end - start), 0.0), 1.0) if end > start else 0.0
        column.putpixel((0, y), mixed(first, second, share))
    return column.resize(size, Image.Resampling.NEAREST)


def sheet(*stops: Colour) -> Image.Image:
    """A full picture in one colour, or from the first colour (top) to the last (bottom)."""
    last = max(len(stops) - 1, 1)
    return gradient([(i / last, colour) for i, colour in enumerate(stops)], (WIDTH, HEIGHT))


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """The colour that is `share` (0 to 1) of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def mask_of(paint: Paint) -> Image.Image:
    """What `paint` draws in 255, as a mask of a full picture."""
    mask = Image.new("L", (WIDTH, HEIGHT))
    paint(ImageDraw.Draw(mask))
    return mask


def _softened(mask: Image.Image, blur: float, opacity: float) -> Image.Image:
    if blur:
        mask = mask.filter(ImageFilter.GaussianBlur(blur))
    return mask.point(lambda value: value * opacity) if opacity < 1 else mask


def lay(
    picture: Image.Image,
    what: Colour | Image.Image,
    paint: Paint,
    *,
    blur: float = 0,
    opacity: float = 1.0,
) -> None:
    """Lay a colour, or another full picture, over what `paint` draws in 255."""
    mask = mask_of(paint)
    if (box := mask.getbbox()) is None:
        return
    # Blurring is what takes the time: only the part that the shape can reach is blurred.
    reach = round(blur * 4) + 2
    left, top = max(box[0] - reach, 0), max(box[1] - reach, 0)
    part = (left, top, min(box[2] + reach, WIDTH), min(box[3] + reach, HEIGHT))
    mask = _softened(mask.crop(part), blur, opacity)
    picture.paste(what.crop(part) if isinstance(what, Image.Image) else what, part, mask)


def shadow(picture: Image.Image, paint: Paint, *, blur: float = 18, opacity: float = 0.45) -> None:
    """A soft shadow of what `paint` draws in 255."""
    lay(picture, BLACK, paint, blur=blur, opacity=opacity)


def ellipse(box: Box) -> Paint:
    """Paint an ellipse."""
    return lambda draw: draw.ellipse(box, fill=255)


def rectangle(box: Box, radius: float = 0) -> Paint:
    """Paint a rectangle, with round corners where a radius is given."""
    return lambda draw: draw.rounded_rectangle(box, radius, fill=255)


def polygon(points: Sequence[Point]) -> Paint:
    """Paint a polygon."""
    return lambda draw: draw.polygon(list(points), fill=255)


def glow(
    picture: Image.Image, centre: Point, radius: float, colour: Colour, opacity: float
) -> None:
    """Light that fades out from a point."""
    side = round(radius * 2)
    light = ImageChops.invert(Image.radial_gradient("L")).resize((side, side))
    # A radial gradient reaches 255 at the corners; what is left at the edge's middle would show.
    light = light.point(lambda value: max(value - 75, 0) / 180 * 255 * opacity)
    corner = (round(centre[0] - radius), round(centre[1] - radius))
    picture.paste(colour, (*corner, corner[0] + side, corner[1] + side), light)


def noise(
    seed: int, cells: tuple[int, int], size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Image.Image:
    """Smooth random grey: `cells` random values across and down, blown up to `size`."""
    values = random.Random(seed).randbytes(cells[0] * cells[1])  # noqa: S311 - a drawing
    return Image.frombytes("L", cells, values).resize(size, Image.Resampling.BICUBIC)


def clouds(seed: int, cells: tuple[int, int] = (5, 4)) -> Image.Image:
    """Grey clouds: noise at four scales."""
    whole = noise(seed, cells)
    for octave in range(1, 4):
        finer = noise(seed + octave, (cells[0] * 2**octave, cells[1] * 2**octave))
        whole = Image.blend(whole, finer, 0.5**octave)
    return whole


def tint(picture: Image.Image, colour: Colour, mask: Image.Image, opacity: float) -> None:
    """Lay a colour over a picture, as strong as the mask is bright."""
    picture.paste(colour, (0, 0, WIDTH, HEIGHT), mask.point(lambda value: value * opacity))


def within(mask: Image.Image, paint: Paint) -> Image.Image:
    """The part of a mask that lies in what `paint` draws."""
    return ImageChops.multiply(mask, mask_of(paint))


def wood(first: Colour, second: Colour, seed: int) -> Image.Image:
    """Planks with grain, over the whole picture."""
    picture = sheet(first, mixed(first, second, 0.35))
    tint(picture, second, noise(seed, (7, 240)), 0.45)
    tint(picture, second, noise(seed + 1, (3, 40)), 0.35)
    draw = ImageDraw.Draw(picture)
    for y in range(0, HEIGHT, 192):
        draw.line((0, y, WIDTH, y), fill=mixed(second, BLACK, 0.45), width=5)
    return picture


def vignette(picture: Image.Image, opacity: float = 0.45) -> None:
    """Darken the corners."""
    mask = Image.radial_gradient("L").resize((WIDTH, HEIGHT))
    tint(picture, BLACK, mask.point(lambda value: max(value - 90, 0) * 1.5), opacity)


def grain(picture: Image.Image, seed: int, amount: float = 0.025) -> Image.Image:
    """A little film grain, so that flat colours look less like a drawing."""
    speckles = noise(seed, (WIDTH // 3, HEIGHT // 3)).convert("RGB")
    return Image.blend(picture, ImageChops.overlay(picture, speckles), amount * 4)


def curve(*corners: Point, steps: int = 48) -> list[Point]:
    """A smooth open line through its corners (Catmull-Rom)."""
    points = [corners[0], *corners, corners[-1]]
    line: list[Point] = []
    for a, b, c, d in zip(points, points[1:], points[2:], points[3:], strict=False):
        for step in range(steps):
            t = step / steps
            line.append((_spline(a[0], b[0], c[0], d[0], t), _spline(a[1], b[1], c[1], d[1], t)))
    return [*line, corners[-1]]


def blob(*corners: Point) -> list[Point]:
    """A smooth closed shape through its corners."""
    count = len(corners)
    around = [corners[i % count] for i in range(-1, count + 2)]
    line: list[Point] = []
    for a, b, c, d in zip(around, around[1:], around[2:], around[3:], strict=False):
        for step in range(24):
            t = step / 24
            line.append((_spline(a[0], b[0], c[0], d[0], t), _spline(a[1], b[1], c[1], d[1], t)))
    return line


def _spline(a: float, b: float, c: float, d: float, t: float) -> float:
    return 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t**3
    )


def ragged(centre: Point, radius: Point, seed: int, rough: float = 0.08) -> list[Point]:
    """A rough ellipse."""
    chance = random.Random(seed)  # noqa: S311 - a drawing
    corners = []
    for i in range(18):
        angle, far = i / 18 * math.tau, 1 + chance.uniform(-rough, rough)
        corners.append(
            (
                centre[0] + radius[0] * far * math.cos(angle),
                centre[1] + radius[1] * far * math.sin(angle),
            )
        )
    return blob(*corners)


def font(size: float) -> ImageFont.FreeTypeFont:
    """The font that Pillow ships (Aileron Regular, CC0)."""
    shipped = ImageFont.load_default(size)
    if not isinstance(shipped, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType; install its wheel to draw")
    # Raqm is not on every machine, and would lay the same letters out differently.
    return shipped.font_variant(layout_engine=ImageFont.Layout.BASIC)


def write(
    draw: ImageDraw.ImageDraw,
    at: Point,
    text: str,
    size: float,
    colour: Colour,
    *,
    anchor: str = "mm",
    bold: float = 0,
    outline: Colour | None = None,
) -> None:
    """Write one line.

    Args:
        at: where the anchor is (Pillow's anchors; the middle by default).
        bold: pixels to thicken the letters by, or the outline's width where it has one.
    """
    draw.text(
        at,
        text,
        font=font(size),
        fill=colour,
        anchor=anchor,
        stroke_width=bold,
        stroke_fill=outline or colour,
    )


def stroke(
    draw: ImageDraw.ImageDraw, line: Sequence[Point], colour: Colour | int, width: float
) -> None:
    """Draw a thick line along a curve.

    Pillow's own joints leave spikes on a line of many short pieces, so this is round brush marks.
    """
    half = width / 2
    for (x, y), (to_x, to_y) in pairwise(line):
        marks = max(1, math.ceil(math.hypot(to_x - x, to_y - y) / max(half / 3, 1)))
        for mark in range(marks + 1):
            at_x, at_y = x + (to_x - x) * mark / marks, y + (to_y - y) * mark / marks
            draw.ellipse((at_x - half, at_y - half, at_x + half, at_y + half), fill=colour)


def trail(line: Sequence[Point], width: float) -> Paint:
    """Paint a thick line along a curve."""
    return lambda draw: stroke(draw, line, 255, width)
