"""Fit a head to tables of features with Hugging Face `Trainer`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from deadpan.errors import ModelError
from models.config import ModelConfig
from models.evaluation.metrics import macro_f1
from models.fusion import FusionHead
from models.training.dataset import PostTable, as_batch
from models.training.module import FusionTrainingModule
from models.training.settings import Settings

Report = Callable[[str], None]


def fit(
    config: ModelConfig,
    train: PostTable,
    dev: PostTable,
    settings: Settings,
    run: Path,
    *,
    device: str,
    report: Report,
) -> tuple[FusionHead, float]:
    """Train until the dev score no longer rises, and keep the best epoch.

    The dev score is the mean of the macro F1 of every dev file and question it has labels for.

    Args:
        config: of the model.
        train: to learn from.
        dev: to choose the epoch by.
        settings: of the run.
        run: folder for the state of the run; when it holds one, training goes on from there.
        device: "cpu" or "cuda".
        report: gets a line for every epoch.

    Returns:
        The head, on the CPU in evaluation mode, and the number of epochs trained.

    Raises:
        ModelError: the loss is not a number, or `run` cannot be written.
    """
    set_seed(settings.seed)
    module = FusionTrainingModule(FusionHead.from_config(config), train)
    trainer = _HeadTrainer(
        model=module,
        args=_arguments(settings, run, device, len(train)),
        train_dataset=train,
        eval_dataset=dev,
        data_collator=as_batch,
        compute_metrics=_scorer(dev),
        callbacks=[EarlyStoppingCallback(settings.patience), _Progress(report)],
    )
    trainer.remove_callback(PrinterCallback)
    state = get_last_checkpoint(str(run)) if run.is_dir() else None  # type: ignore[no-untyped-call]
    if state is not None:
        report(f"going on from {state}")
    try:
        trainer.train(resume_from_checkpoint=state)
    except (OSError, SafetensorError, RuntimeError) as error:
        # a full disk reaches us as OSError, as SafetensorError from the weights, or as
        # RuntimeError from torch's own writer of the optimizer's state
        if isinstance(error, RuntimeError) and "write" not in str(error):
            raise
        raise ModelError(
            f"cannot write the state of training to {run}: {error}; make room or choose another "
            "--cache, then start again: training goes on from its last whole epoch"
        ) from error
    return module.head.cpu().eval().requires_grad_(False), float(trainer.state.epoch or 0.0)


def _arguments(settings: Settings, run: Path, device: str, posts: int) -> TrainingArguments:
    steps = -(-posts // settings.batch_size) * settings.epochs
    return TrainingArguments(
        output_dir=str(run),
        seed=settings.seed,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=1024,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type="cosine",
        warmup_steps=steps // 20,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="score",
        greater_is_better=True,
        # without it, a resumed run forgets how long it has waited for a better epoch
        restore_callback_states_from_checkpoint=True,
        label_names=["sentiment", "sarcasm"],
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=device == "cpu",
        disable_tqdm=True,
        report_to=[],
    )


class _HeadTrainer(Trainer):
    """Trainer that stops at the first loss that is not a number."""

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        result = super().compute_loss(model, inputs, *args, **kwargs)
        loss = result[0] if isinstance(result, tuple) else result
        if not torch.isfinite(loss):
            raise ModelError(
                f"the loss is {loss.item()} in epoch {self.state.epoch or 0:.1f}; "
                f"lower learning_rate in the recipe (it is {self.args.learning_rate})"
            )
        return result


class _Progress(TrainerCallback):
    def __init__(self, report: Report) -> None:
        self._report = report

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # on_save and not on_evaluate: what is reported has been kept
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        scores = [entry["eval_score"] for entry in state.log_history if "eval_score" in entry]
        self._report(
            f"epoch {len(scores)} of at most {args.num_train_epochs:.0f}: "
            f"loss {losses[-1]:.4f}, dev score {scores[-1]:.4f}"
        )


def _scorer(dev: PostTable) -> Callable[[EvalPrediction], dict[str, float]]:
    """Mean macro F1 over every dev file and question that has labels."""
    file = dev.file.numpy()

    def score(prediction: EvalPrediction) -> dict[str, float]:
        scores = []
        for logits, labels in zip(prediction.predictions, prediction.label_ids, strict=True):
            for index in np.unique(file):
                chosen = (file == index) & (labels >= 0)
                if chosen.any():
                    scores.append(macro_f1(logits[chosen], labels[chosen]))
        return {"score": float(np.mean(scores))}

    return score
