"""Fit a network with Hugging Face `Trainer`, one stage at a time."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import Sampler
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

from deadpan.core.errors import ModelError
from models.engines.base import cpu_computes_bf16
from models.evaluation.metrics import macro_f1
from models.training.dataset import Collator, LengthGroupedSampler, PostSet
from models.training.module import TrainingModule
from models.training.settings import Stage

Report = Callable[[str], None]

_AVERAGE = "average.safetensors"


def fit(
    module: TrainingModule,
    train: PostSet,
    dev: PostSet,
    collate: Collator,
    run: Path,
    *,
    seed: int,
    device: str,
    tensorboard: Path,
    report: Report,
) -> float:
    """Train a stage; the module ends as its best epoch, or as the mean of its last steps.

    The dev score is the mean of the macro F1 of every dev file and question it has labels for. A
    stage that averages goes through all its epochs: the dev files choose nothing.

    Args:
        module: network and stage.
        train: to learn from.
        dev: to measure on after every epoch, and to choose the epoch by; empty for neither, where
            the stage averages.
        run: folder for the state of the stage; when it holds one, training goes on from there.
        seed: of order, dropout and dropped modalities.

    Returns:
        The number of epochs trained.

    Raises:
        ModelError: the loss is not a number, memory is short, or `run` cannot be written.
    """
    stage = module.stage
    set_seed(seed)
    average = Average(module, stage.average_last)
    callbacks: list[TrainerCallback] = [_Progress(stage.name, report), average]
    if not stage.average_last:
        callbacks.append(EarlyStoppingCallback(stage.patience))
    if importlib.util.find_spec("tensorboard") is not None:
        from torch.utils.tensorboard import SummaryWriter
        from transformers.integrations.integration_utils import TensorBoardCallback

        writer = SummaryWriter(str(tensorboard))
        callbacks.append(TensorBoardCallback(writer))  # type: ignore[no-untyped-call]
    trainer = _StageTrainer(
        model=module,
        args=_arguments(stage, run, device, len(train), seed, measured=len(dev) > 0),
        train_dataset=train,
        eval_dataset=dev,
        data_collator=collate,
        compute_metrics=_scorer(dev),
        optimizers=(torch.optim.AdamW(module.parameter_groups(), fused=True), None),
        callbacks=callbacks,
    )
    trainer.average = average
    trainer.remove_callback(PrinterCallback)
    state = get_last_checkpoint(str(run)) if run.is_dir() else None  # type: ignore[no-untyped-call]
    if state is not None:
        report(f"stage {stage.name}: resuming from {state}")
    try:
        average.load(state)
        trainer.train(resume_from_checkpoint=state)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _out_of_memory(stage, error) from error
    except (OSError, SafetensorError, RuntimeError) as error:
        # a full disk reaches us as OSError, as SafetensorError from the weights, or as
        # RuntimeError from torch's own writer of the optimizer's state
        if isinstance(error, RuntimeError) and "allocate memory" in str(error):
            raise _out_of_memory(stage, error) from error
        if isinstance(error, RuntimeError) and "write" not in str(error):
            raise
        raise ModelError(
            f"cannot write the state of training to {run}: {error}; make room or choose another "
            "--cache, then start again: training resumes from its last complete epoch"
        ) from error
    average.apply()
    return float(trainer.state.epoch or 0.0)


def _out_of_memory(stage: Stage, error: BaseException) -> ModelError:
    return ModelError(
        f"out of memory in stage {stage.name!r}: {str(error).splitlines()[0]:.200}; lower its "
        f"batch_size (it is {stage.batch_size}) or train fewer layers, then start again"
    )


def _arguments(
    stage: Stage, run: Path, device: str, posts: int, seed: int, *, measured: bool
) -> TrainingArguments:
    steps = -(-posts // stage.batch_size) * stage.epochs
    cuda_bf16 = device == "cuda" and torch.cuda.is_bf16_supported()
    arguments = TrainingArguments(
        output_dir=str(run),
        seed=seed,
        num_train_epochs=stage.epochs,
        per_device_train_batch_size=stage.batch_size,
        per_device_eval_batch_size=2 * stage.batch_size,
        learning_rate=stage.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=steps // 10,
        bf16=cuda_bf16 or (device == "cpu" and cpu_computes_bf16()),
        fp16=device == "cuda" and not cuda_bf16,
        eval_strategy="epoch" if measured else "no",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=not stage.average_last,
        metric_for_best_model="score",
        greater_is_better=True,
        # without it, a resumed run forgets how long it has waited for a better epoch
        restore_callback_states_from_checkpoint=True,
        label_names=["labels"],
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        # a batch of texts alone leaves the fused layers without gradient
        ddp_find_unused_parameters=True,
        use_cpu=device == "cpu",
        disable_tqdm=True,
        report_to=[],
    )
    # several GPUs in one process would split a batch's pictures from its posts; they are for
    # `accelerate launch`
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


class _StageTrainer(Trainer):
    """Trainer that groups by length, and stops at the first loss that is not a number."""

    average: Average

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        assert isinstance(dataset, PostSet)
        return LengthGroupedSampler(
            dataset.lengths, self.args.per_device_train_batch_size, self.args.seed
        )

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # frozen weights are the same in every epoch
        assert isinstance(self.model, TrainingModule)
        kept = {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}
        super()._save(output_dir, kept)
        self.average.save(Path(output_dir or str(self.args.output_dir)))

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        result = super().compute_loss(model, inputs, *args, **kwargs)
        loss = result[0] if isinstance(result, tuple) else result
        if not torch.isfinite(loss):
            assert isinstance(self.model, TrainingModule)
            stage = self.model.stage
            raise ModelError(
                f"the loss is {loss.item()} in epoch {self.state.epoch or 0:.1f} of stage "
                f"{stage.name!r}; lower learning_rate (it is {stage.learning_rate}) or "
                f"encoder_learning_rate ({stage.encoder_learning_rate}) in the recipe"
            )
        return result


class Average(TrainerCallback):
    """The mean of the weights over the last share of a stage's steps.

    Source: Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, UAI
    2018.
    """

    def __init__(self, module: nn.Module, share: float) -> None:
        self._share = share
        self._trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._mean: dict[str, torch.Tensor] = {}
        self._count = 0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step <= (1 - self._share) * state.max_steps:
            return
        self._count += 1
        with torch.no_grad():
            for name, parameter in self._trained.items():
                if self._count == 1:
                    self._mean[name] = parameter.detach().float().clone()
                else:
                    self._mean[name].lerp_(parameter.float(), 1 / self._count)

    def save(self, folder: Path) -> None:
        """Keep the mean with a checkpoint of the run."""
        if self._count:
            save_file(self._mean, folder / _AVERAGE, metadata={"steps": str(self._count)})

    def load(self, folder: str | None) -> None:
        """Go on with the mean of a checkpoint of the run."""
        if folder is None or not (Path(folder) / _AVERAGE).exists():
            return
        with safe_open(Path(folder) / _AVERAGE, framework="pt") as file:
            self._count = int(file.metadata()["steps"])
            for name, parameter in self._trained.items():
                self._mean[name] = file.get_tensor(name).to(parameter.device)

    def apply(self) -> None:
        """Make the mean the module's weights, if there is one."""
        with torch.no_grad():
            for name, mean in self._mean.items():
                self._trained[name].copy_(mean)


