"""MVSA-Single and MVSA-Multiple as downloaded. Needs no torch.

`labelResultAll.txt` beside `data/`, which holds `ID.txt` and `ID.jpg`. A row is an id and, for each
annotator, a pair of labels, of the text and of the image: `1<TAB>positive,neutral`. Single has one
annotator, Multiple has three.

Source: Niu, Zhu, Pang, El Saddik: Sentiment Analysis on Multi-view Social Data, MMM 2016. The rule
that makes one label of two is Xu and Mao's (MultiSentiNet, CIKM 2017), which later papers follow.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from models.data.records import (
    Collector,
    LabelledPost,
    Place,
    PostsFile,
    decode_lines,
    decode_text,
)
from models.posts.prediction import SENTIMENTS

LABEL_FILE = "labelResultAll.txt"

_ID = re.compile(r"[\w-]{1,100}")
_PAIR_OF_HIGH_BYTES = re.compile(rb"[\x81-\xfe][\x80-\xfe]")
_LONE_HIGH_BYTE = re.compile(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])")


def read_mvsa(folder: Path, *, conflict: bool = False) -> PostsFile:
    """Read MVSA-Single or MVSA-Multiple.

    Of three annotators, the label that at least two give counts, for the text and for the image
    by itself; without one, the pair is left out. Where text and image agree, that is the label;
    where one of them is neutral, the other's; positive against negative is left out.

    Args:
        folder: holds `labelResultAll.txt` and `data/`.
        conflict: also give the pairs of positive against negative, without sentiment and marked
            as conflict.

    Raises:
        DataError: with every problem, each naming file and line.
    """
    collector = Collector(folder)
    path = folder / LABEL_FILE
    left_out: Counter[str] = Counter()
    for number, line in enumerate(decode_lines(collector.read_bytes(path)), start=1):
        place = Place(path, number)
        cells = [cell.strip() for cell in line.split("\t")]
        if not any(cells) or cells[0].lower() == "id":
            continue
        pairs = _pairs(cells, place, collector)
        if pairs is None:
            continue
        text = _majority([text for text, _ in pairs])
        image = _majority([image for _, image in pairs])
        if text is None or image is None:
            left_out["no label that two of three annotators gave"] += 1
            continue
        sentiment = _joined(text, image)
        if sentiment is None and not conflict:
            left_out["text and image of opposite sentiment"] += 1
        else:
            _add(place, cells[0], sentiment, folder / "data", collector)
    collector.warnings += [
        f"{path}: {count} pairs are left out, as the usual rule says: {reason}"
        for reason, count in left_out.items()
    ]
    return collector.finish()


def _pairs(
    cells: Sequence[str], place: Place, collector: Collector
) -> list[tuple[str, str]] | None:
    """Labels of text and image by each annotator; None when something is wrong."""
    post_id, *columns = cells
    if not _ID.fullmatch(post_id):
        collector.problem(place, f"id is {post_id!r:.60}; it must name files in data/")
        return None
    pairs = []
    for column in columns:
        labels = [label.strip().lower() for label in column.split(",")]
        if len(labels) != 2 or not set(labels) <= set(SENTIMENTS):
            collector.problem(
                place,
                f"labels are {column!r:.60}; they must be two of {', '.join(SENTIMENTS)}, "
                "of the text and of the image, with a comma between them",
            )
            return None
        pairs.append((labels[0], labels[1]))
    if len(pairs) not in (1, 3):
        collector.problem(
            place,
            f"has labels of {len(pairs)} annotators; MVSA-Single has 1 and MVSA-Multiple has 3, "
            "each after a tab",
        )
        return None
    return pairs


def _joined(text: str, image: str) -> str | None:
    """One label of two; None where they contradict each other."""
    if text == image or image == "neutral":
        return text
    return image if text == "neutral" else None


def _majority(labels: Sequence[str]) -> str | None:
    """What more than half of the annotators say."""
    label, count = Counter(labels).most_common(1)[0]
    return label if count * 2 > len(labels) else None


def _add(
    place: Place, post_id: str, sentiment: str | None, data: Path, collector: Collector
) -> None:
    text, image = data / f"{post_id}.txt", data / f"{post_id}.jpg"
    missing = [file for file in (text, image) if not file.is_file()]
    for file in missing:
        collector.problem(place, f"{file} does not exist; unpack the whole archive")
    if missing:
        return
    collector.add(
        place,
        LabelledPost(
            id=post_id,
            text=decode_mvsa_text(collector.read_bytes(text)).strip("\r\n"),
            images=(image.resolve(),),
            sentiment=sentiment,
            conflict=sentiment is None,
        ),
    )


def decode_mvsa_text(content: bytes) -> str:
    """A text of MVSA. Never raises, and drops nothing.

    The tweets were saved as GBK on part of the way: what copies that were read as UTF-8 hold in
    place of Cyrillic and Japanese is what its bytes make there. So a text that is no UTF-8, and in
    which high bytes mostly come in pairs, is read as GB 18030, which contains GBK; any other by
    `decode_text`. Latin letters with accents stand alone among ASCII.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    lone = len(_LONE_HIGH_BYTE.findall(content))
    if lone < len(_PAIR_OF_HIGH_BYTES.findall(content)):
        try:
            return content.decode("gb18030")
        except UnicodeDecodeError:
            pass
    return decode_text(content)
