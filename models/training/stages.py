"""One stage of a training run; one that was through already is taken as it ended."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from deadpan.core.errors import DataError, ModelError
from models.network.network import Network
from models.training.corpus import Row
from models.training.dataset import Collator, PostSet
from models.training.fit import fit
from models.training.module import TrainingModule
from models.training.settings import DataFile, Stage
from models.training.targets import Target, heads_of


def train_stage(
    network: Network,
    stage: Stage,
    taught: Sequence[Target],
    own_heads: nn.ModuleDict,
    posts: PostSet,
    dev: PostSet,
    collate: Collator,
    run: Path,
    *,
    seed: int,
    device: str,
    tensorboard: Path,
    report: Callable[[str], None],
) -> float:
    """Train a stage, or take what it ended with when it was finished already.

    Args:
        network: is trained in place, and on the CPU afterwards.
        taught: what this stage or one before it has labels for.
        own_heads: of targets that the model has no head for; trained in place too.
        dev: tells when to stop.
        run: folder of the run up to this stage, where what it ended with is kept. Another run that
            begins with the same stages takes it from there.

    Returns:
        The epochs that it took.

    Raises:
        DataError: there is no post to learn from, or none to choose an epoch by.
        ModelError: the loss is not a number, memory is short, or a folder cannot be written.
    """
    done = run.with_suffix(".safetensors")
    both = nn.ModuleDict({"network": network, "own_heads": heads_of(own_heads, taught)})
    if done.exists():
        report(f"stage {stage.name}: already finished")
        with safe_open(done, framework="pt") as file:
            epochs = float(file.metadata()["epochs"])
            state = {name: file.get_tensor(name) for name, _ in both.named_parameters()}
        both.load_state_dict(state, strict=False)
        return epochs
    if not len(posts):
        raise DataError(f"stage {stage.name!r} has no labelled post to learn from")
    if not len(dev) and not stage.average_last:
        raise DataError(
            f"stage {stage.name!r} chooses its epoch, and no dev file has a label (of the same "
            "`labelling`) for what it teaches; add one, or set average_last"
        )
    epochs = fit(
        TrainingModule(network, stage, posts.targets, own_heads),
        posts,
        dev,
        collate,
        run,
        seed=seed,
        device=device,
        tensorboard=tensorboard,
        report=report,
    )
    network.cpu()
    own_heads.cpu()
    if PartialState().is_main_process:
        temporary = done.with_suffix(".new")
        try:
            own = {name: tensor.contiguous() for name, tensor in both.named_parameters()}
            save_file(own, temporary, metadata={"epochs": str(epochs)})
            temporary.replace(done)
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"cannot write {done}: {error}; make room or choose another --cache, then start "
                "again: training resumes from its last complete epoch"
            ) from error
        # optimizer states are twice the model's size
        shutil.rmtree(run, ignore_errors=True)
    PartialState().wait_for_everyone()
    return epochs


def rows_of(stage: Stage, rows: Sequence[Row], files: Sequence[DataFile]) -> list[Row]:
    """Rows of the stage's files, as often as it says."""
    chosen = []
    for row in rows:
        times = stage.train.get(files[row.file].called, 0.0) if stage.train else 1.0
        number = int.from_bytes(hashlib.sha256(f"share {row.post.id}".encode()).digest()[:8])
        chosen += [row] * (int(times) + (number < (times % 1.0) * 2**64))
    return chosen
