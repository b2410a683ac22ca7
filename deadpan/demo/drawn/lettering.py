"""Pictures that are mostly words: memes, quotes, boards and pages."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw, ImageFilter

from deadpan.demo.drawn.canvas import (
    BLACK,
    HEIGHT,
    WHITE,
    WIDTH,
    blob,
    clouds,
    curve,
    ellipse,
    glow,
    grain,
    lay,
    mixed,
    noise,
    polygon,
    rectangle,
    shadow,
    sheet,
    stroke,
    tint,
    trail,
    vignette,
    write,
)


def meme_meeting() -> Image.Image:
    """A meme: people at a table; another meeting that could have been an email."""
    picture = sheet((196, 206, 214), (166, 176, 186))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((250, 210, 1030, 540), fill=(250, 250, 250), outline=(120, 126, 134), width=10)
    draw.line(
        (310, 470, 430, 410, 560, 440, 700, 330, 830, 360, 960, 260),
        fill=(206, 60, 60),
        width=9,
        joint="curve",
    )
    for x, high in ((340, 60), (430, 100), (520, 80), (610, 140)):
        draw.rectangle((x, 500 - high, x + 50, 500), fill=(150, 186, 220))
    people = (
        (190, (86, 112, 146), (242, 200, 164), (72, 48, 36)),
        (430, (150, 84, 92), (146, 98, 68), (30, 24, 22)),
        (660, (96, 132, 104), (250, 214, 184), (206, 160, 80)),
        (880, (88, 84, 120), (120, 80, 56), (26, 22, 22)),
        (1100, (176, 136, 84), (238, 190, 154), (120, 60, 34)),
    )
    for x, shirt, skin, hair in people:
        tired = (x // 10) % 3
        lay(
            picture,
            shirt,
            polygon(blob((x - 110, 760), (x - 96, 600), (x, 560), (x + 96, 600), (x + 110, 760))),
        )
        lay(picture, mixed(skin, BLACK, 0.12), rectangle((x - 24, 530, x + 24, 590), 14))
        lay(picture, skin, ellipse((x - 66, 392 + tired * 10, x + 66, 560 + tired * 8)))
        lay(
            picture,
            hair,
            polygon(
                blob(
                    (x - 72, 470 + tired * 10),
                    (x - 70, 400 + tired * 10),
                    (x, 370 + tired * 10),
                    (x + 70, 400 + tired * 10),
                    (x + 72, 470 + tired * 10),
                    (x + 44, 424 + tired * 10),
                    (x - 30, 420 + tired * 10),
                )
            ),
        )
        draw = ImageDraw.Draw(picture)
        for eye in (-26, 26):
            y = 482 + tired * 9
            draw.line((x + eye - 14, y, x + eye + 14, y), fill=(50, 36, 32), width=6)
            draw.arc(
                (x + eye - 14, y + 4, x + eye + 14, y + 20),
                20,
                160,
                fill=mixed(skin, BLACK, 0.3),
                width=4,
            )
        draw.arc(
            (x - 20, 522 + tired * 8, x + 20, 548 + tired * 8),
            200,
            340,
            fill=(120, 50, 44),
            width=6,
        )
    table = sheet((150, 104, 70), (110, 72, 46))
    tint(table, (80, 50, 30), noise(131, (6, 240)), 0.4)
    lay(picture, table, polygon([(60, 690), (1220, 690), (1360, HEIGHT), (-80, HEIGHT)]))
    lay(picture, BLACK, rectangle((0, 684, WIDTH, 704)), blur=9, opacity=0.4)
    for x in (250, 600, 930):
        shadow(picture, ellipse((x, 770, x + 90, 800)), blur=8)
        lay(picture, (240, 240, 236), rectangle((x + 8, 710, x + 74, 788), 10))
    vignette(picture, 0.4)
    picture = grain(picture, 30, 0.015)
    draw = ImageDraw.Draw(picture)
    for y, words, size in (
        (100, "ANOTHER MEETING", 122),
        (868, "THAT COULD HAVE BEEN AN EMAIL", 69),
    ):
        write(draw, (640, y), words, size, BLACK, bold=13)
        write(draw, (640, y), words, size, WHITE, bold=2)
    return picture


def quote_card() -> Image.Image:
    """An inspirational quote over a misty morning."""
    picture = sheet((250, 202, 170), (236, 150, 142), (146, 112, 160))
    glow(picture, (640, 330), 560, (255, 236, 200), 0.8)
    for level, colour in (
        (560, (206, 140, 156)),
        (660, (160, 110, 150)),
        (770, (104, 78, 126)),
        (860, (62, 52, 96)),
    ):
        ridge = [
            (x, level + 50 * math.sin(x / 160 + level) + 24 * math.sin(x / 61 + level * 2))
            for x in range(0, WIDTH + 20, 10)
        ]
        lay(picture, colour, polygon([*ridge, (WIDTH, HEIGHT), (0, HEIGHT)]))
        lay(
            picture,
            (250, 214, 200),
            rectangle((0, level + 60, WIDTH, level + 110)),
            blur=40,
            opacity=0.35,
        )
    picture = grain(picture, 31, 0.012)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((90, 80, 1190, 880), outline=WHITE, width=4)
    write(draw, (640, 250), "Good things", 132, WHITE, bold=1)
    write(draw, (640, 400), "come to those", 132, WHITE, bold=1)
    write(draw, (640, 550), "who wait.", 132, WHITE, bold=1)
    draw.line((560, 680, 720, 680), fill=WHITE, width=4)
    write(draw, (640, 740), "daily dose of sunshine", 40, (255, 236, 226))
    return picture


def departures() -> Image.Image:
    """An airport's departures board: everything cancelled."""
    picture = sheet((44, 48, 56), (24, 26, 32))
    lay(picture, BLACK, rectangle((50, 60, 1230, 850), 16), blur=20, opacity=0.6)
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle(
        (50, 50, 1230, 840), 16, fill=(10, 12, 16), outline=(86, 92, 102), width=8
    )
    draw.rectangle((58, 58, 1222, 160), fill=(250, 202, 40))
    draw.polygon(
        [(100, 128), (150, 84), (168, 90), (148, 118), (182, 112), (176, 128)], fill=(20, 20, 20)
    )
    write(draw, (210, 110), "Departures", 66, (20, 20, 20), anchor="lm", bold=2)
    write(draw, (1190, 110), "18:42", 66, (20, 20, 20), anchor="rm", bold=2)
    for x, head in ((90, "Time"), (250, "To"), (620, "Flight"), (820, "Status")):
        write(draw, (x, 196), head, 34, (150, 156, 166), anchor="lm")
    rows = (
        ("18:55", "LISBON", "DP 204"),
        ("19:10", "OSLO", "DP 318"),
        ("19:25", "PARIS", "DP 77"),
        ("19:40", "ATHENS", "DP 1402"),
        ("20:05", "DUBLIN", "DP 512"),
        ("20:30", "VIENNA", "DP 96"),
        ("21:15", "MADRID", "DP 640"),
    )
    for i, (time, city, flight) in enumerate(rows):
        y = 264 + i * 80
        draw.rectangle((74, y - 35, 1206, y + 35), fill=(24, 27, 34) if i % 2 else (18, 20, 26))
        for x, words in ((90, time), (250, city), (620, flight)):
            write(draw, (x, y), words, 46, (250, 214, 110), anchor="lm")
        draw.rounded_rectangle((812, y - 28, 1166, y + 28), 8, fill=(196, 34, 32))
        write(draw, (989, y), "CANCELLED", 46, WHITE, bold=1)
    glow(picture, (640, 450), 760, (255, 210, 120), 0.07)
    lay(
        picture, WHITE, polygon([(50, 50), (460, 50), (200, 840), (50, 840)]), blur=30, opacity=0.04
    )
    heads = (
        (140, 900, 70),
        (300, 930, 60),
        (520, 910, 76),
        (720, 940, 62),
        (930, 905, 72),
        (1120, 930, 64),
    )
    for x, y, size in heads:
        lay(
            picture, (8, 9, 12), ellipse((x - size * 0.6, y - size, x + size * 0.6, y + size * 0.4))
        )
        lay(
            picture,
            (8, 9, 12),
            ellipse((x - size * 1.4, y + size * 0.2, x + size * 1.4, y + size * 3)),
        )
    return grain(picture, 32, 0.012)


