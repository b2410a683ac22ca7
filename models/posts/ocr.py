"""Words inside pictures, read by the optional extra `ocr`. Needs no torch.

Memes, quotes, posters and screenshots carry in the picture what the post is about. `Reader` finds
them with PP-OCRv6 small (detection and recognition, ONNX, both inside the wheel of `rapidocr`,
Apache-2.0); nothing is downloaded.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from deadpan.core.errors import ModelError
from models.posts.recent import RecentlyUsed

_log = logging.getLogger(__name__)

OCR_VERSION = 2
"""Raised whenever another text may be read from the same picture; part of every file of texts."""

MAX_KNOWN = 10_000
"""Pictures whose text is remembered; one takes about 1 kB."""

MAX_CHARACTERS = 600
"""Of one picture's text: more than the text encoder's 128 tokens can hold."""

MAX_LINE_LENGTHS = 330
"""Lengths of all lines that are read in one picture, each in heights of its line; the highest lines
come first. A letter is about half as long as high, so this is about `MAX_CHARACTERS`. A picture of
a newspaper took 20 seconds without it, and takes 2 with it (one thread)."""

SHORT_SIDE = 480
LONG_SIDE = 960
"""Pictures are enlarged or shrunk until one of these is reached, in pixels. At 288 on the short
side, small captions were missed; at 736, reading took twice as long for little more. A first look
at low resolution, to skip pictures without words, does not pay: at 224 pixels it missed one picture
with words in five, and at 288 it took the time that it saved."""

MIN_CONFIDENCE = 0.8
"""Of a line. Below it, nearly all of what was read in pictures of MVSA were letters that are not
there."""

_MIN_LINE_HEIGHT = 10
_SPACE_PROBABILITY = 0.05
_BLANK = 0


_Pixels = npt.NDArray[np.uint8]
_Box = npt.NDArray[np.float32]


class Reading(NamedTuple):
    """What stands in a picture, and whether more stands there than was read."""

    text: str
    is_cut: bool = False


class Reader:
    """Reads pictures; may be called from several threads, and reads one picture at a time.

    Raises ModelError where the extra is not installed.
    """

    def __init__(self) -> None:
        self._detect, self._crop, self._recognise = _load()
        self._lock = threading.Lock()
        self._known: RecentlyUsed[Reading] = RecentlyUsed(MAX_KNOWN)

    def read(self, image: Image.Image | npt.NDArray[np.uint8], *, sha256: str | None = None) -> str:
        """What stands in a picture: the text of its `reading`."""
        return self.reading(image, sha256=sha256).text

    def reading(
        self, image: Image.Image | npt.NDArray[np.uint8], *, sha256: str | None = None
    ) -> Reading:
        """A picture's lines in reading order, joined by spaces.

        At most `MAX_CHARACTERS`, of the highest lines; empty where there are no words, and where
        the engine cannot cope with the picture: none makes this raise.

        Args:
            image: a picture, or its RGB values, uint8 [height, width, 3].
            sha256: of the picture's file; with it, what was read is remembered.
        """
        if sha256 is None:
            return self._read(image)
        if known := self._known.of([sha256]):
            return known[sha256]
        found = self._read(image)
        self._known.add(sha256, found)
        return found

    def _read(self, image: Image.Image | npt.NDArray[np.uint8]) -> Reading:
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        width, height = picture.size
        scale = min(SHORT_SIDE / min(width, height), LONG_SIDE / max(width, height))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        resized = picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        # the engine's networks were trained on BGR, the order of OpenCV
        pixels = np.ascontiguousarray(np.asarray(resized)[:, :, ::-1])
        try:
            with self._lock:
                boxes, texts, is_cut = self._run(pixels)
        except Exception as error:
            # OpenCV and onnxruntime raise classes of their own; whatever the picture did to them,
            # the post is judged by what is left
            _log.warning("words in a picture of %dx%d pixels: %s", width, height, error)
            return Reading("")
        text = _assemble(boxes, texts)
        return Reading(text[:MAX_CHARACTERS].rstrip(), is_cut or len(text) > MAX_CHARACTERS)

    def _run(self, pixels: _Pixels) -> tuple[list[_Box], list[tuple[str, float]], bool]:
        """Boxes [4, 2] of corners clockwise from the upper left, what stands in each, and whether
        there are more that can be read."""
        found = self._detect(pixels)
        boxes: list[_Box] = []
        lengths = 0.0
        is_cut = False
        for box in sorted(found, key=_height, reverse=True):
            lengths += _length(box) / max(_height(box), 1.0)
            if _height(box) < _MIN_LINE_HEIGHT:
                break
            if is_cut := lengths > MAX_LINE_LENGTHS:
                break
            boxes.append(box)
        if not boxes:
            return [], [], is_cut
        return boxes, self._recognise([self._crop(pixels, box) for box in boxes]), is_cut


class _Decoder:
    """Characters from the recogniser's probabilities, as its own decoder reads them, and spaces.

    PP-OCRv6's recogniser learnt mostly Chinese and is shy of spaces between capitals:
    "BECAUSEIAMACHRISTIAN". Where it sees no character and holds a space for possible at all (5 %),
    a space is taken. On pictures of MVSA this parted nearly all words that stood together, and
    hardly any that did not.
    """

    def __init__(self, characters: Sequence[str]) -> None:
        self._characters = np.array(characters, dtype=object)
        self._space = characters.index(" ")

    def __call__(
        self, probabilities: npt.NDArray[np.float32], *_: object, **__: object
    ) -> tuple[list[tuple[str, float]], None]:
        """Text and mean confidence of each line, from [lines, steps, characters]; no words."""
        best = probabilities.argmax(axis=2)
        chance = np.take_along_axis(probabilities, best[:, :, None], axis=2)[:, :, 0]
        gap = (best == _BLANK) & (probabilities[:, :, self._space] > _SPACE_PROBABILITY)
        best[gap] = self._space
        lines = []
        for indices, chances in zip(best, chance, strict=True):
            new = np.ones(len(indices), dtype=bool)
            new[1:] = indices[1:] != indices[:-1]
            text = "".join(self._characters[indices[new & (indices != _BLANK)]])
            sure = chances[new & (indices != _BLANK) & (indices != self._space)]
            lines.append((" ".join(text.split()), float(sure.mean()) if sure.size else 0.0))
        return lines, None


def _load() -> tuple[
    Callable[[_Pixels], Sequence[_Box]],
    Callable[[_Pixels, _Box], _Pixels],
    Callable[[list[_Pixels]], list[tuple[str, float]]],
]:
    """What finds lines in a picture, what cuts one out, and what reads those that were cut out."""
    try:
        package = importlib.import_module("rapidocr")
        detection = importlib.import_module("rapidocr.ch_ppocr_det")
        recognition = importlib.import_module("rapidocr.ch_ppocr_rec")
        crop = importlib.import_module("rapidocr.utils.process_img").get_rotate_crop_image
        importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ModelError(
            f"cannot read words inside pictures: {error}; install the extra with: "
            "pip install 'deadpan[ocr]'"
        ) from error
    networks = Path(str(package.__file__)).parent / "models"
    config = package.RapidOCR(
        params={
            "Global.log_level": "warning",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            # an eighth faster; 120 MB more stay with the process, and its peak is the same
            "EngineConfig.onnxruntime.enable_cpu_mem_arena": True,
            # named, because the package would download what it does not find
            "Det.model_path": str(networks / "PP-OCRv6_det_small.onnx"),
            "Rec.model_path": str(networks / "PP-OCRv6_rec_small.onnx"),
            "Det.limit_side_len": 1,  # pictures come in the right size
            "Det.limit_type": "min",
            "Det.max_candidates": 200,
        }
    ).cfg
    for part in (config.Det, config.Rec):
        part.engine_cfg = config.EngineConfig.onnxruntime
    config.Rec.font_path = None
    detector = detection.TextDetector(config.Det)
    recogniser = recognition.TextRecognizer(config.Rec)
    recogniser.postprocess_op = _Decoder(recogniser.postprocess_op.character)

    def detect(pixels: _Pixels) -> Sequence[_Box]:
        boxes: Sequence[_Box] | None = detector(pixels).boxes
        return [] if boxes is None else boxes

    def recognise(lines: list[_Pixels]) -> list[tuple[str, float]]:
        found = recogniser(recognition.TextRecInput(img=lines))
        return list(zip(found.txts, found.scores, strict=True))

    return detect, crop, recognise


def _height(box: _Box) -> float:
    return float(np.linalg.norm(box[0] - box[3]))


def _length(box: _Box) -> float:
    return float(np.linalg.norm(box[0] - box[1]))


def _assemble(
    boxes: Sequence[_Box],
    texts: Sequence[tuple[str, float]],
) -> str:
    kept = [
        (box, text)
        for box, (text, confidence) in zip(boxes, texts, strict=True)
        if confidence >= MIN_CONFIDENCE and sum(map(str.isalnum, text)) > 1
    ]
    order = _reading_order([box for box, _ in kept])
    return " ".join(kept[index][1] for index in order)


def _reading_order(boxes: Sequence[_Box]) -> list[int]:
    """Indices of boxes from top to bottom; those side by side from left to right."""
    middles = [float(box[:, 1].mean()) for box in boxes]
    rows: list[list[int]] = []
    for index in sorted(range(len(boxes)), key=middles.__getitem__):
        first = rows[-1][0] if rows else index
        reach = min(_height(boxes[first]), _height(boxes[index])) / 2
        if rows and middles[index] - middles[first] < reach:
            rows[-1].append(index)
        else:
            rows.append([index])
    return [
        index for row in rows for index in sorted(row, key=lambda index: float(boxes[index][0][0]))
    ]
