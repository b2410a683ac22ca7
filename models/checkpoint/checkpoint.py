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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from safetensors import SafetensorError, safe_open

from deadpan.core.errors import CheckpointError, ModelError
from deadpan.core.people_files import UnreadableFileError, read_bytes
from models.checkpoint.calibration import Calibration, NamedFile
from models.checkpoint.deltas import names_in, problems_in
from models.checkpoint.model_card import model_card
from models.network.config import ModelConfig, expected_tensors, read_strictly
from models.network.encoders import check_encoder

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
PRESETS = Path(__file__).parents[1] / "presets"

_MAX_DOCUMENT_BYTES = 16 * 2**20
_RETRAIN = "train it again with: deadpan train"
_REPLACE = "replace the folder with a complete copy, or train it again with: deadpan train"


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


@dataclass(frozen=True)
class _Weights:
    sha256: str


@dataclass(frozen=True)
class _Data:
    train: Annotated[tuple[NamedFile, ...], Field(min_length=1)]


@dataclass(frozen=True)
class _Account:
    """What a model has to say of itself, or it is not loaded."""

    weights: _Weights
    data: _Data
    scores: Annotated[dict[str, Any], Field(min_length=1)]
    versions: Annotated[dict[str, Any], Field(min_length=1)]
    training: dict[str, Any] = field(default_factory=dict)


def preset_names() -> list[str]:
    """Names of the models that come with Deadpan."""
    return sorted(path.parent.name for path in PRESETS.glob(f"*/{CONFIG_FILE}"))


def resolve(spec: str | Path) -> Path:
    """The folder of a model, from the name of a preset or a path; CheckpointError for neither."""
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
        account = read_strictly(_Account, document, "")
    except CheckpointError as error:
        raise CheckpointError(
            f"{path / CONFIG_FILE}: {error}; a model must say what it is made of, what it learnt "
            f"from and how well it does; {_RETRAIN}"
        ) from error
    try:
        calibration = Calibration.from_json(document.get("calibration"))
    except CheckpointError as error:
        raise CheckpointError(
            f"{path / CONFIG_FILE}: {error}; calibrate it again with: deadpan calibrate"
        ) from error
    sha256 = account.weights.sha256
    _check_weights(path / WEIGHTS_FILE, sha256, config)
    return CheckpointInfo(
        path=path,
        config=config,
        version=model_version(config, sha256),
        data=document["data"],
        scores=account.scores,
        versions=account.versions,
        training=account.training,
        calibration=calibration,
    )


def validate(spec: str | Path) -> list[str]:
    """All that keeps a model from being loaded, a sentence each; empty when nothing does."""
    try:
        config = read_info(spec).config
    except CheckpointError as error:
        return [str(error)]
    problems = []
    for encoder in config.encoders:
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
        for name, content in _account_files(document).items():
            _write(temporary / name, content)
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
            "free some space or choose another --output"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(retired, ignore_errors=True)
    return read_info(path)


def write_calibration(
    spec: str | Path, calibration: Calibration, output: Path | None = None
) -> CheckpointInfo:
    """Write a calibration into a checkpoint, in place of the one it has.

    The configuration is replaced in one step, and last: whoever loads the model meanwhile finds the
    old calibration or the new one, whole, also when this process is killed.

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
        for written_by_save in ("model", "weights", "version"):
            del document[written_by_save]
        return save(output, info.config, (info.path / WEIGHTS_FILE).read_bytes(), document)
    token = secrets.token_hex(4)
    contents = _account_files(document)
    temporary = {name: info.path / f".{name}.{token}.new" for name in contents}
    try:
        for name, content in contents.items():
            _write(temporary[name], content)
        for name in contents:
            temporary[name].replace(info.path / name)
    except OSError as error:
        raise ModelError(
            f"cannot write the calibration to {info.path}: {error.strerror or error}; "
            "free some space, or choose another folder with --output"
        ) from error
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    return read_info(info.path)


def check_output(path: Path) -> None:
    """Refuse, by ModelError, to replace anything that is not a checkpoint."""
    replaceable = not path.exists() or (
        path.is_dir() and ((path / CONFIG_FILE).exists() or not any(path.iterdir()))
    )
    if not replaceable:
        raise ModelError(f"{path} exists and is not a model; choose another --output")


def _account_files(document: Mapping[str, Any]) -> dict[str, bytes]:
    # the card comes first: it only tells, and a run that is cut short is repeated
    return {
        CARD_FILE: model_card(document).encode(),
        CONFIG_FILE: (json.dumps(document, indent=1) + "\n").encode(),
    }


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
        raise CheckpointError(f"cannot read {path}: {error}; {_REPLACE}") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} is not a JSON object; {_REPLACE}")
    return document


def _check_weights(path: Path, sha256: str, config: ModelConfig) -> None:
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            layout = {
                name: (str(one.get_dtype()), tuple(one.get_shape())) for name, one in slices.items()
            }
        with path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is not a complete safetensors file: {error}; {_REPLACE}"
        ) from error
    if found != sha256:
        raise CheckpointError(
            f"{path} has SHA-256 {found[:12]}…, and {CONFIG_FILE} states {sha256[:12]}…; {_REPLACE}"
        )
    expected = expected_tensors(config)
    named = {*expected, *config.trained}
    there = names_in(layout)
    problems = [f"{name} is missing" for name in sorted(named - there)]
    problems += [f"{name} is unknown" for name in sorted(there - named)]
    problems += [
        f"{name} is {list(layout[name][1])}, not {list(shape)}"
        for name, shape in expected.items()
        if name in layout and layout[name][1] != shape
    ]
    problems += [
        f"{name} is the head's, and cannot be differences"
        for name in sorted(there & set(expected) - set(layout))
    ]
    problems += problems_in(layout)
    if problems:
        raise CheckpointError(
            f"{path} does not fit its configuration: {'; '.join(problems)}; {_REPLACE}"
        )
