"""Scenes at home."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageDraw, ImageFilter

from deadpan.demo.drawn.canvas import (
    BLACK,
    HEIGHT,
    WHITE,
    WIDTH,
    Colour,
    Point,
    blob,
    curve,
    ellipse,
    glow,
    grain,
    lay,
    mixed,
    noise,
    polygon,
    ragged,
    rectangle,
    shadow,
    sheet,
    stroke,
    tint,
    trail,
    vignette,
    within,
    wood,
    write,
)


def flooded_kitchen() -> Image.Image:
    """A kitchen under water, the tap still running."""
    x: float
    y: float
    picture = sheet((214, 222, 218), (196, 204, 202))
    draw = ImageDraw.Draw(picture)
    for y in range(150, 520, 62):
        for x in range(-40 + (y // 62 % 2) * 62, WIDTH, 124):
            draw.rectangle(
                (x, y, x + 118, y + 56), fill=(226, 232, 228), outline=(190, 198, 196), width=2
            )
    # The window, with the weather that did it.
    draw.rectangle((470, 60, 830, 400), fill=(244, 240, 230))
    draw.rectangle((490, 80, 810, 380), fill=(112, 128, 146))
    chance = random.Random(4)  # noqa: S311 - a drawing
    for _ in range(90):
        x, y = chance.uniform(496, 806), chance.uniform(82, 350)
        draw.line((x, y, x - 6, y + 26), fill=(168, 184, 198), width=2)
    draw.rectangle((640, 80, 656, 380), fill=(244, 240, 230))
    draw.rectangle((490, 222, 810, 236), fill=(244, 240, 230))
    draw.rectangle((450, 396, 850, 414), fill=(228, 222, 210))
    for box in ((20, 40, 420, 290), (880, 40, 1270, 290)):
        shadow(
            picture,
            rectangle((box[0] + 6, box[1] + 14, box[2] + 6, box[3] + 14)),
            blur=12,
            opacity=0.35,
        )
        draw = ImageDraw.Draw(picture)
        draw.rectangle(box, fill=(76, 118, 122))
        middle = (box[0] + box[2]) / 2
        for left, right in ((box[0], middle), (middle, box[2])):
            draw.rounded_rectangle(
                (left + 16, box[1] + 16, right - 16, box[3] - 16), 6, outline=(56, 94, 98), width=5
            )
        for x in (middle - 26, middle + 16):
            draw.rounded_rectangle((x, box[3] - 90, x + 10, box[3] - 40), 5, fill=(226, 206, 150))
    # Cupboards, sink and stove.
    draw.rectangle((0, 520, WIDTH, 900), fill=(82, 126, 130))
    for x in range(0, WIDTH, 256):
        draw.rounded_rectangle((x + 16, 570, x + 240, 900), 6, outline=(58, 98, 102), width=5)
        draw.rounded_rectangle((x + 200, 600, x + 212, 660), 5, fill=(226, 206, 150))
    draw.rectangle((896, 530, 1160, 900), fill=(60, 62, 66))
    draw.rounded_rectangle((922, 610, 1134, 800), 10, fill=(26, 28, 32))
    for x in (940, 1000, 1060, 1114):
        draw.ellipse((x - 14, 552, x + 14, 580), fill=(206, 206, 206))
    draw.rectangle((0, 500, WIDTH, 532), fill=(150, 110, 74))
    draw.rectangle((0, 526, WIDTH, 540), fill=(104, 72, 46))
    draw.rectangle((500, 498, 800, 514), fill=(176, 184, 190))
    draw.rectangle((516, 504, 784, 516), fill=(120, 188, 216))
    stroke(
        draw, curve((700, 500), (704, 420), (672, 392), (634, 410), (630, 440)), (150, 158, 166), 22
    )
    stroke(draw, curve((696, 500), (700, 420), (672, 398), (640, 410)), (214, 220, 226), 6)
    lay(
        picture,
        (176, 220, 240),
        polygon([(619, 440), (641, 440), (652, 505), (608, 505)]),
        opacity=0.9,
    )
    # It runs over the edge.
    for left, right in ((520, 600), (640, 704), (730, 782)):
        fall = polygon([(left, 506), (right, 506), (right + 10, 720), (left - 10, 720)])
        lay(picture, (150, 206, 230), fall, blur=3, opacity=0.7)
        tint(picture, WHITE, within(noise(left, (90, 5)), fall), 0.35)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((930, 470, 1120, 498), fill=(44, 46, 50))
    draw.rounded_rectangle((950, 400, 1096, 478), 10, fill=(196, 62, 54))
    draw.rectangle((940, 392, 1106, 408), fill=(160, 44, 40))
    draw.ellipse((1010, 372, 1036, 394), fill=(40, 40, 40))
    draw.rounded_rectangle((110, 408, 170, 500), 8, fill=(230, 224, 208))
    for x in (124, 140, 154):
        draw.line((x, 420, x + (x - 140) * 1.6, 330), fill=(150, 106, 66), width=8)
    # Water, to the knees.
    level = 690
    wave = [
        (x, level + 8 * math.sin(x / 67) + 5 * math.sin(x / 29)) for x in range(0, WIDTH + 20, 10)
    ]
    surface = polygon([*wave, (WIDTH, HEIGHT), (0, HEIGHT)])
    below = sheet((96, 158, 178), (60, 128, 156), (24, 72, 104))
    bent = picture.crop((0, 380, WIDTH, level)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    mirror = below.copy()
    mirror.paste(bent.filter(ImageFilter.GaussianBlur(9)), (0, level))
    lay(picture, below, surface, opacity=0.8)
    lay(picture, mirror, surface, opacity=0.32)
    ripples = noise(77, (16, 150)).point(lambda value: max(value - 168, 0) * 3)
    tint(picture, (224, 244, 250), within(ripples, surface), 0.6)
    draw = ImageDraw.Draw(picture)
    draw.line(wave, fill=(232, 246, 250), width=5, joint="curve")
    for x, y in ((560, 716), (672, 726), (756, 714)):
        for ring in (70, 46, 24):
            draw.ellipse(
                (x - ring, y - ring * 0.22, x + ring, y + ring * 0.22),
                outline=(236, 248, 252),
                width=3,
            )
    _chair(picture)
    _duck(picture, (872, 790))
    _floating(picture)
    vignette(picture, 0.45)
    return grain(picture, 10, 0.015)


def _chair(picture: Image.Image) -> None:
    """A chair that has fallen over and drifts."""
    draw = ImageDraw.Draw(picture)
    dark: Colour = (112, 70, 40)
    light: Colour = (164, 108, 66)
    for line in (((150, 800), (96, 640)), ((250, 800), (236, 622))):
        draw.line(line, fill=light, width=20)
    draw.line(((104, 664), (238, 648)), fill=light, width=24)
    draw.line(((118, 716), (242, 704)), fill=light, width=18)
    draw.polygon([(140, 790), (262, 772), (396, 806), (270, 836)], fill=light)
    draw.polygon([(140, 790), (270, 836), (270, 852), (140, 806)], fill=dark)
    draw.polygon([(270, 836), (396, 806), (396, 820), (270, 852)], fill=dark)
    lay(picture, (40, 96, 126), ellipse((110, 812, 420, 880)), blur=14, opacity=0.7)
    draw = ImageDraw.Draw(picture)
    draw.arc((90, 800, 440, 880), 10, 170, fill=(206, 232, 240), width=4)


def _duck(picture: Image.Image, at: Point) -> None:
    """A rubber duck, untroubled."""
    x, y = at
    lay(picture, (24, 64, 90), ellipse((x - 110, y + 30, x + 120, y + 84)), blur=10, opacity=0.6)
    yellow: Colour = (255, 212, 56)
    lay(
        picture,
        yellow,
        polygon(
            blob(
                (x - 100, y - 6),
                (x - 118, y - 50),
                (x - 66, y - 18),
                (x, y - 24),
                (x + 66, y - 20),
                (x + 84, y + 18),
                (x + 46, y + 58),
                (x - 46, y + 58),
            )
        ),
    )
    lay(picture, yellow, ellipse((x - 2, y - 118, x + 102, y - 16)))
    lay(
        picture,
        (226, 160, 30),
        polygon(
            blob(
                (x - 100, y + 10), (x, y + 30), (x + 80, y + 20), (x + 46, y + 60), (x - 46, y + 60)
            )
        ),
        blur=10,
        opacity=0.6,
    )
    lay(
        picture,
        (240, 184, 40),
        polygon(
            blob((x - 60, y), (x - 6, y - 6), (x + 22, y + 14), (x - 20, y + 36), (x - 64, y + 24))
        ),
        blur=2,
    )
    lay(picture, WHITE, ellipse((x + 16, y - 106, x + 52, y - 78)), blur=8, opacity=0.7)
    draw = ImageDraw.Draw(picture)
    draw.polygon(
        blob((x + 84, y - 74), (x + 132, y - 66), (x + 136, y - 54), (x + 90, y - 48)),
        fill=(238, 112, 40),
    )
    draw.ellipse((x + 56, y - 90, x + 74, y - 70), fill=(30, 26, 24))
    draw.ellipse((x + 60, y - 88, x + 66, y - 82), fill=WHITE)
    draw.arc((x - 130, y + 20, x + 140, y + 84), 15, 165, fill=(226, 242, 248), width=4)


def _floating(picture: Image.Image) -> None:
    """What else drifts by: a pan, a slice of toast, an orange."""
    draw = ImageDraw.Draw(picture)
    draw.line((560, 858, 690, 826), fill=(36, 36, 40), width=18)
    draw.ellipse((420, 826, 590, 902), fill=(36, 38, 44))
    draw.ellipse((436, 832, 574, 886), fill=(66, 70, 78))
    draw.ellipse((1096, 842, 1160, 896), fill=(242, 146, 44))
    draw.ellipse((1108, 848, 1130, 864), fill=(255, 196, 120))
    draw.arc((1076, 862, 1180, 912), 10, 170, fill=(220, 240, 246), width=3)
    draw.arc((400, 850, 610, 922), 10, 170, fill=(206, 232, 240), width=3)


def empty_fridge() -> Image.Image:
    """An open fridge with a jar, half a lemon and a lot of light."""
    picture = sheet((70, 74, 86), (44, 46, 56))
    glow(picture, (560, 480), 900, (226, 236, 240), 0.5)
    shadow(picture, rectangle((196, 40, 960, HEIGHT)), blur=30, opacity=0.5)
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((190, 20, 930, HEIGHT + 40), 30, fill=(206, 210, 214))
    draw.rounded_rectangle((226, 56, 894, HEIGHT + 40), 16, fill=(236, 243, 246))
    lay(picture, (198, 212, 220), rectangle((226, 56, 300, HEIGHT)), blur=30, opacity=0.9)
    lay(picture, (198, 212, 220), rectangle((830, 56, 894, HEIGHT)), blur=30, opacity=0.9)
    glow(picture, (560, 110), 420, WHITE, 0.95)
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((480, 74, 640, 104), 12, fill=(255, 252, 226))
    for y in (300, 500, 700):
        lay(picture, (150, 172, 184), rectangle((228, y + 14, 892, y + 50)), blur=10, opacity=0.35)
        draw = ImageDraw.Draw(picture)
        draw.rectangle((228, y, 892, y + 12), fill=(180, 206, 216))
        draw.rectangle((228, y, 892, y + 4), fill=(250, 254, 255))
    for left, right in ((246, 552), (568, 874)):
        draw.rounded_rectangle(
            (left, 760, right, 930), 12, fill=(220, 232, 238), outline=(168, 190, 200), width=4
        )
        draw.rounded_rectangle((left + 110, 776, right - 110, 796), 9, fill=(176, 196, 206))
    # The jar, the lemon, one egg, and a light that shows how little else.
    lay(picture, (120, 140, 150), ellipse((330, 484, 470, 510)), blur=6, opacity=0.6)
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle(
        (340, 386, 450, 500), 16, fill=(226, 234, 222), outline=(150, 168, 160), width=4
    )
    draw.rounded_rectangle((348, 462, 442, 494), 10, fill=(206, 172, 52))
    draw.rounded_rectangle((334, 362, 456, 392), 8, fill=(196, 60, 54))
    draw.rectangle((354, 412, 436, 450), fill=(250, 248, 238))
    write(draw, (395, 431), "mustard", 21, (120, 90, 30))
    lay(picture, (120, 140, 150), ellipse((650, 686, 770, 708)), blur=6, opacity=0.6)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((660, 620, 760, 702), fill=(244, 206, 60))
    draw.ellipse((668, 628, 734, 698), fill=(252, 240, 190))
    for angle in range(0, 360, 45):
        end = (701 + 29 * math.cos(math.radians(angle)), 663 + 31 * math.sin(math.radians(angle)))
        draw.line((701, 663, *end), fill=(230, 196, 80), width=3)
    # The door stands open.
    draw.polygon([(930, 40), (1180, -40), (1180, HEIGHT + 60), (930, HEIGHT)], fill=(222, 228, 232))
    draw.polygon([(930, 40), (958, 32), (958, HEIGHT), (930, HEIGHT)], fill=(150, 158, 164))
    for y in (240, 470, 720):
        draw.polygon(
            [(962, y), (1140, y - 22), (1140, y + 52), (962, y + 60)], fill=(192, 208, 216)
        )
        draw.polygon(
            [(962, y), (1140, y - 22), (1140, y - 12), (962, y + 10)], fill=(246, 250, 252)
        )
    lay(
        picture,
        BLACK,
        polygon([(1120, -40), (1180, -40), (1180, HEIGHT), (1120, HEIGHT)]),
        blur=24,
        opacity=0.3,
    )
    vignette(picture, 0.5)
    return grain(picture, 11, 0.015)


def dead_plant() -> Image.Image:
    """A potted plant that has given up."""
    picture = sheet((226, 214, 196), (206, 190, 170))
    glow(picture, (300, 260), 760, (255, 246, 224), 0.7)
    for pane in (
        ((120, 60), (330, 20), (380, 420), (170, 470)),
        ((350, 16), (540, -20), (590, 370), (400, 415)),
    ):
        lay(picture, (255, 250, 228), polygon(pane), blur=8, opacity=0.5)
    table = wood((170, 118, 76), (110, 70, 40), 60)
    lay(picture, table, rectangle((0, 740, WIDTH, HEIGHT)))
    lay(picture, BLACK, rectangle((0, 740, WIDTH, 756)), blur=8, opacity=0.3)
    shadow(picture, ellipse((470, 820, 980, 890)), blur=18, opacity=0.5)
    clay = Image.new("RGB", picture.size, (196, 104, 70))
    glow(clay, (560, 700), 240, (236, 158, 118), 0.8)
    lay(clay, (110, 50, 34), rectangle((730, 560, 900, 900)), blur=50, opacity=0.75)
    tint(clay, (140, 70, 46), noise(61, (120, 90)), 0.2)
    lay(picture, clay, polygon([(470, 610), (830, 610), (780, 860), (520, 860)]))
    lay(picture, BLACK, rectangle((470, 640, 830, 664)), blur=6, opacity=0.4)
    lay(picture, clay, rectangle((446, 560, 854, 648), 12))
    lay(picture, (60, 44, 34), ellipse((466, 544, 834, 590)))
    tint(picture, (120, 92, 70), within(noise(62, (200, 150)), ellipse((466, 544, 834, 590))), 0.5)
    draw = ImageDraw.Draw(picture)
    brown: Colour = (134, 104, 58)
    stems: tuple[tuple[Point, ...], ...] = (
        ((640, 566), (630, 400), (590, 250), (480, 220), (390, 330), (366, 430)),
        ((652, 566), (664, 380), (720, 240), (830, 230), (900, 340), (920, 470)),
        ((646, 566), (650, 430), (640, 280), (700, 160), (790, 150), (846, 220)),
        ((634, 566), (600, 470), (520, 420), (440, 470), (410, 560)),
        ((660, 566), (700, 480), (780, 440), (850, 500), (880, 590)),
    )
    for stem in stems:
        line = curve(*stem)
        stroke(draw, line, mixed(brown, BLACK, 0.3), 13)
        stroke(draw, line, brown, 8)
    for seed, stem in enumerate(stems):
        for part, corner in enumerate(stem[2:]):
            _wilted_leaf(picture, corner, 40 + 12 * part, seed * 7 + part)
    for at, turn in (((330, 850), 0.4), ((930, 880), -0.3), ((1040, 820), 0.7)):
        _fallen_leaf(picture, at, turn)
    vignette(picture, 0.4)
    return grain(picture, 12, 0.02)


def _wilted_leaf(picture: Image.Image, at: Point, size: float, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a drawing
    x, y = at
    lean = chance.uniform(-0.4, 0.4) * size
    colour = chance.choice(((150, 112, 58), (122, 86, 46), (166, 138, 70), (136, 128, 66)))
    leaf = blob(
        (x, y - 6),
        (x + size * 0.34 + lean * 0.4, y + size * 0.7),
        (x + lean + 8, y + size * 1.7),
        (x - size * 0.3 + lean * 0.4, y + size * 0.8),
    )
    shadow(picture, polygon([(px + 6, py + 10) for px, py in leaf]), blur=6, opacity=0.25)
    lay(picture, colour, polygon(leaf))
    draw = ImageDraw.Draw(picture)
    draw.line(
        curve((x, y), (x + lean * 0.4, y + size * 0.8), (x + lean, y + size * 1.6)),
        fill=mixed(colour, BLACK, 0.4),
        width=4,
    )


def _fallen_leaf(picture: Image.Image, at: Point, turn: float) -> None:
    x, y = at
    leaf = [
        (
            x + px * math.cos(turn) - py * math.sin(turn),
            y + (px * math.sin(turn) + py * math.cos(turn)) * 0.6,
        )
        for px, py in blob((-60, 0), (0, -26), (66, -4), (0, 26))
    ]
    shadow(picture, polygon([(px + 3, py + 9) for px, py in leaf]), blur=6, opacity=0.5)
    lay(picture, (140, 98, 50), polygon(leaf))
    lay(
        picture,
        (182, 140, 80),
        polygon([(x + (px - x) * 0.7, y + (py - y) * 0.6 - 3) for px, py in leaf]),
        blur=5,
        opacity=0.8,
    )


def birthday_cake() -> Image.Image:
    """A birthday cake with the candles lit."""
    picture = sheet((62, 36, 74), (120, 58, 92), (84, 42, 70))
    chance = random.Random(40)  # noqa: S311 - a drawing
    for _ in range(26):
        colour = chance.choice(((255, 190, 110), (255, 140, 170), (150, 190, 255), (255, 230, 160)))
        x, y, radius = chance.uniform(0, WIDTH), chance.uniform(0, 520), chance.uniform(24, 60)
        lay(
            picture,
            colour,
            ellipse((x - radius, y - radius, x + radius, y + radius)),
            blur=5,
            opacity=chance.uniform(0.14, 0.4),
        )
    lay(picture, wood((120, 74, 56), (70, 40, 34), 41), rectangle((0, 730, WIDTH, HEIGHT)))
    lay(picture, BLACK, rectangle((0, 724, WIDTH, 748)), blur=12, opacity=0.4)
    shadow(picture, ellipse((250, 790, 1030, 920)), blur=22, opacity=0.6)
    lay(picture, (206, 204, 212), ellipse((270, 766, 1010, 896)))
    lay(picture, (248, 248, 252), ellipse((280, 758, 1000, 882)))
    lay(picture, BLACK, ellipse((350, 780, 930, 866)), blur=12, opacity=0.4)
    sponge = sheet((246, 206, 150), (222, 164, 104), (222, 164, 104))
    tint(sponge, (178, 118, 66), noise(42, (190, 140)), 0.3)
    icing = sheet((255, 226, 236), (250, 186, 208))
    body = Image.new("RGB", picture.size)
    body.paste(sponge)
    for y in (620, 712):
        lay(body, (255, 246, 240), rectangle((0, y, WIDTH, y + 20)))
        lay(body, (206, 46, 70), rectangle((0, y + 20, WIDTH, y + 34)))
    lay(body, BLACK, rectangle((820, 0, 1000, HEIGHT)), blur=60, opacity=0.45)
    lay(body, WHITE, rectangle((420, 0, 500, HEIGHT)), blur=36, opacity=0.3)

    def side(draw: ImageDraw.ImageDraw) -> None:
        draw.rectangle((360, 520, 920, 800), fill=255)
        draw.ellipse((360, 750, 920, 850), fill=255)

    lay(picture, body, side)
    drips: list[Point] = [(360, 510)]
    for x in range(360, 921, 56):
        drips += [
            (x, 560 + chance.randrange(0, 30)),
            (x + 14, 610 + chance.randrange(0, 60)),
            (x + 30, 606),
        ]
    drips = [(min(x, 920), y) for x, y in drips]
    lay(icing, (226, 130, 164), rectangle((840, 0, 1000, HEIGHT)), blur=50, opacity=0.6)
    lay(
        picture,
        BLACK,
        polygon([*((x, y + 8) for x, y in curve(*drips, steps=10)), (920, 510)]),
        blur=7,
        opacity=0.35,
    )
    lay(picture, icing, polygon([*curve(*drips, steps=10), (920, 510)]))
    lay(picture, icing, ellipse((360, 452, 920, 570)))
    lay(picture, (255, 240, 246), ellipse((376, 458, 904, 556)), blur=4)
    draw = ImageDraw.Draw(picture)
    for _ in range(70):
        x, y = chance.uniform(410, 870), chance.uniform(476, 546)
        turn = chance.uniform(0, math.pi)
        draw.line(
            (x, y, x + 13 * math.cos(turn), y + 7 * math.sin(turn)),
            fill=chance.choice(((92, 190, 226), (250, 190, 60), (120, 200, 110), (234, 84, 110))),
            width=6,
        )
    for x, y, colour in (
        (450, 500, (110, 190, 240)),
        (530, 478, (255, 210, 90)),
        (600, 512, (150, 220, 140)),
        (680, 478, (250, 130, 160)),
        (752, 510, (190, 150, 240)),
        (830, 492, (255, 170, 90)),
    ):
        draw = ImageDraw.Draw(picture)
        draw.rectangle((x - 10, y - 130, x + 10, y), fill=colour)
        for stripe in range(4):
            draw.polygon(
                [
                    (x - 10, y - 24 - stripe * 30),
                    (x + 10, y - 36 - stripe * 30),
                    (x + 10, y - 24 - stripe * 30),
                    (x - 10, y - 12 - stripe * 30),
                ],
                fill=WHITE,
            )
        draw.line((x, y - 130, x + 1, y - 146), fill=(60, 40, 40), width=4)
        glow(picture, (x, y - 172), 150, (255, 196, 96), 0.65)
        lay(
            picture,
            (255, 176, 58),
            polygon(blob((x, y - 214), (x + 15, y - 168), (x, y - 142), (x - 15, y - 168))),
            blur=1,
        )
        lay(
            picture,
            (255, 244, 190),
            polygon(blob((x, y - 190), (x + 8, y - 164), (x, y - 146), (x - 8, y - 164))),
            blur=1,
        )
    glow(picture, (640, 420), 620, (255, 190, 120), 0.24)
    vignette(picture, 0.5)
    return grain(picture, 13, 0.015)


def burnt_pizza() -> Image.Image:
    """A pizza that stayed in the oven for too long."""
    picture = sheet((150, 154, 158), (112, 116, 122))
    tint(picture, (84, 86, 92), noise(81, (4, 200)), 0.35)
    shadow(picture, ellipse((220, 70, 1070, 930)), blur=30, opacity=0.6)
    tray = Image.new("RGB", picture.size, (70, 72, 78))
    glow(tray, (480, 300), 520, (150, 154, 162), 0.8)
    lay(picture, tray, ellipse((210, 50, 1070, 910)))
    lay(picture, (40, 42, 46), ellipse((236, 76, 1044, 884)))
    centre = (640.0, 480.0)
    crust = Image.new("RGB", picture.size, (120, 76, 40))
    glow(crust, (520, 330), 420, (176, 116, 60), 0.75)
    char = noise(82, (30, 24)).point(lambda value: max(value - 96, 0) * 2)
    tint(crust, (18, 14, 12), char, 0.95)
    tint(crust, (14, 12, 10), noise(83, (150, 110)), 0.4)
    shadow(picture, polygon(ragged(centre, (388, 388), 84, 0.03)), blur=14, opacity=0.7)
    lay(picture, crust, polygon(ragged(centre, (380, 380), 84, 0.03)))
    lay(picture, BLACK, polygon(ragged(centre, (326, 326), 85, 0.04)), blur=12, opacity=0.75)
    cheese = Image.new("RGB", picture.size, (206, 132, 44))
    tint(
        cheese,
        (206, 146, 62),
        noise(86, (26, 20)).point(lambda value: max(value - 130, 0) * 2),
        0.8,
    )
    tint(
        cheese, (20, 14, 10), noise(87, (24, 18)).point(lambda value: max(value - 104, 0) * 4), 1.0
    )
    tint(cheese, (40, 20, 8), noise(88, (110, 84)), 0.35)
    lay(picture, cheese, polygon(ragged(centre, (318, 318), 85, 0.05)), blur=2)
    chance = random.Random(89)  # noqa: S311 - a drawing
    for ring, count in ((226, 9), (96, 4)):
        for i in range(count):
            angle = i / count * math.tau + chance.uniform(-0.2, 0.2) + ring
            x, y = centre[0] + ring * math.cos(angle), centre[1] + ring * math.sin(angle)
            slice_ = ragged((x, y), (50, 46), round(ring + i), 0.07)
            shadow(picture, polygon([(px + 4, py + 7) for px, py in slice_]), blur=5, opacity=0.7)
            lay(picture, (40, 20, 16), polygon(slice_))
            inner = Image.new("RGB", picture.size, (132, 44, 32))
            tint(inner, (16, 10, 8), noise(90 + i, (90, 70)), 0.7)
            lay(
                picture,
                inner,
                polygon([(x + (px - x) * 0.84, y + (py - y) * 0.84) for px, py in slice_]),
                blur=3,
            )
            lay(
                picture,
                (214, 150, 120),
                ellipse((x - 26, y - 28, x - 2, y - 12)),
                blur=6,
                opacity=0.35,
            )
    draw = ImageDraw.Draw(picture)
    for _ in range(26):
        far, angle = chance.uniform(0, 290), chance.uniform(0, math.tau)
        x, y = centre[0] + far * math.cos(angle), centre[1] + far * math.sin(angle)
        draw.line(
            curve((x, y), (x + 14, y - 8), (x + 26, y + chance.uniform(-10, 10)), steps=8),
            fill=(30, 34, 16),
            width=6,
        )
    for turn in (0.35, 1.4, 2.45):
        cut = [
            (centre[0] + side * 372 * math.cos(turn), centre[1] + side * 372 * math.sin(turn))
            for side in (-1, 1)
        ]
        lay(picture, (24, 14, 8), trail(cut, 9), blur=2, opacity=0.9)
        lay(
            picture,
            (250, 214, 140),
            trail([(x + 6, y - 5) for x, y in cut], 3),
            blur=1,
            opacity=0.35,
        )
    smoke = Image.new("L", picture.size)
    puffs = ImageDraw.Draw(smoke)
    for start in (430, 640, 830):
        line = [(start + 60 * math.sin(t / 5 + start), 560 - t * 14) for t in range(44)]
        for t, (x, y) in enumerate(line):
            wide = 12 + t * 1.5
            puffs.ellipse((x - wide, y - wide, x + wide, y + wide), fill=max(120 - t * 2, 10))
    tint(picture, (214, 214, 218), smoke.filter(ImageFilter.GaussianBlur(22)), 0.75)
    vignette(picture, 0.5)
    return grain(picture, 14, 0.015)
