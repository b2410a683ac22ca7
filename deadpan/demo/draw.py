"""Draws the demo's pictures: `python -m deadpan.demo.draw`.

The committed files in `images/` are what this writes; a test draws them again and compares.
Photographs are not drawn here; `images/SOURCES.md` says where each file comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image

from deadpan.demo.drawn import indoors, lettering, objects, outdoors

IMAGES = Path(__file__).parent / "images"
SIZE = (640, 480)

SCENES: Mapping[str, Callable[[], Image.Image]] = {
    "birthday_cake.jpg": indoors.birthday_cake,
    "burnt_pizza.jpg": indoors.burnt_pizza,
    "bus_stop_rain.jpg": outdoors.bus_stop_rain,
    "connection_lost.png": lettering.connection_lost,
    "cracked_phone.jpg": objects.cracked_phone,
    "crushed_parcel.jpg": objects.crushed_parcel,
    "dead_plant.jpg": indoors.dead_plant,
    "departures.jpg": lettering.departures,
    "desk.jpg": objects.desk,
    "dropped_ice_cream.jpg": outdoors.dropped_ice_cream,
    "empty_fridge.jpg": indoors.empty_fridge,
    "fireworks.webp": outdoors.fireworks,
    "flooded_kitchen.jpg": indoors.flooded_kitchen,
    "meme_meeting.jpg": lettering.meme_meeting,
    "mountain_lake.jpg": outdoors.mountain_lake,
    "parking_ticket.jpg": lettering.parking_ticket,
    "quote_card.jpg": lettering.quote_card,
    "sticker_cat.png": objects.sticker_cat,
    "sunset_sea.jpg": outdoors.sunset_sea,
    "thumbs_up.png": objects.thumbs_up,
    "traffic_jam.jpg": outdoors.traffic_jam,
}
"""File name to the scene in it; each is one picture."""

LOADING = "loading.gif"
LOADING_FRAMES = 8

# Broken on purpose: a download that stopped half way, and words that call themselves a picture.
CUT_SHORT = "cut_short.jpg"
NOT_A_PICTURE = "not_a_picture.jpg"
WORDS = b"This is not a picture. It only has the name of one.\n"


def draw(name: str) -> Image.Image:
    """Draw one of `SCENES`, in the size it is saved in."""
    return SCENES[name]().resize(SIZE, Image.Resampling.LANCZOS)


def draw_loading() -> list[Image.Image]:
    """Draw the frames of `LOADING`."""
    size = (SIZE[0] // 2, SIZE[1] // 2)
    return [
        lettering.loading(step, LOADING_FRAMES).resize(size, Image.Resampling.LANCZOS)
        for step in range(LOADING_FRAMES)
    ]


def encode(picture: Image.Image, name: str) -> bytes:
    """A picture as the bytes of a file, in the format that the name's ending says."""
    content = BytesIO()
    match name.rpartition(".")[2]:
        case "jpg":
            picture.save(content, "JPEG", quality=80, optimize=True, progressive=False)
        case "webp":
            picture.save(content, "WEBP", quality=80, method=6)
        case _ if picture.mode == "RGBA":
            picture.quantize(128, Image.Quantize.FASTOCTREE).save(content, "PNG", optimize=True)
        case _:
            palette = picture.quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            palette.save(content, "PNG", optimize=True)
    return content.getvalue()


def main(folder: Path = IMAGES) -> None:
    """Write every drawn picture into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SCENES:
        (folder / name).write_bytes(encode(draw(name), name))
    first, *others = (frame.quantize(48, dither=Image.Dither.NONE) for frame in draw_loading())
    first.save(folder / LOADING, "GIF", save_all=True, append_images=others, duration=90, loop=0)
    whole = (folder / "sunset_sea.jpg").read_bytes()
    (folder / CUT_SHORT).write_bytes(whole[: len(whole) // 3])
    (folder / NOT_A_PICTURE).write_bytes(WORDS)


if __name__ == "__main__":
    main()