def connection_lost() -> Image.Image:
    """A browser window: the page could not be loaded."""
    picture = sheet((228, 232, 238))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, WIDTH, 70), fill=(206, 211, 220))
    for x, colour in ((40, (238, 96, 88)), (80, (244, 190, 70)), (120, (98, 196, 92))):
        draw.ellipse((x - 13, 22, x + 13, 48), fill=colour)
    draw.rounded_rectangle((170, 14, 500, 90), 18, fill=(246, 248, 251))
    write(draw, (200, 44), "No connection", 28, (60, 66, 78), anchor="lm")
    draw.rectangle((0, 70, WIDTH, 140), fill=(246, 248, 251))
    for x, tip in ((50, 38), (110, 122)):
        draw.line(
            (x + 14 if tip < x else x - 14, 91, tip, 105, x + 14 if tip < x else x - 14, 119),
            fill=(140, 148, 160),
            width=5,
        )
    draw.rounded_rectangle((180, 82, 1220, 130), 24, fill=WHITE, outline=(210, 215, 224), width=3)
    write(
        draw, (214, 106), "https://my-essay-due-at-midnight.example", 28, (92, 98, 110), anchor="lm"
    )
    draw.rectangle((0, 140, WIDTH, HEIGHT), fill=WHITE)
    grey = (164, 172, 186)
    for ring in (190, 130, 70):
        draw.arc((330 - ring, 470 - ring, 330 + ring, 470 + ring), 225, 315, fill=grey, width=34)
    draw.ellipse((306, 446, 354, 494), fill=grey)
    draw.line((200, 290, 460, 520), fill=WHITE, width=46)
    draw.line((206, 296, 454, 516), fill=(226, 84, 76), width=20)
    write(draw, (560, 320), "Connection lost", 84, (46, 52, 64), anchor="lm", bold=1)
    write(draw, (560, 410), "Your draft could not be saved.", 42, (96, 104, 118), anchor="lm")
    for y, words in (
        (520, "- check the cables"),
        (574, "- restart the router"),
        (628, "- turn it off and on again"),
    ):
        write(draw, (580, y), words, 36, (96, 104, 118), anchor="lm")
    draw.rounded_rectangle((560, 700, 800, 784), 14, fill=(48, 112, 226))
    write(draw, (680, 742), "Try again", 40, WHITE)
    write(draw, (560, 846), "ERR_INTERNET_DISCONNECTED", 30, (164, 172, 186), anchor="lm")
    return picture


