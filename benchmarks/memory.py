"""Does a worker's model grow? Judge many posts of mixed shapes, and print the memory it holds.

    python -m benchmarks.memory --posts 100000

Chunks of 1 to 64 posts, texts of 0 to 128 tokens, 0 to 3 pictures; of four pictures three are of
a small set that returns, and one is new. Pictures are made as decoded pixels, so that the model is
measured and not the decoder. Growth is counted from the first tenth on, and should be none.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from deadpan.core.settings import cache_folder, load
from models.posts.prediction import PreparedImage, PreparedPost
from models.serving.classifier import Classifier

KNOWN_PICTURES = 20
LINES = 20


def main() -> int:
    parser = argparse.ArgumentParser(description="Does the model's memory grow?")
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--engine", default="auto", choices=["auto", "torch", "openvino"])
    parser.add_argument("--cache", type=Path, default=cache_folder(load()))
    arguments = parser.parse_args()
    classifier = Classifier.load(
        arguments.model, engine=arguments.engine, cache_dir=arguments.cache
    )
    classifier.warm()
    config = classifier.checkpoint.config
    random = np.random.default_rng(0)
    size = (config.image_size, config.image_size, 3)

    def picture(name: str) -> PreparedImage:
        pixels = random.integers(0, 256, size=size, dtype=np.uint8)
        return PreparedImage(name, [pixels], pixels)

    known = [picture(f"known-{index}") for index in range(KNOWN_PICTURES)]
    new = 0
    process = psutil.Process()
    started, done, shown, after_tenth = time.monotonic(), 0, 0, 0.0
    print(f"{classifier.info.engine} {classifier.info.precision}", flush=True)
    while done < arguments.posts:
        chunk = []
        for _ in range(min(int(random.integers(1, 65)), arguments.posts - done)):
            pictures = []
            for _ in range(int(random.choice(4, p=[0.5, 0.35, 0.1, 0.05]))):
                if random.random() < 0.25:
                    pictures.append(picture(f"new-{new}"))
                    new += 1
                else:
                    pictures.append(known[int(random.integers(KNOWN_PICTURES))])
            tokens = min(int(random.gamma(2.0, 12.0)), config.max_tokens)
            text = tuple(random.integers(0, 1000, size=tokens).tolist())
            chunk.append(PreparedPost("", text, tuple(pictures)))
        classifier.predict(chunk)
        done += len(chunk)
        if done * LINES // arguments.posts > shown:
            shown = done * LINES // arguments.posts
            held = process.memory_info().rss / 2**20
            if not after_tenth and done >= arguments.posts / 10:
                after_tenth = held
            rate = done / (time.monotonic() - started)
            print(f"{done:>8} posts {held:8.1f} MB {rate:7.0f} posts/s", flush=True)
    print(f"grew by {held - after_tenth:+.1f} MB since the first tenth ({new} new pictures)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
