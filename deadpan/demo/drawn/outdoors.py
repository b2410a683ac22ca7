"""Scenes under the sky."""

from __future__ import annotations

import math
import random
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFilter

from deadpan.demo.drawn.canvas import (
    BLACK,
    HEIGHT,
    WHITE,
    WIDTH,
    Colour,
    Point,
    blob,
    clouds,
    curve,
    ellipse,
    glow,
    gradient,
    grain,
    lay,
    mixed,
    noise,
    polygon,
    rectangle,
    shadow,
    sheet,
    tint,
    vignette,
    within,
    write,
)


def sunset_sea() -> Image.Image:
    """The sun goes down over a calm sea."""
    horizon = 560
    picture = gradient(
        [
            (0, (40, 34, 92)),
            (0.22, (122, 60, 124)),
            (0.42, (238, 122, 92)),
            (0.585, (255, 206, 122)),
        ],
        (WIDTH, HEIGHT),
    )
    sky = rectangle((0, 0, WIDTH, horizon))
    bands = clouds(11, (3, 14)).point(lambda value: max(value - 120, 0) * 2)
    tint(picture, (255, 150, 120), within(bands, sky), 0.55)
    tint(
        picture,
        (86, 44, 104),
        within(clouds(5, (3, 18)).point(lambda v: max(v - 140, 0) * 2), sky),
        0.6,
    )
    glow(picture, (640, horizon - 40), 620, (255, 214, 130), 0.7)
    lay(picture, (255, 247, 214), ellipse((560, horizon - 130, 720, horizon + 30)), blur=3)
    sea = gradient(
        [(0, (226, 132, 96)), (0.25, (120, 66, 110)), (1, (22, 24, 62))], (WIDTH, HEIGHT - horizon)
    )
    picture.paste(sea, (0, horizon))
    draw = ImageDraw.Draw(picture)
    chance = random.Random(3)  # noqa: S311 - a drawing
    for y in range(horizon + 4, HEIGHT, 7):
        near = (y - horizon) / (HEIGHT - horizon)
        for _ in range(14):
            x, long = chance.uniform(0, WIDTH), chance.uniform(20, 60 + 200 * near)
            dark = mixed((150, 82, 112), (14, 16, 50), near)
            draw.line((x, y, x + long, y), fill=dark, width=round(1 + 5 * near))
        for _ in range(7):
            x = chance.gauss(640, 60 + 130 * near)
            long = chance.uniform(14, 40 + 70 * near)
            draw.line(
                (x, y, x + long, y),
                fill=mixed((255, 238, 180), (255, 168, 110), near),
                width=round(2 + 4 * near),
            )
    picture = picture.filter(ImageFilter.GaussianBlur(1.2))
    draw = ImageDraw.Draw(picture)
    boat: Colour = (34, 22, 48)
    draw.polygon([(880, 600), (1010, 600), (985, 630), (905, 630)], fill=boat)
    draw.polygon([(944, 440), (944, 592), (1012, 592)], fill=boat)
    draw.polygon([(936, 470), (936, 592), (890, 592)], fill=boat)
    for x, y, wing in ((300, 200, 34), (370, 240, 24), (250, 262, 20)):
        draw.line(
            curve(
                (x - wing, y - wing / 3),
                (x - wing / 2, y - wing / 2),
                (x, y),
                (x + wing / 2, y - wing / 2),
                (x + wing, y - wing / 3),
            ),
            fill=boat,
            width=4,
        )
    vignette(picture, 0.4)
    return grain(picture, 1)


