"""Save the encoders of the recipe `strong` as Deadpan reads them, from the Hugging Face hub.

    python save_encoders.py TEXT IMAGE FOLDER

TEXT and IMAGE are names on the hub, or folders. FOLDER/text and FOLDER/image hold what is needed
and no more: of CLIP or SigLIP the half that sees, weights in safetensors, a tokenizer in one file.
"""

import sys
from pathlib import Path

from transformers import AutoImageProcessor, AutoModel, AutoTokenizer


def save(text: str, image: str, folder: Path) -> None:
    """Write both folders; what stands in them is replaced."""
    AutoModel.from_pretrained(text).save_pretrained(folder / "text")
    AutoTokenizer.from_pretrained(text).save_pretrained(folder / "text")
    AutoModel.from_pretrained(image).vision_model.save_pretrained(folder / "image")
    AutoImageProcessor.from_pretrained(image).save_pretrained(folder / "image")


if __name__ == "__main__":
    save(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
