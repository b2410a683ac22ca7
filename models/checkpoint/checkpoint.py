"""A model on disk: a folder with `config.json`, `model.safetensors` and a model card.

Only what was trained is in it; the encoders that training started from are named by place and
SHA-256. Reading and checking need no torch, so that `deadpan check` and a console stay light.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deadpan.core.errors import CheckpointError, ModelError
from deadpan.core.people_files import UnreadableFileError, read_bytes
from models.checkpoint.calibration import Calibration
from models.checkpoint.model_card import model_card
from models.network.config import ModelConfig, expected_tensors
from models.network.encoders import check_encoder

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
PRESETS = Path(__file__).parents[1] / "presets"

_MAX_HEADER_BYTES = 1_000_000
_MAX_DOCUMENT_BYTES = 16 * 2**20
_BYTES_EACH = {"F16": 2, "BF16": 2, "F32": 4}
_RETRAIN = "train it again with: deadpan train"
_REPLACE = "replace the folder by a whole copy, or train it again with: deadpan train"


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """What a checkpoint says of itself.

    Attributes:
        path: the folder.
        config: what the model is made of.
        version: name and 12 hexadecimal digits that change with configuration or weights.
        data: "train" and "dev", each a list of the files it learnt from or was chosen on.
        scores: by dev file; each as `models.evaluation` reports it.
        versions: of the packages that trained it.
        training: settings of the run.
        calibration: what its logits are divided by; 1 everywhere when it was never calibrated.
    """

    path: Path
    config: ModelConfig
    version: str
    data: Mapping[str, Any]
    scores: Mapping[str, Any]
    versions: Mapping[str, str]
    training: Mapping[str, Any]
    calibration: Calibration = field(default_factory=Calibration)


def preset_names() -> list[str]:
    """Names of the models that come with Deadpan."""
    return sorted(path.parent.name for path in PRESETS.glob(f"*/{CONFIG_FILE}"))


def resolve(spec: str | Path) -> Path:
    """The folder of a model.

    Args:
        spec: the name of a preset, or a folder.

    Raises:
        CheckpointError: neither.
    """
    if isinstance(spec, str) and spec in preset_names():
        return PRESETS / spec
    path = Path(spec)
    if path.is_dir():
        return path
    raise CheckpointError(
        f"model {str(spec)!r} is neither a preset ({', '.join(preset_names()) or 'none'}) "
        "nor a folder; set DEADPAN_MODEL to one of them"
    )


def read_info(spec: str | Path) -> CheckpointInfo:
    """Read and check everything but the encoders.

    Raises:
        CheckpointError: missing, cut short, altered, of another version, or silent on its data,
            scores or versions.
    """
    path = resolve(spec)
    document = _read_document(path / CONFIG_FILE)
    try:
        config = ModelConfig.from_json(document.get("model"))
    except CheckpointError as error:
        raise CheckpointError(f"{path / CONFIG_FILE}: {error}; {_RETRAIN}") from error
    _check_provenance(path / CONFIG_FILE, document)
    stated = document.get("weights")
    sha256 = stated.get("sha256") if isinstance(stated, dict) else None
    if not isinstance(sha256, str):
        raise CheckpointError(f"{path / CONFIG_FILE} has no weights.sha256; {_RETRAIN}")
    _check_weights(path / WEIGHTS_FILE, sha256, config)
    return CheckpointInfo(
        path=path,
        config=config,
        version=model_version(config, sha256),
        data=document["data"],
        scores=document["scores"],
        versions=document["versions"],
        training=document.get("training", {}),
        calibration=_calibration(path / CONFIG_FILE, document),
    )


def validate(spec: str | Path) -> list[str]:
    """All that keeps a model from being loaded, a sentence each; empty when nothing does."""
    try:
        config = read_info(spec).config
    except CheckpointError as error:
        return [str(error)]
    problems = []
    for encoder in (config.text, config.image):
        try:
            check_encoder(encoder)
        except CheckpointError as error:
            problems.append(str(error))
    return problems


def model_version(config: ModelConfig, weights_sha256: str) -> str:
    """Name and 12 hexadecimal digits; equal for equal configuration and weights only."""
    text = json.dumps([config.to_json(), weights_sha256], sort_keys=True)
    return f"{config.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def save(
    path: Path, config: ModelConfig, weights: bytes, provenance: Mapping[str, Any]
) -> CheckpointInfo:
    """Write a checkpoint: whole, or not at all.

    Args:
        path: the folder; a checkpoint that stands there is replaced.
        config: what the model is made of.
        weights: a safetensors file.
        provenance: "data", "scores", "versions" and "training", as `CheckpointInfo` has them.

    Raises:
        CheckpointError: what would be written could not be read.
        ModelError: the folder cannot be written, or holds something else.
    """
    check_output(path)
    document = {
        "model": config.to_json(),
        "weights": {
            "file": WEIGHTS_FILE,
            "sha256": hashlib.sha256(weights).hexdigest(),
            "bytes": len(weights),
        },
        **provenance,
    }
    document["version"] = model_version(config, document["weights"]["sha256"])
    token = secrets.token_hex(4)
    temporary = path.parent / f".{path.name}.{token}.new"
    retired = path.parent / f".{path.name}.{token}.old"
    try:
        temporary.mkdir(parents=True)
        _write(temporary / WEIGHTS_FILE, weights)
        _write(temporary / CONFIG_FILE, (json.dumps(document, indent=1) + "\n").encode())
        _write(temporary / CARD_FILE, model_card(document).encode())
        read_info(temporary)
        # a folder cannot be renamed over one that is not empty
        if path.exists():
            path.rename(retired)
        temporary.rename(path)
    except OSError as error:
        if retired.exists() and not path.exists():
            retired.rename(path)
        raise ModelError(
            f"cannot write the model to {path}: {error.strerror or error}; "
            "make room or choose another --output"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(retired, ignore_errors=True)
    return read_info(path)


def write_calibration(
    spec: str | Path, calibration: Calibration, output: Path | None = None
) -> CheckpointInfo:
    """Write a calibration into a checkpoint, in place of the one it has.

    The configuration is replaced in one step, and last: whoever loads the model meanwhile, and
    whatever ends this process, finds the old calibration or the new one, whole.

    Args:
        spec: the name of a preset, or a checkpoint folder.
        calibration: what to write.
        output: a folder for a calibrated copy; None changes the checkpoint itself.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ModelError: it cannot be written.
    """
    info = read_info(spec)
    document = _read_document(info.path / CONFIG_FILE)
    document["calibration"] = calibration.to_json()
    if output is not None and output.resolve() != info.path.resolve():
        provenance = {
            key: value
            for key, value in document.items()
            if key not in ("model", "weights", "version")
        }
        return save(output, info.config, (info.path / WEIGHTS_FILE).read_bytes(), provenance)
    token = secrets.token_hex(4)
    # the card comes first: it only tells, and a run that is cut short is repeated
    contents = {
        CARD_FILE: model_card(document).encode(),
        CONFIG_FILE: (json.dumps(document, indent=1) + "\n").encode(),
    }
    temporary = {name: info.path / f".{name}.{token}.new" for name in contents}
    try:
        for name, content in contents.items():
            _write(temporary[name], content)
        for name in contents:
            temporary[name].replace(info.path / name)
    except OSError as error:
        raise ModelError(
            f"cannot write the calibration to {info.path}: {error.strerror or error}; "
            "make room, or name a folder by --output"
        ) from error
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    return read_info(info.path)


def check_output(path: Path) -> None:
    """Refuse to replace anything that is not a checkpoint.

    Raises:
        ModelError: `path` holds something else.
    """
    replaceable = not path.exists() or (
        path.is_dir() and ((path / CONFIG_FILE).exists() or not any(path.iterdir()))
    )
    if not replaceable:
        raise ModelError(f"{path} exists and is not a model; choose another --output")


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_bytes(path, max_bytes=_MAX_DOCUMENT_BYTES))
    except UnreadableFileError as error:
        raise CheckpointError(f"{path} {error}; {_REPLACE}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; {_REPLACE}") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} is not a JSON object; {_REPLACE}")
    return document


def _check_provenance(path: Path, document: Mapping[str, Any]) -> None:
    """A model file names its data, its scores and its versions, or it is not loaded."""
    data, scores, versions = (document.get(key) for key in ("data", "scores", "versions"))
    train = data.get("train") if isinstance(data, dict) else None
    named = isinstance(train, list) and all(
        isinstance(file, dict) and file.get("name") and file.get("sha256") for file in train
    )
    missing = [
        name
        for name, good in (
            ("data", named and bool(train)),
            ("scores", isinstance(scores, dict) and bool(scores)),
            ("versions", isinstance(versions, dict) and bool(versions)),
        )
        if not good
    ]
    if missing:
        raise CheckpointError(
            f"{path} does not name its {', '.join(missing)}; a model that does not say what it "
            f"learnt from and how well it does is not loaded; {_RETRAIN}"
        )


def _calibration(path: Path, document: Mapping[str, Any]) -> Calibration:
    try:
        return Calibration.from_json(document.get("calibration"))
    except CheckpointError as error:
        raise CheckpointError(
            f"{path}: {error}; calibrate it again with: deadpan calibrate"
        ) from error


def _check_weights(path: Path, sha256: str, config: ModelConfig) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror or error}; {_REPLACE}"
        ) from error
    shapes = _tensor_shapes(path, content)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise CheckpointError(
            f"{path} has SHA-256 {found[:12]}…, and {CONFIG_FILE} states {sha256[:12]}…; {_REPLACE}"
        )
    expected = expected_tensors(config)
    named = {*expected, *config.trained}
    problems = [f"{name} is missing" for name in sorted(named) if name not in shapes]
    problems += [f"{name} is unknown" for name in shapes if name not in named]
    problems += [
        f"{name} is {list(shapes[name])}, not {list(shape)}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    if problems:
        raise CheckpointError(f"{path} does not fit its configuration: {'; '.join(problems)}")


def _tensor_shapes(path: Path, content: bytes) -> dict[str, tuple[int, ...]]:
    """Read a safetensors header.

    Source: the format section of https://github.com/huggingface/safetensors: eight bytes of header
    length, the header in JSON, then the tensors.
    """
    try:
        (length,) = struct.unpack_from("<Q", content)
        if length > _MAX_HEADER_BYTES:
            raise ValueError(f"header of {length} bytes")
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        end = 8 + length + max(tensor["data_offsets"][1] for tensor in header.values())
        if end != len(content):
            raise ValueError(f"{len(content)} bytes instead of {end}")
        for name, tensor in header.items():
            begin, stop = tensor["data_offsets"]
            size = _BYTES_EACH[tensor["dtype"]]
            for side in tensor["shape"]:
                size *= side
            if stop - begin != size:
                raise ValueError(f"{name} has {stop - begin} bytes instead of {size}")
        return {name: tuple(tensor["shape"]) for name, tensor in header.items()}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file: {error}; {_REPLACE}"
        ) from error
