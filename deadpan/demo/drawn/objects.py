"""Single things: a phone, a parcel, a desk, and two stickers with a transparent ground."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from PIL import Image, ImageDraw

from deadpan.demo.drawn.canvas import (
    BLACK,
    HEIGHT,
    WHITE,
    WIDTH,
    Colour,
    Paint,
    Point,
    blob,
    curve,
    ellipse,
    glow,
    grain,
    lay,
    mask_of,
    noise,
    polygon,
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


def cracked_phone() -> Image.Image:
    """A phone on the ground, its screen in pieces."""
    picture = sheet((112, 114, 118), (84, 86, 90))
    tint(picture, (40, 42, 46), noise(101, (320, 240)), 0.45)
    tint(picture, (168, 168, 166), noise(102, (200, 150)).point(lambda v: max(v - 170, 0) * 2), 0.5)
    body = rectangle((390, 60, 890, 900), 62)
    shadow(picture, rectangle((400, 84, 910, 930), 62), blur=24, opacity=0.75)
    lay(picture, (20, 20, 24), body)
    glass = rectangle((408, 78, 872, 882), 48)
    screen = sheet((30, 26, 74), (120, 62, 128), (242, 142, 112))
    draw = ImageDraw.Draw(screen)
    write(draw, (640, 280), "09:41", 130, WHITE)
    write(draw, (640, 380), "Friday, 13 June", 40, (236, 226, 244))
    draw.rounded_rectangle((446, 470, 834, 580), 26, fill=(250, 244, 250))
    draw.rounded_rectangle((464, 490, 534, 560), 18, fill=(66, 160, 110))
    write(draw, (554, 510), "Mum", 30, (30, 28, 40), anchor="lm", bold=1)
    write(draw, (554, 546), "call me when you land", 27, (70, 66, 80), anchor="lm")
    draw.rounded_rectangle((560, 98, 720, 128), 15, fill=BLACK)
    lay(picture, screen, glass)
    hit: Point = (706, 360)
    chance = random.Random(103)  # noqa: S311 - a drawing
    cracks = Image.new("L", picture.size)
    lines = ImageDraw.Draw(cracks)
    spokes: list[list[Point]] = []
    for i in range(17):
        angle = i / 17 * math.tau + chance.uniform(-0.14, 0.14)
        far, at, spoke = chance.uniform(380, 720), 0.0, [hit]
        while at < far:
            at += chance.uniform(36, 84)
            angle += chance.uniform(-0.11, 0.11)
            spoke.append((hit[0] + at * math.cos(angle), hit[1] + at * math.sin(angle)))
        spokes.append(spoke)
        lines.line(spoke, fill=235, width=3)
        if chance.random() < 0.6:
            x, y = spoke[len(spoke) // 2]
            lines.line(
                (x, y, x + chance.uniform(-160, 160), y + chance.uniform(-160, 160)),
                fill=190,
                width=2,
            )
    for a, b in zip(spokes, [*spokes[1:], spokes[0]], strict=True):
        for ring in range(1, 6):
            if chance.random() < 0.82 - ring * 0.1 and ring < min(len(a), len(b)):
                lines.line((a[ring], b[ring]), fill=210, width=2)
                if chance.random() < 0.4:
                    lay(picture, WHITE, _shard(a, b, ring, glass), opacity=0.16)
    glow(picture, hit, 110, WHITE, 0.75)
    tint(
        picture,
        (14, 14, 22),
        within(
            cracks.transform(cracks.size, Image.Transform.AFFINE, (1, 0, -3, 0, 1, -3)),
            glass,
        ),
        0.8,
    )
    tint(picture, (248, 250, 255), within(cracks, glass), 0.95)
    draw = ImageDraw.Draw(picture)
    draw.polygon([(870, 700), (890, 690), (890, 806), (846, 872), (830, 860)], fill=(36, 37, 40))
    for _ in range(26):
        x, y = chance.uniform(300, 1000), chance.uniform(560, 950)
        size = chance.uniform(4, 13)
        if not 380 < x < 900:
            draw.polygon(
                [(x, y), (x + size, y + size * 0.4), (x + size * 0.3, y + size)],
                fill=(216, 222, 232),
            )
    lay(picture, WHITE, polygon([(408, 78), (560, 78), (408, 520)]), blur=3, opacity=0.1)
    vignette(picture, 0.5)
    return grain(picture, 20, 0.012)


def _shard(a: list[Point], b: list[Point], ring: int, glass: Paint) -> Paint:
    """One piece of the glass that catches the light."""
    outside = mask_of(glass).point(lambda value: 255 - value)

    def paint(draw: ImageDraw.ImageDraw) -> None:
        draw.polygon([a[ring - 1], a[ring], b[ring], b[ring - 1]], fill=255)
        draw.bitmap((0, 0), outside, fill=0)

    return paint


def crushed_parcel() -> Image.Image:
    """A parcel marked FRAGILE, delivered flat."""
    picture = sheet((120, 138, 132), (96, 112, 108))
    for x in range(0, WIDTH, 160):
        lay(picture, (70, 84, 82), rectangle((x, 0, x + 6, 560)))
    mat = sheet((146, 110, 70), (118, 86, 52))
    tint(mat, (70, 48, 28), noise(111, (420, 300)), 0.6)
    lay(picture, sheet((150, 146, 140), (118, 114, 110)), rectangle((0, 560, WIDTH, HEIGHT)))
    lay(picture, BLACK, rectangle((0, 548, WIDTH, 576)), blur=10, opacity=0.4)
    lay(picture, mat, polygon([(150, 640), (1130, 640), (1250, 930), (30, 930)]))
    draw = ImageDraw.Draw(picture)
    write(draw, (640, 895), "WELCOME", 64, (52, 36, 22), bold=2)
    front: list[Point] = [
        (262, 590),
        (420, 636),
        (560, 612),
        (716, 668),
        (1000, 600),
        (1024, 700),
        (986, 742),
        (1010, 830),
        (770, 858),
        (560, 838),
        (286, 846),
        (300, 760),
        (248, 690),
    ]
    top: list[Point] = [
        (262, 590),
        (360, 500),
        (520, 520),
        (600, 478),
        (820, 512),
        (930, 484),
        (1000, 600),
        (716, 668),
        (560, 612),
        (420, 636),
    ]
    shadow(
        picture,
        polygon([(x + 6, y + 26) for x, y in (*top[:6], *front[4:])]),
        blur=18,
        opacity=0.65,
    )
    card = sheet((226, 182, 126), (206, 158, 104), (176, 128, 78))
    tint(card, (150, 106, 64), noise(112, (300, 12)), 0.25)
    lid = Image.blend(card, Image.new("RGB", picture.size, (244, 208, 154)), 0.55)
    lay(picture, card, polygon(front))
    lay(picture, lid, polygon(top))
    dents: tuple[list[Point], ...] = (
        [(262, 590), (420, 636), (330, 740), (248, 690)],
        [(716, 668), (860, 636), (800, 760), (690, 740)],
        [(560, 838), (600, 740), (690, 852)],
        [(1024, 700), (986, 742), (900, 700), (1000, 640)],
    )
    for dent in dents:
        lay(picture, (84, 52, 26), polygon(dent), blur=9, opacity=0.5)
    lay(
        picture,
        (120, 80, 44),
        polygon([(520, 520), (600, 478), (700, 560), (560, 612)]),
        blur=8,
        opacity=0.5,
    )
    folds: tuple[list[Point], ...] = (
        [(262, 590), (420, 636), (560, 612), (716, 668), (1000, 600)],
        [(420, 636), (330, 740), (300, 760)],
        [(716, 668), (690, 740), (770, 858)],
        [(560, 838), (600, 740), (560, 612)],
        [(520, 520), (560, 612)],
        [(986, 742), (900, 700), (1000, 640)],
    )
    for fold in folds:
        lay(picture, (92, 58, 30), trail(fold, 9), blur=3, opacity=0.8)
        lay(picture, (250, 218, 168), trail([(x, y - 7) for x, y in fold], 4), blur=1, opacity=0.8)
    tape: Colour = (232, 222, 186)
    lay(
        picture,
        tape,
        polygon([(620, 480), (700, 492), (846, 634), (800, 646), (760, 656)]),
        opacity=0.75,
    )
    lay(
        picture,
        tape,
        polygon([(760, 656), (846, 636), (852, 740), (806, 728), (768, 744)]),
        opacity=0.75,
    )
    lay(
        picture,
        (38, 24, 14),
        polygon([(880, 740), (950, 722), (966, 776), (930, 806), (890, 786), (902, 762)]),
        blur=1,
    )
    label = Image.new("RGBA", (400, 130), (250, 248, 242, 255))
    lines = ImageDraw.Draw(label)
    lines.rectangle((6, 6, 394, 124), outline=(206, 40, 36), width=7)
    write(lines, (200, 68), "FRAGILE", 82, (206, 40, 36), bold=4)
    label = label.resize((330, 107)).rotate(-3, resample=Image.Resampling.BICUBIC, expand=True)
    picture.paste(label, (350, 696), label)
    vignette(picture, 0.45)
    return grain(picture, 21, 0.015)


def desk() -> Image.Image:
    """A tidy desk from above: notebook, pen, keyboard, a plant."""
    picture = wood((206, 172, 130), (164, 126, 86), 121)
    shadow(picture, rectangle((150, 210, 610, 830), 14), blur=20, opacity=0.5)
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((140, 190, 600, 810), 14, fill=(52, 74, 92))
    draw.rounded_rectangle((160, 200, 592, 800), 6, fill=(250, 247, 238))
    for y in range(280, 780, 44):
        draw.line((190, y, 566, y), fill=(190, 204, 216), width=2)
    write(draw, (196, 246), "Tuesday", 44, (52, 56, 70), anchor="lm")
    for y, words in (
        (308, "09:00  stand-up"),
        (352, "11:30  dentist"),
        (396, "14:00  budget v3"),
        (440, "buy milk, stamps"),
    ):
        write(draw, (200, y), words, 32, (70, 78, 104), anchor="lm")
    shadow(picture, polygon([(640, 330), (668, 322), (742, 800), (714, 806)]), blur=9, opacity=0.5)
    draw = ImageDraw.Draw(picture)
    draw.polygon([(632, 316), (660, 312), (730, 760), (702, 766)], fill=(34, 40, 50))
    draw.polygon([(702, 766), (730, 760), (724, 806)], fill=(206, 176, 96))
    draw.polygon([(634, 330), (662, 326), (670, 380), (642, 384)], fill=(206, 176, 96))
    shadow(picture, rectangle((806, 480, 1390, 850), 20), blur=18, opacity=0.5)
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((800, 466, 1390, 830), 20, fill=(226, 228, 232))
    for row in range(5):
        for column in range(9):
            x, y = 824 + column * 68 - row % 2 * 8, 488 + row * 66
            draw.rounded_rectangle(
                (x, y, x + 58, y + 54), 10, fill=(250, 250, 252), outline=(190, 194, 202), width=3
            )
    shadow(picture, ellipse((906, 82, 1206, 382)), blur=18, opacity=0.5)
    lay(picture, (232, 230, 224), ellipse((900, 66, 1190, 356)))
    lay(picture, (84, 62, 46), ellipse((924, 90, 1166, 332)))
    chance = random.Random(122)  # noqa: S311 - a drawing
    for ring, count in ((150, 11), (104, 8), (56, 5)):
        for i in range(count):
            angle = i / count * math.tau + ring + chance.uniform(-0.1, 0.1)
            tip = (1045 + ring * 1.15 * math.cos(angle), 211 + ring * 1.15 * math.sin(angle))
            left = (
                1045 + ring * 0.6 * math.cos(angle - 0.4),
                211 + ring * 0.6 * math.sin(angle - 0.4),
            )
            right = (
                1045 + ring * 0.6 * math.cos(angle + 0.4),
                211 + ring * 0.6 * math.sin(angle + 0.4),
            )
            leaf = blob((1045, 211), left, tip, right)
            shadow(picture, polygon([(x + 4, y + 7) for x, y in leaf]), blur=5, opacity=0.35)
            shade = 20 + round((170 - ring) * 0.35)
            lay(picture, (62 + shade, 128 + shade, 84 + shade // 2), polygon(leaf))
    vignette(picture, 0.3)
    return grain(picture, 22, 0.015)


def thumbs_up() -> Image.Image:
    """A sticker: thumbs up. RGBA, transparent around it."""
    hand = blob(
        (470, 470),
        (560, 420),
        (610, 330),
        (606, 200),
        (660, 150),
        (724, 196),
        (726, 320),
        (700, 404),
        (850, 396),
        (930, 440),
        (920, 520),
        (940, 590),
        (900, 640),
        (904, 710),
        (858, 752),
        (850, 810),
        (770, 842),
        (600, 836),
        (470, 800),
    )

    def paint(picture: Image.Image) -> None:
        skin = sheet((255, 222, 112), (255, 196, 66), (246, 164, 40))
        lay(skin, WHITE, ellipse((560, 120, 700, 420)), blur=40, opacity=0.55)
        lay(picture, (66, 118, 214), rectangle((300, 430, 470, 850), 30))
        lay(picture, (40, 84, 170), rectangle((430, 440, 486, 842), 20))
        lay(picture, WHITE, ellipse((336, 770, 372, 806)))
        lay(picture, skin, polygon(hand))
        draw = ImageDraw.Draw(picture)
        for line in (
            ((770, 516), (850, 524), (922, 512)),
            ((776, 624), (850, 634), (906, 630)),
            ((772, 730), (830, 742), (866, 740)),
            ((700, 404), (730, 430), (744, 470)),
        ):
            stroke(draw, curve(*line), (206, 126, 26), 12)

    def outline(draw: ImageDraw.ImageDraw) -> None:
        draw.polygon(hand, fill=255)
        stroke(draw, [*hand, hand[0]], 255, 56)
        draw.rounded_rectangle((272, 402, 500, 878), 54, fill=255)

    return _sticker(paint, outline)


def sticker_cat() -> Image.Image:
    """A sticker: a happy cat's face. RGBA, transparent around it."""
    face = blob(
        (640, 260),
        (800, 270),
        (930, 360),
        (990, 520),
        (950, 680),
        (820, 800),
        (640, 836),
        (460, 800),
        (330, 680),
        (290, 520),
        (350, 360),
        (480, 270),
    )
    ears = ([(330, 440), (322, 130), (560, 290)], [(950, 440), (958, 130), (720, 290)])
    fur: Colour = (250, 176, 88)
    dark: Colour = (74, 46, 34)

    def paint(picture: Image.Image) -> None:
        for ear in ears:
            lay(picture, fur, polygon(ear))
            x, y = (sum(p[0] for p in ear) / 3, sum(p[1] for p in ear) / 3)
            lay(
                picture,
                (250, 150, 150),
                polygon([(x + (px - x) * 0.55, y + (py - y) * 0.55) for px, py in ear]),
            )
        coat = sheet((255, 196, 110), fur, (240, 156, 70))
        lay(picture, coat, polygon(face))
        for stripe in (
            ((600, 262), (606, 330), (624, 380)),
            ((640, 258), (640, 340), (640, 400)),
            ((680, 262), (674, 330), (656, 380)),
            ((300, 520), (350, 524), (410, 540)),
            ((312, 590), (360, 588), (412, 592)),
            ((980, 520), (930, 524), (870, 540)),
            ((968, 590), (920, 588), (868, 592)),
        ):
            stroke(ImageDraw.Draw(picture), curve(*stripe), (206, 116, 40), 20)
        lay(
            picture,
            (255, 240, 220),
            polygon(
                blob(
                    (640, 590),
                    (770, 610),
                    (800, 720),
                    (720, 800),
                    (640, 812),
                    (560, 800),
                    (480, 720),
                    (510, 610),
                )
            ),
        )
        for x in (400, 880):
            lay(picture, (255, 130, 130), ellipse((x - 60, 620, x + 60, 690)), blur=14, opacity=0.6)
        draw = ImageDraw.Draw(picture)
        for x in (480, 800):
            draw.arc((x - 62, 480, x + 62, 600), 190, 350, fill=dark, width=20)
        draw.polygon(blob((600, 624), (640, 614), (680, 624), (640, 668)), fill=(232, 104, 110))
        stroke(draw, curve((640, 664), (640, 700), (590, 734), (540, 706)), dark, 13)
        stroke(draw, curve((640, 664), (640, 700), (690, 734), (740, 706)), dark, 13)
        for side in (-1, 1):
            for rise in (-34, 0, 34):
                draw.line(
                    (640 + side * 190, 690 + rise * 0.4, 640 + side * 372, 676 + rise * 1.6),
                    fill=dark,
                    width=6,
                )

    def outline(draw: ImageDraw.ImageDraw) -> None:
        for shape in (face, *ears):
            draw.polygon(shape, fill=255)
            stroke(draw, [*shape, shape[0]], 255, 60)

    return _sticker(paint, outline)


def _sticker(paint_picture: Callable[[Image.Image], None], outline: Paint) -> Image.Image:
    """A picture cut out along an outline, with a white rim."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), WHITE)
    paint_picture(picture)
    cut = picture.convert("RGBA")
    cut.putalpha(mask_of(outline))
    return cut