def bus_stop_rain() -> Image.Image:
    """A bus stop on a wet grey evening, nobody there, no bus."""
    x: float
    y: float
    picture = sheet((58, 68, 84), (98, 108, 122), (70, 78, 92))
    tint(picture, (38, 46, 60), clouds(8, (6, 5)), 0.5)
    draw = ImageDraw.Draw(picture)
    chance = random.Random(9)  # noqa: S311 - a drawing
    for x in range(-20, WIDTH, 118):
        top = chance.randrange(170, 420)
        draw.rectangle(
            (x, top, x + 104, 660), fill=mixed((52, 60, 76), (74, 82, 98), chance.random())
        )
        for window in range(top + 26, 620, 50):
            for side in (18, 62):
                if chance.random() < 0.22:
                    draw.rectangle(
                        (x + side, window, x + side + 22, window + 26), fill=(196, 172, 112)
                    )
    picture = picture.filter(ImageFilter.GaussianBlur(6))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 640, WIDTH, 760), fill=(84, 90, 98))
    draw.rectangle((0, 744, WIDTH, 764), fill=(120, 124, 130))
    draw.rectangle((0, 764, WIDTH, HEIGHT), fill=(46, 50, 58))
    # The shelter.
    lay(picture, (150, 176, 190), rectangle((250, 300, 800, 690)), opacity=0.28)
    draw = ImageDraw.Draw(picture)
    frame: Colour = (30, 36, 44)
    draw.polygon([(216, 268), (860, 268), (836, 312), (236, 312)], fill=frame)
    for x in (250, 432, 614, 788):
        draw.rectangle((x, 300, x + 12, 700), fill=frame)
    draw.rectangle((250, 600, 800, 622), fill=(112, 76, 48))
    draw.rectangle((250, 622, 800, 630), fill=(70, 46, 30))
    for x in (300, 520, 740):
        draw.rectangle((x, 628, x + 10, 700), fill=frame)
    lay(
        picture,
        WHITE,
        polygon([(270, 312), (330, 312), (290, 600), (262, 600)]),
        blur=8,
        opacity=0.18,
    )
    glow(picture, (520, 330), 330, (255, 226, 160), 0.42)
    # The sign.
    draw = ImageDraw.Draw(picture)
    draw.rectangle((982, 250, 996, 720), fill=frame)
    draw.ellipse((910, 150, 1068, 308), fill=(236, 200, 60), outline=(28, 92, 60), width=16)
    write(draw, (989, 231), "BUS", 62, (28, 92, 60), bold=3)
    draw.rounded_rectangle((926, 350, 1052, 470), 8, fill=(24, 28, 34))
    write(draw, (989, 388), "12 min", 32, (255, 170, 50))
    write(draw, (989, 436), "57 min", 32, (255, 170, 50))
    # Puddles mirror what stands above them.
    mirror = picture.crop((0, 300, WIDTH, 760)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    wet = picture.copy()
    wet.paste(mirror.filter(ImageFilter.GaussianBlur(5)).resize((WIDTH, 330)), (0, 762))
    lay(picture, wet, rectangle((0, 770, WIDTH, HEIGHT)), opacity=0.45)
    for box in ((120, 800, 720, 880), (640, 880, 1180, 946), (820, 786, 1120, 826)):
        lay(picture, wet, ellipse(box), blur=4, opacity=0.85)
    rain = Image.new("L", picture.size)
    drops = ImageDraw.Draw(rain)
    for _ in range(900):
        x, y, long = (
            chance.uniform(-40, WIDTH + 60),
            chance.uniform(-40, HEIGHT),
            chance.uniform(20, 64),
        )
        drops.line((x, y, x - long * 0.22, y + long), fill=chance.randrange(70, 190), width=2)
    tint(picture, (214, 226, 238), rain, 0.62)
    draw = ImageDraw.Draw(picture)
    for _ in range(60):
        x, y, wide = chance.uniform(0, WIDTH), chance.uniform(780, HEIGHT), chance.uniform(6, 20)
        draw.arc((x, y, x + wide * 2, y + wide * 0.7), 0, 360, fill=(150, 164, 178), width=2)
    vignette(picture, 0.5)
    return grain(picture, 2)


def traffic_jam() -> Image.Image:
    """Three lanes of tail lights, all the way to the horizon."""
    picture = gradient(
        [(0, (92, 96, 120)), (0.3, (214, 160, 126)), (0.42, (236, 190, 140))], (WIDTH, HEIGHT)
    )
    tint(picture, (104, 92, 110), clouds(21, (4, 9)), 0.4)
    draw = ImageDraw.Draw(picture)
    chance = random.Random(12)  # noqa: S311 - a drawing
    for x in range(0, WIDTH, 64):
        draw.rectangle(
            (x, 395 - abs(x - 640) * 0.1 - chance.randrange(10, 90), x + 58, 420), fill=(98, 84, 96)
        )
    picture = picture.filter(ImageFilter.GaussianBlur(3))
    draw = ImageDraw.Draw(picture)
    draw.polygon([(0, 410), (WIDTH, 410), (WIDTH, HEIGHT), (0, HEIGHT)], fill=(84, 84, 72))
    draw.polygon([(560, 408), (720, 408), (1640, HEIGHT), (-360, HEIGHT)], fill=(66, 66, 72))
    tint(
        picture,
        (40, 40, 46),
        within(noise(4, (160, 120)), rectangle((0, 410, WIDTH, HEIGHT))),
        0.25,
    )
    draw = ImageDraw.Draw(picture)
    for side in (-1, 1):
        near, far = 640 + side * 355, 640 + side * 27
        for step in range(9):
            a, b = (step / 9) ** 2, ((step + 0.5) / 9) ** 2
            draw.line(
                (far + (near - far) * a, 410 + 550 * a, far + (near - far) * b, 410 + 550 * b),
                fill=(220, 216, 200),
                width=max(2, round(12 * b)),
            )
    paints: tuple[Colour, ...] = (
        (150, 40, 40),
        (214, 214, 220),
        (44, 62, 98),
        (40, 42, 48),
        (128, 134, 140),
        (206, 170, 70),
        (60, 92, 78),
    )
    for step in range(11):
        near = (step / 10) ** 1.8
        for lane in (-1, 0, 1):
            size = 17 + 160 * near
            x = 640 + lane * (58 + 485 * near) + chance.uniform(-0.05, 0.05) * size
            y = 416 + 470 * near - (lane * 0.06 + 0.1) * size
            if y < 900:
                _car(picture, (x, y), size, chance.choice(paints))
    glow(picture, (640, 400), 420, (255, 210, 150), 0.35)
    vignette(picture, 0.45)
    return grain(picture, 3)


def _car(picture: Image.Image, at: Point, size: float, paint: Colour) -> None:
    """A car from behind; `size` is half its width in pixels."""
    x, y = at
    shadow(
        picture,
        ellipse((x - size * 1.1, y + size * 0.42, x + size * 1.1, y + size * 0.74)),
        blur=size / 12 + 1,
        opacity=0.6,
    )
    draw = ImageDraw.Draw(picture)
    for side in (-1, 1):
        draw.rounded_rectangle(
            (
                x + side * size * 0.72 - size * 0.17,
                y + size * 0.2,
                x + side * size * 0.72 + size * 0.17,
                y + size * 0.64,
            ),
            size * 0.06,
            fill=(18, 18, 20),
        )
    draw.polygon(
        [
            (x - size * 0.62, y - size * 0.78),
            (x + size * 0.62, y - size * 0.78),
            (x + size * 0.86, y - size * 0.16),
            (x - size * 0.86, y - size * 0.16),
        ],
        fill=mixed(paint, BLACK, 0.18),
    )
    draw.rounded_rectangle(
        (x - size, y - size * 0.24, x + size, y + size * 0.44), size * 0.17, fill=paint
    )
    draw.rounded_rectangle(
        (x - size, y + size * 0.22, x + size, y + size * 0.48),
        size * 0.1,
        fill=mixed(paint, BLACK, 0.3),
    )
    draw.polygon(
        [
            (x - size * 0.54, y - size * 0.69),
            (x + size * 0.54, y - size * 0.69),
            (x + size * 0.72, y - size * 0.26),
            (x - size * 0.72, y - size * 0.26),
        ],
        fill=(42, 52, 66),
    )
    draw.polygon(
        [
            (x - size * 0.5, y - size * 0.66),
            (x - size * 0.1, y - size * 0.66),
            (x - size * 0.3, y - size * 0.29),
            (x - size * 0.67, y - size * 0.29),
        ],
        fill=(84, 98, 116),
    )
    draw.rounded_rectangle(
        (x - size * 0.28, y + size * 0.02, x + size * 0.28, y + size * 0.18),
        size * 0.03,
        fill=(232, 230, 214),
    )
    for side in (-1, 1):
        box = (
            x + side * size * 0.78 - size * 0.19,
            y - size * 0.12,
            x + side * size * 0.78 + size * 0.19,
            y + size * 0.1,
        )
        draw.rounded_rectangle(box, size * 0.05, fill=(255, 62, 44))
        if size > 14:
            glow(picture, (x + side * size * 0.78, y), size * 0.62, (255, 60, 30), 0.6)
            draw = ImageDraw.Draw(picture)
            draw.ellipse(
                (
                    x + side * size * 0.78 - size * 0.09,
                    y - size * 0.07,
                    x + side * size * 0.78 + size * 0.09,
                    y + size * 0.05,
                ),
                fill=(255, 190, 160),
            )


def mountain_lake() -> Image.Image:
    """Snowy peaks, mirrored in a lake on a bright morning."""
    shore = 590
    picture = gradient([(0, (58, 128, 206)), (0.6, (206, 230, 244))], (WIDTH, HEIGHT))
    tint(picture, WHITE, clouds(31, (4, 7)).point(lambda value: max(value - 118, 0) * 2), 0.75)
    for seed, base, high, colour in ((2, 470, 190, (138, 160, 190)), (6, 560, 330, (92, 108, 132))):
        ridge = _ridge(seed, base, high)
        stone = Image.new("RGB", picture.size, colour)
        tint(stone, mixed(colour, BLACK, 0.55), noise(seed + 40, (46, 34)), 0.5)
        snow = Image.new("RGB", picture.size, (246, 249, 253))
        tint(snow, (150, 172, 204), noise(seed + 50, (26, 18)), 0.55)
        lay(picture, stone, polygon([*ridge, (WIDTH, shore), (0, shore)]))
        wave = random.Random(seed + 1)  # noqa: S311 - a drawing
        cap = [
            (x, min(y + wave.uniform(40, 120) * max((base - y) / high, 0) * 1.5, base))
            for x, y in ridge
        ]
        lay(picture, snow, polygon([*ridge, *reversed(cap)]), blur=1)
    draw = ImageDraw.Draw(picture)
    chance = random.Random(17)  # noqa: S311 - a drawing
    for row, colour in ((0, (38, 76, 66)), (16, (26, 60, 48)), (30, (18, 46, 36))):
        for x in range(-20, WIDTH + 20, 17):
            far = abs(x - 640) / 640
            tall = chance.uniform(26, 54) + 60 * far**2
            foot = shore - 14 + row * 0.5
            draw.polygon(
                [
                    (x - tall * 0.22, foot),
                    (x + tall * 0.22, foot),
                    (x + chance.uniform(-2, 2), foot - tall),
                ],
                fill=colour,
            )
    mirror = picture.crop((0, shore * 2 - HEIGHT, WIDTH, shore)).transpose(
        Image.Transpose.FLIP_TOP_BOTTOM
    )
    picture.paste(mirror.filter(ImageFilter.GaussianBlur(2.5)), (0, shore))
    water = rectangle((0, shore, WIDTH, HEIGHT))
    lay(picture, (22, 70, 104), water, opacity=0.32)
    tint(picture, WHITE, within(noise(70, (9, 110)).point(lambda v: max(v - 150, 0)), water), 0.55)
    lay(picture, (236, 246, 250), rectangle((0, shore - 2, WIDTH, shore + 3)), blur=2, opacity=0.6)
    vignette(picture, 0.3)
    return grain(picture, 4, 0.02)


def _ridge(seed: int, base: float, high: float) -> list[Point]:
    """A mountain ridge from left to right, by midpoint displacement."""
    chance = random.Random(seed)  # noqa: S311 - a drawing
    line: list[Point] = [
        (0, base - high * 0.3),
        (300, base - high),
        (620, base - high * 0.35),
        (930, base - high * 0.88),
        (WIDTH, base - high * 0.25),
    ]
    rough = high * 0.16
    while len(line) < 200:
        finer = [line[0]]
        for a, b in pairwise(line):
            finer += [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2 + chance.uniform(-rough, rough)), b]
        line, rough = finer, rough * 0.55
    return line


