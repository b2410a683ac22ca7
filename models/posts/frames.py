"""Animations: which of their frames are judged, and the sheet on which people see these. No torch.

An animation is more than its first frame, which may be blank, or harmless on purpose. The frames
that differ most are judged, and a picture's features are the mean of theirs. Judging one sheet of
all of them would be simpler, but the model knows no such sheets: its negative score for a picture
and for the same picture four times on a sheet correlate by .55 (300 pictures of MVSA-Single).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

MAX_JUDGED = 4
"""Frames of an animation that are judged."""

MAX_LOOKED_AT = 32
"""Frames, from the first on, among which those are chosen."""

MAX_MORE_PIXELS = 8_000_000
"""Pixels of all frames after the first; decoding so many takes about as long as one large photo."""

_SIDE = 16
_SAME = 2.0
"""Mean difference of two frames, 0 to 255, up to which they are the same; compression makes 1."""

_GROUND = 128
"""Grey value of a sheet's empty place."""


def chosen(squares: Sequence[npt.NDArray[np.uint8]]) -> list[int]:
    """Positions of the frames to be judged: each time the one least like those chosen before.

    At most `MAX_JUDGED`, in order; frames of one colour only where there is nothing else, and none
    that looks like another. Of at least one, uint8 [size, size, 3], in order of time.
    """
    small = [
        np.asarray(Image.fromarray(square).reduce(max(1, len(square) // _SIDE)), dtype=np.float32)
        for square in squares
    ]
    left = [n for n, one in enumerate(small) if np.ptp(one, axis=(0, 1)).max() > _SAME] or [0]
    found = [left[0]]
    distances = dict.fromkeys(left, np.inf)
    while len(found) < MAX_JUDGED:
        for n in left:
            distances[n] = min(distances[n], float(np.abs(small[n] - small[found[-1]]).mean()))
        furthest = max(left, key=lambda n: distances[n])
        if distances[furthest] <= _SAME:
            break
        found.append(furthest)
    return sorted(found)


def sheet(thumbnails: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Frames of one size side by side, in order: uint8 [height, width, 3] each, at least one, to
    [rows * height, columns * width, 3]."""
    columns, rows = _grid(len(thumbnails))
    height, width = thumbnails[0].shape[:2]
    made = np.full((rows * height, columns * width, 3), _GROUND, dtype=np.uint8)
    for n, one in enumerate(thumbnails):
        row, column = divmod(n, columns)
        made[row * height :, column * width :][:height, :width] = one
    return made


def apart(sheet: npt.NDArray[np.uint8], frames: int) -> list[npt.NDArray[np.uint8]]:
    """The frames on a sheet, in order: what `sheet` put together."""
    columns, rows = _grid(frames)
    height, width = sheet.shape[0] // rows, sheet.shape[1] // columns
    places = (divmod(n, columns) for n in range(frames))
    return [sheet[r * height : (r + 1) * height, c * width : (c + 1) * width] for r, c in places]


def on_sheet(
    edges: tuple[float, float, float, float], frames: int
) -> list[tuple[float, float, float, float]]:
    """Where a part of every frame stands on their sheet: left, top, right and bottom, as fractions
    of a frame's width and height, to the same of each frame as fractions of the sheet's."""
    columns, rows = _grid(frames)
    x0, y0, x1, y1 = edges
    return [
        ((c + x0) / columns, (r + y0) / rows, (c + x1) / columns, (r + y1) / rows)
        for r, c in (divmod(n, columns) for n in range(frames))
    ]


def _grid(frames: int) -> tuple[int, int]:
    columns = 1 if frames == 1 else 2
    return columns, -(-frames // columns)