def parking_ticket() -> Image.Image:
    """A parking ticket behind a wiper."""
    picture = sheet((70, 84, 98), (104, 120, 134), (44, 52, 62))
    tint(picture, (190, 204, 214), clouds(141, (4, 5)).point(lambda v: max(v - 110, 0) * 2), 0.4)
    picture = picture.filter(ImageFilter.GaussianBlur(8))
    lay(picture, WHITE, polygon([(80, 0), (420, 0), (60, 760), (-240, 760)]), blur=24, opacity=0.22)
    drops = noise(142, (180, 130)).point(lambda v: max(v - 205, 0) * 5)
    tint(picture, (226, 236, 244), drops, 0.4)
    paper = Image.new("RGBA", (560, 640), (252, 250, 240, 255))
    draw = ImageDraw.Draw(paper)
    draw.rectangle((0, 0, 560, 110), fill=(214, 52, 44, 255))
    write(draw, (280, 56), "PARKING FINE", 62, WHITE, bold=2)
    for y, left, right in (
        (170, "Date", "14 Feb"),
        (226, "Arrived", "10:00"),
        (282, "Paid until", "11:00"),
        (338, "Now", "11:01"),
    ):
        write(draw, (46, y), left, 38, (96, 96, 100), anchor="lm")
        write(draw, (514, y), right, 38, (40, 40, 46), anchor="rm")
        draw.line((46, y + 27, 514, y + 27), fill=(206, 204, 196, 255), width=2)
    write(draw, (280, 440), "80.00", 110, (30, 30, 36), bold=3)
    for i in range(60):
        wide = 2 + (i * 7 + i * i) % 5
        draw.rectangle((50 + i * 8, 530, 50 + i * 8 + wide, 606), fill=(30, 30, 34, 255))
    paper = paper.rotate(-6, resample=Image.Resampling.BICUBIC, expand=True)
    cover = Image.new("L", picture.size)
    cover.paste(paper.getchannel("A"), (350, 140))
    soft = cover.transform(cover.size, Image.Transform.AFFINE, (1, 0, -14, 0, 1, -22))
    tint(picture, BLACK, soft.filter(ImageFilter.GaussianBlur(14)), 0.6)
    picture.paste(paper, (350, 140), paper)
    arm = curve((1240, 920), (900, 760), (520, 660), (120, 610))
    shadow(
        picture,
        trail([(x, y + 22) for x, y in arm], 30),
        blur=10,
        opacity=0.6,
    )
    draw = ImageDraw.Draw(picture)
    stroke(draw, arm, (16, 17, 20), 34)
    stroke(draw, [(x, y - 8) for x, y in arm], (78, 82, 90), 7)
    hood = polygon([(0, 880), (420, 850), (900, 856), (WIDTH, 900), (WIDTH, HEIGHT), (0, HEIGHT)])
    lay(picture, sheet((150, 40, 44), (120, 26, 30)), hood)
    lay(picture, BLACK, rectangle((0, 846, WIDTH, 880)), blur=12, opacity=0.4)
    vignette(picture, 0.45)
    return grain(picture, 33, 0.012)


def loading(step: int, steps: int) -> Image.Image:
    """One frame of a bar that has been at 99 % for a while: a spinner goes round.

    Args:
        step: which frame, from 0.
        steps: how many frames there are.
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), (30, 34, 46))
    draw = ImageDraw.Draw(picture)
    for spoke in range(12):
        angle = spoke / 12 * math.tau
        share = ((spoke - step * 12 / steps) % 12) / 11
        inner, outer = 76, 140
        colour = mixed((52, 58, 76), (120, 200, 255), share)
        draw.line(
            (
                640 + inner * math.cos(angle),
                320 + inner * math.sin(angle),
                640 + outer * math.cos(angle),
                320 + outer * math.sin(angle),
            ),
            fill=colour,
            width=26,
        )
        for far in (inner, outer):
            x, y = 640 + far * math.cos(angle), 320 + far * math.sin(angle)
            draw.ellipse((x - 13, y - 13, x + 13, y + 13), fill=colour)
    draw.rounded_rectangle((240, 580, 1040, 640), 30, fill=(52, 58, 76))
    draw.rounded_rectangle((248, 588, 1016, 632), 22, fill=(120, 200, 255))
    write(draw, (640, 720), "99 %", 84, WHITE)
    write(draw, (640, 806), "less than a minute left (since Tuesday)", 40, (150, 160, 182))
    return picture