def fireworks() -> Image.Image:
    """Fireworks over a town at night."""
    x: float
    y: float
    picture = sheet((8, 10, 34), (26, 22, 62), (74, 44, 86))
    chance = random.Random(28)  # noqa: S311 - a drawing
    draw = ImageDraw.Draw(picture)
    for _ in range(90):
        x, y = chance.uniform(0, WIDTH), chance.uniform(0, 600)
        draw.ellipse((x, y, x + 2, y + 2), fill=(170, 170, 200))
    bursts: tuple[tuple[Point, float, Colour], ...] = (
        ((380, 300), 270, (255, 196, 92)),
        ((880, 230), 230, (255, 96, 130)),
        ((1080, 480), 150, (120, 220, 255)),
        ((150, 510), 120, (150, 255, 170)),
        ((640, 520), 140, (214, 140, 255)),
    )
    for centre, radius, colour in bursts:
        glow(picture, centre, radius * 1.7, colour, 0.34)
        draw = ImageDraw.Draw(picture)
        for spark in range(64):
            angle = spark / 64 * math.tau + chance.uniform(-0.04, 0.04)
            far = radius * chance.uniform(0.72, 1.06)
            for part in range(18):
                at = part / 17
                x = centre[0] + math.cos(angle) * far * at
                y = centre[1] + math.sin(angle) * far * at + 46 * at**2.2 * radius / 200
                wide = 1.2 + 2.6 * at
                if part > 2:
                    draw.ellipse(
                        (x - wide, y - wide, x + wide, y + wide),
                        fill=mixed(WHITE, colour, min(1, 0.3 + at)),
                    )
        glow(picture, centre, radius * 0.3, mixed(WHITE, colour, 0.15), 1.0)
    draw = ImageDraw.Draw(picture)
    for x in range(0, WIDTH, 74):
        top = chance.randrange(700, 830)
        draw.rectangle((x, top, x + 74, HEIGHT), fill=(12, 10, 26))
        if chance.random() < 0.5:
            draw.polygon([(x - 6, top), (x + 37, top - 44), (x + 80, top)], fill=(12, 10, 26))
        for y in range(top + 20, HEIGHT - 20, 38):
            for side in (14, 44):
                if chance.random() < 0.35:
                    draw.rectangle((x + side, y, x + side + 14, y + 18), fill=(255, 206, 112))
    return picture