class _Progress(TrainerCallback):
    def __init__(self, stage: str, report: Report) -> None:
        self._stage = stage
        self._report = report

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step % 100 == 0 and state.is_world_process_zero:
            self._report(f"stage {self._stage}: step {state.global_step} of {state.max_steps}")

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # on_save and not on_evaluate: what is reported has been kept
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        scores = [entry["eval_score"] for entry in state.log_history if "eval_score" in entry]
        if losses and state.is_world_process_zero:
            score = f", dev score {scores[-1]:.4f}" if scores else ""
            self._report(
                f"stage {self._stage}: epoch {len(losses)} of at most {args.num_train_epochs:.0f}: "
                f"loss {losses[-1]:.4f}{score}"
            )


def _scorer(dev: PostSet) -> Callable[[EvalPrediction], dict[str, float]]:
    """Mean macro F1 over every dev file and target that has labels."""

    def score(prediction: EvalPrediction) -> dict[str, float]:
        scores = []
        for logits, labels in zip(prediction.predictions, dev.labels.T, strict=True):
            for index in np.unique(dev.file):
                chosen = (dev.file == index) & (labels >= 0)
                if chosen.any():
                    scores.append(macro_f1(logits[chosen], labels[chosen]))
        return {"score": float(np.mean(scores))}

    return score