def dropped_ice_cream() -> Image.Image:
    """An ice cream that did not make it, upside down on the pavement."""
    picture = sheet((176, 170, 162), (150, 144, 138))
    tint(picture, (92, 88, 84), noise(51, (320, 240)), 0.35)
    tint(picture, (110, 104, 100), noise(52, (18, 14)), 0.3)
    draw = ImageDraw.Draw(picture)
    for line in (
        (0, 250, WIDTH, 210),
        (0, 780, WIDTH, 742),
        (420, 236, 300, 772),
        (1010, 216, 1120, 746),
        (700, 0, 690, 226),
        (720, 760, 740, HEIGHT),
    ):
        draw.line(line, fill=(98, 94, 90), width=9)
        draw.line(tuple(v - 4 for v in line), fill=(196, 190, 182), width=3)
    puddle = blob(
        (330, 640),
        (300, 560),
        (410, 510),
        (520, 470),
        (700, 460),
        (860, 500),
        (980, 560),
        (1010, 640),
        (930, 700),
        (800, 690),
        (740, 770),
        (650, 750),
        (560, 700),
        (430, 720),
    )
    shadow(picture, polygon([(x + 8, y + 14) for x, y in puddle]), blur=8, opacity=0.4)
    lay(picture, (250, 190, 202), polygon(puddle))
    inner = [(660 + (x - 660) * 0.9, 600 + (y - 600) * 0.86) for x, y in puddle]
    lay(picture, (255, 214, 220), polygon(inner), blur=10, opacity=0.8)
    # Shaded as a ball, lit from the upper left, before the cone stands on it.
    scoop = blob(
        (430, 600),
        (450, 470),
        (540, 390),
        (660, 360),
        (780, 390),
        (870, 470),
        (890, 600),
        (800, 660),
        (660, 680),
        (520, 660),
    )
    ball = Image.new("RGB", picture.size, (244, 160, 178))
    glow(ball, (570, 450), 330, (255, 226, 230), 0.9)
    tint(ball, (214, 110, 136), noise(53, (60, 46)), 0.35)
    lay(picture, ball, polygon(scoop))
    lay(
        picture,
        (176, 78, 104),
        polygon(blob((440, 600), (660, 640), (880, 600), (800, 662), (660, 682), (520, 662))),
        blur=14,
        opacity=0.5,
    )
    cone: list[Point] = [(520, 420), (800, 420), (706, 60)]
    shadow(picture, ellipse((500, 380, 830, 470)), blur=12, opacity=0.35)
    waffle = Image.new("RGB", picture.size, (224, 168, 98))
    lines = ImageDraw.Draw(waffle)
    for offset in range(-800, 1400, 46):
        lines.line((offset, 0, offset + 500, 480), fill=(172, 112, 54), width=8)
        lines.line((offset + 500, 0, offset, 480), fill=(172, 112, 54), width=8)
        lines.line((offset + 5, 0, offset + 505, 480), fill=(244, 200, 138), width=3)
    lay(waffle, BLACK, polygon([(700, 420), (840, 420), (706, 60)]), blur=24, opacity=0.35)
    rim = blob((520, 420), (590, 446), (660, 452), (730, 446), (800, 420), (706, 300), (600, 330))
    lay(picture, waffle, polygon(cone))
    lay(picture, waffle, polygon(rim))
    chance = random.Random(6)  # noqa: S311 - a drawing
    draw = ImageDraw.Draw(picture)
    for _ in range(46):
        x, y, turn = chance.uniform(470, 860), chance.uniform(480, 640), chance.uniform(0, math.pi)
        colour = chance.choice(
            ((92, 190, 226), (250, 214, 90), (140, 206, 110), (234, 84, 110), WHITE)
        )
        draw.line((x, y, x + 20 * math.cos(turn), y + 20 * math.sin(turn)), fill=colour, width=8)
    vignette(picture, 0.4)
    return grain(picture, 5, 0.02)
