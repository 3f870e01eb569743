"""RecBole's Trainer on this package's loaders, ranking and checkpoints."""

import logging
import math
import os
import random
import re
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from recbole.evaluator import Collector
from recbole.evaluator.register import metrics_dict
from recbole.trainer import Trainer as RecBoleTrainer
from recbole.utils import EvaluatorType, get_gpu_usage, set_color
from torch.nn.utils.clip_grad import clip_grad_norm_
from tqdm import tqdm

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import Record, is_number
from recbole_cocorr.data import distributed
from recbole_cocorr.data.loaders import EvalLoader, TrainLoader
from recbole_cocorr.evaluation.ranking import RANK_METRICS, rank_among_all, rank_positive, summarise
from recbole_cocorr.models.compiling import compile_encoder
from recbole_cocorr.models.fast_layers import use_fast_layers
from recbole_cocorr.models.objective import Objective
from recbole_cocorr.models.scoring import find_scorer
from recbole_cocorr.training.agreement import LENGTH, PLACE, SPEED, check_agreement, rows_digest
from recbole_cocorr.training.checkpoint import (
    Checkpoint,
    fitting_weights,
    load_checkpoint,
    load_weights,
    plain_config,
    save_checkpoint,
)
from recbole_cocorr.training.resuming import optimizer_state, random_state
from recbole_cocorr.training.run_log import tensorboard_in

# Rows, shortest histories first, on which a model's scorer is found out.
_PROBE_ROWS = 8

# RecBole's, but for sparse_adam: no sequential model has sparse gradients.
_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop")


class _EpochsFromOne(logging.LoggerAdapter):
    """RecBole's messages with epochs counted from 1, as people count; its code and the files count from 0."""

    def process(self, msg, kwargs):
        text = re.sub(r"epoch (\d+)(?= training| evaluating|$)", lambda m: f"epoch {int(m[1]) + 1}", str(msg))
        return text, kwargs


class Trainer(RecBoleTrainer):
    """Trains and evaluates any sequential model, each sequence encoded once.

    Keeps RecBole's loop, logging, tensorboard, wandb and early stopping. Its own are: the epoch (one
    pass over :class:`~recbole_cocorr.data.loaders.TrainLoader`), the ranking, and the files: the best epoch's
    ``<name>.safetensors`` and, beside it, ``<name>.training.safetensors``, from which training resumes to
    the same numbers.

    Parameters
    ----------
    config : Config
    model : SequentialRecommender
    """

    def __init__(self, config, model):
        os.makedirs(config["checkpoint_dir"], exist_ok=True)  # RecBole's way fails where two processes do it at once
        with tensorboard_in(config["tensorboard_dir"]):
            super().__init__(config, model)
        self.logger = _EpochsFromOne(self.logger)
        if config["rank"]:
            self.tensorboard.close()
        self.saved_model_file = os.path.splitext(self.saved_model_file)[0] + ".safetensors"
        if config["torch_compile"]:
            compile_encoder(model)
        else:
            use_fast_layers(model)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._scorer = None
        self._objective = None
        self._items: list[str] = []
        self._num_users = 0
        self._rows = ""
        self._valid_metrics: dict[str, float] = {}
        self._best_weights: dict[str, torch.Tensor] | None = None
        self._save_state_with_best = False
        self._random_state: dict[str, torch.Tensor] = {}
        self.ranks: dict[str, np.ndarray] = {}

    def _build_optimizer(self, **kwargs):
        """RecBole's optimizers; Adam and AdamW in torch's fused form, one pass over each parameter."""
        if self.learner.lower() not in _LEARNERS:
            raise UserError(f"learner is {self.learner!r}; it must be one of {', '.join(_LEARNERS)}")
        fused = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}.get(self.learner.lower())
        if fused is None or kwargs:
            return super()._build_optimizer(**kwargs)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return fused(parameters, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)

    # -- training --------------------------------------------------------------------------------

    def fit(
        self,
        train_data: TrainLoader,
        valid_data: EvalLoader | None = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ):
        """Train; returns the best validation score and result, as RecBole's ``fit`` does."""
        if valid_data is not None and len(valid_data) == 0:
            self.logger.warning("no user has a validation item; training runs all epochs and keeps the last")
            valid_data = None
        self._remember_vocabulary(train_data.dataset)
        self._remember_rows([loader.dataset for loader in (train_data, valid_data) if loader])
        if self._best_weights is not None and (self.start_epoch >= self.epochs or self.cur_step > self.stopping_step):
            self.logger.info("the resumed training had already ended")
            return self.best_valid_score, self.best_valid_result
        self._save_state_with_best = saved and (not valid_data or self.eval_step <= 0)
        self._prepare(train_data)
        # After preparing, which may have drawn numbers; once, for the first epoch after the break.
        _set_random_state(self._random_state, self.device)
        self._random_state = {}
        show_progress = show_progress and not self.config["rank"]

        def after_epoch(epoch: int, valid_score: float) -> None:
            if saved and self.config["save_training_state"]:
                self._save_training_state(epoch)
            if callback_fn:
                callback_fn(epoch, valid_score)

        return super().fit(train_data, valid_data, verbose, saved, show_progress, after_epoch)

    def _remember_vocabulary(self, dataset) -> None:
        items = [str(t) for t in dataset.field2id_token[dataset.iid_field]]
        if self._items and self._items != items:
            raise UserError("the data hold other items, or number them otherwise, than those the model was trained on")
        self._items, self._num_users = items, dataset.user_num

    def _remember_rows(self, datasets: list) -> None:
        digest = rows_digest(*datasets)
        if self._rows and self._rows != digest:
            raise UserError(
                "the data hold the items that the training began with, but other rows; resume with the same data"
            )
        self._rows = digest

    def _prepare(self, data: TrainLoader | EvalLoader) -> None:
        if self._scorer is None:
            dataset = data.dataset
            # A row of each length: on full histories alone, ways to read padding look alike.
            _, first = np.unique(dataset.inter_feat[dataset.item_list_length_field].numpy(), return_index=True)
            probe = dataset[torch.from_numpy(first[:_PROBE_ROWS])]
            rows = data.transform(dataset, probe).to(self.device)
            self._scorer = find_scorer(self.model, rows)
            training_rows = rows if isinstance(data, TrainLoader) else None
            self._objective = Objective(self.model, self._scorer, self.config["loss_type"], training_rows)

    def _train_epoch(self, train_data: TrainLoader, epoch_idx: int, loss_func=None, show_progress: bool = False):
        """One pass over the training rows; returns the mean loss times the number of batches."""
        self.model.train()
        objective = loss_func or self._objective
        train_data.set_epoch(epoch_idx)
        batches = train_data.batches()
        progress = (
            tqdm(
                batches,
                total=len(train_data),
                ncols=100,
                desc=set_color(f"Train {epoch_idx + 1:>5}", "pink"),
            )
            if show_progress
            else batches
        )
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.enable_scaler)
        total = torch.zeros((), device=self.device)
        for batch in progress:
            interaction = batch.interaction.to(self.device)
            self.optimizer.zero_grad()
            with torch.autocast(device_type=self.device.type, enabled=self.enable_amp):
                losses = objective(interaction, *([batch.sample.to(self.device)] if batch.sample else []))
                loss = (sum(losses) if isinstance(losses, tuple) else losses) * batch.weight
            scaler.scale(loss).backward()
            distributed.sum_gradients(self._parameters)
            if self.clip_grad_norm:
                scaler.unscale_(self.optimizer)
                clip_grad_norm_(self._parameters, **self.clip_grad_norm)
            scaler.step(self.optimizer)
            scaler.update()
            total += loss.detach().sum()  # some of RecBole's losses have the shape [1]
            if self.gpu_available and show_progress:
                progress.set_postfix_str(set_color("GPU RAM: " + get_gpu_usage(self.device), "yellow"))
        value = distributed.sum_scalar(total.item(), self.device)
        if not np.isfinite(value):
            raise UserError(
                f"the training loss of epoch {epoch_idx + 1} is {value}; lower learning_rate or set clip_grad_norm"
            )
        return value

    # -- evaluation ------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(
        self,
        eval_data: EvalLoader | None,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> "OrderedDict[str, float] | None":
        """Metrics of the model on validation or test rows.

        The ranks behind them are kept in ``self.ranks[phase]`` [rows, 3], in the loader's row order.
        """
        if not eval_data:
            return None
        self._remember_vocabulary(eval_data.dataset)
        if load_best_model:
            self._load_best(model_file)
        self._prepare(eval_data)
        self.model.eval()
        show_progress = show_progress and not self.config["rank"]
        try:
            if self.config["eval_type"] == EvaluatorType.VALUE:
                result = self._evaluate_values(eval_data)
            else:
                result = self._evaluate_ranking(eval_data, show_progress)
        except ValueError as error:
            raise UserError(f"the {eval_data.phase} rows cannot be evaluated: {error}") from error
        self.wandblogger.log_eval_metrics(result, head="eval")
        return result

    def _progress(self, eval_data: EvalLoader, show_progress: bool):
        if not show_progress:
            return eval_data.batches()
        return tqdm(eval_data.batches(), total=len(eval_data), ncols=100, desc=set_color("Evaluate   ", "pink"))

    def _evaluate_ranking(self, eval_data: EvalLoader, show_progress: bool) -> "OrderedDict[str, float]":
        metrics = [m.lower() for m in self.config["metrics"]]
        item_lists = [m for m in metrics if m not in RANK_METRICS]
        # Begun with nothing, which is what a process without rows contributes.
        ranks, recommended = [torch.empty(0, 3, dtype=torch.int64)], [torch.empty(0, dtype=torch.int64)]
        self._scorer.prepare()
        for batch in self._progress(eval_data, show_progress):
            interaction = batch.interaction.to(self.device)
            if batch.candidates is not None:
                items = batch.candidates.to(self.device)
                scores = self._scorer.candidates(interaction, items)
                real = items > 0
                ranks.append(rank_positive(scores, real[:, 1:]).cpu())
                if item_lists:
                    scores = scores.masked_fill(~real, -torch.inf)
                    top = scores.topk(min(max(self.config["topk"]), scores.shape[1]), dim=1).indices
                    recommended.append(items.gather(1, top).cpu())
            else:
                found, top = self._rank_all(interaction, batch.rows, eval_data, bool(item_lists))
                ranks.append(found)
                if item_lists:
                    recommended.append(top)
        table = distributed.gather_rows(torch.cat(ranks)).numpy()
        self.ranks[eval_data.phase] = table
        places = self.config["metric_decimal_place"]
        values = summarise(table, [m for m in metrics if m in RANK_METRICS], self.config["topk"], places)
        if item_lists:
            values.update(self._item_list_metrics(item_lists, torch.cat(recommended)))
        return OrderedDict((k, values[k]) for m in metrics for k in values if k.split("@")[0] == m)

    def _rank_all(self, interaction, rows: torch.Tensor, eval_data: EvalLoader, want_items: bool):
        """Ranks among all items and, if wanted, the items that come first; some rows at a time."""
        dataset = eval_data.dataset
        positive = interaction[dataset.iid_field]
        ranks, tops = [], []
        for part, scores in self._scorer.in_blocks(interaction):
            hidden = dataset.history_pairs(rows[part]) if eval_data.mask_history else None
            ranks.append(rank_among_all(scores, positive[part], hidden).cpu())
            if want_items:
                chosen = scores.gather(1, positive[part, None])
                if hidden is not None:
                    scores[hidden] = -torch.inf
                scores[:, 0] = -torch.inf
                scores.scatter_(1, positive[part, None], chosen)
                tops.append(scores.topk(min(max(self.config["topk"]), scores.shape[1]), dim=1).indices.cpu())
        return torch.cat(ranks), torch.cat(tops) if want_items else None

    def _item_list_metrics(self, metrics: list[str], recommended: torch.Tensor) -> "OrderedDict[str, float]":
        """RecBole's metrics of the recommended lists (coverage, popularity, ...)."""
        struct = self.eval_collector.data_struct
        struct.set("rec.items", distributed.gather_rows(recommended))
        result: OrderedDict[str, float] = OrderedDict()
        for metric in metrics:
            try:
                result.update(metrics_dict[metric](self.config).calculate_metric(struct))
            except IndexError:  # RecBole's word for what nobody has collected
                raise UserError(
                    f"the metric {metric} counts the training rows, and this trainer has not seen them; call "
                    "trainer.eval_collector.data_collect(train_data) first"
                ) from None
        return result

    def _evaluate_values(self, eval_data: EvalLoader) -> "OrderedDict[str, float]":
        """RecBole's metrics of scores against labels (AUC, LogLoss, ...) over all candidates."""
        if eval_data.candidates is None:
            raise UserError("value metrics such as AUC need sampled candidates; set eval_args mode to uniN")
        self._scorer.prepare()
        rows = [torch.empty(0, 2)]
        for batch in eval_data.batches():
            items = batch.candidates.to(self.device)
            scores = torch.sigmoid(self._scorer.candidates(batch.interaction.to(self.device), items))
            labels = torch.zeros_like(scores)
            labels[:, 0] = 1.0
            real = items > 0
            rows.append(torch.stack([scores[real], labels[real]], dim=1).cpu())
        table = distributed.gather_rows(torch.cat(rows))
        collector = Collector(self.config)
        collector.data_struct.set("rec.score", table[:, :1])
        collector.data_struct.set("data.label", table[:, 1:])
        return self.evaluator.evaluate(collector.get_data_struct())

    # -- files -----------------------------------------------------------------------------------

    @property
    def training_state_file(self) -> str:
        """Where the state to resume from is kept."""
        return os.path.splitext(self.saved_model_file)[0] + ".training.safetensors"

    def _valid_epoch(self, valid_data, show_progress: bool = False):
        score, result = super()._valid_epoch(valid_data, show_progress)
        self._valid_metrics = {k: float(v) for k, v in result.items()}
        return score, result

    def _checkpoint(self, kind: str, epoch: int) -> Checkpoint:
        return Checkpoint(
            kind=kind,
            config=plain_config(self.config.final_config_dict),
            items=self._items,
            weights=dict(self.model.state_dict()),
            num_users=self._num_users,
            epoch=epoch,
            metrics=self._valid_metrics,
        )

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs) -> None:
        self._best_weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        if not self.config["rank"]:
            path = kwargs.pop("saved_model_file", self.saved_model_file)
            save_checkpoint(path, self._checkpoint("model", epoch))
            if verbose:
                self.logger.info(set_color("Saving current", "blue") + f": {path}")
        if self._save_state_with_best and epoch >= 0 and self.config["save_training_state"]:
            self._save_training_state(epoch)  # without validation RecBole makes no call after an epoch

    def _save_training_state(self, epoch: int) -> None:
        random_state = {f"rng.{k}": distributed.gather_rows(v[None]) for k, v in _random_state(self.device).items()}
        if self.config["rank"]:
            return
        checkpoint = self._checkpoint("training", epoch)
        state = self.optimizer.state_dict()
        numbers: dict[str, dict[str, object]] = {}
        for index, entries in state["state"].items():
            for name, value in entries.items():
                if torch.is_tensor(value):
                    checkpoint.tensors[f"optimizer.{index}.{name}"] = value
                else:
                    numbers.setdefault(str(index), {})[name] = value
        for name, value in (self._best_weights or {}).items():
            checkpoint.tensors[f"best.{name}"] = value
        checkpoint.tensors.update(random_state)
        checkpoint.training = {
            "param_groups": state["param_groups"],
            "optimizer_numbers": numbers,
            "cur_step": self.cur_step,
            "best_valid_score": self.best_valid_score,
            "best_valid_result": self.best_valid_result or self._valid_metrics,
            "saved_model_file": os.path.basename(self.saved_model_file),
            "rows": self._rows,
        }
        save_checkpoint(self.training_state_file, checkpoint)

    def resume_checkpoint(self, resume_file: str) -> None:
        """Continue from a training state: epochs, optimizer, early stopping and random numbers.

        Raises
        ------
        UserError
            If the file is no training state, or one of another model or other data.
        """
        checkpoint = load_checkpoint(resume_file)
        if checkpoint.kind != "training":
            raise UserError(
                f"{resume_file} holds a model, not a training state; resume from the file that ends in "
                ".training.safetensors"
            )
        source = str(resume_file)
        check_agreement(checkpoint.config, self.config, source, PLACE | SPEED | LENGTH, "resume with the same settings")
        saved = Record(checkpoint.training, source, "training.")
        # Everything is checked before the first of it is taken over.
        optimizer = optimizer_state(self.optimizer, checkpoint, source)
        best = {k[len("best.") :]: t for k, t in checkpoint.tensors.items() if k.startswith("best.")}
        if best:
            best = fitting_weights(self.model, best, source)
        generators = random_state(checkpoint.tensors, _random_state(self.device), distributed.rank(), source)
        cur_step, score = saved.whole("cur_step"), saved.content.get("best_valid_score")
        if not is_number(score) or math.isnan(score):
            raise saved.refuse("best_valid_score", "a number")
        result, name = saved.numbers("best_valid_result"), saved.text("saved_model_file")
        if os.path.basename(name) != name or not name.endswith(".safetensors") or "\0" in name:
            raise saved.refuse("saved_model_file", "a file name that ends in .safetensors")
        rows = saved.text("rows", default="")
        load_weights(self.model, checkpoint.weights, source)
        self.optimizer.load_state_dict(optimizer)
        self._random_state = generators
        self._best_weights = best or None
        self.start_epoch = checkpoint.epoch + 1
        self.cur_step, self.best_valid_score, self.best_valid_result = cur_step, score, OrderedDict(result)
        self.saved_model_file = os.path.join(os.path.dirname(os.fspath(resume_file)), name)
        self._items, self._rows = checkpoint.items, rows
        self.logger.info(f"Training resumes from epoch {self.start_epoch + 1} of {resume_file}")

    def _load_best(self, model_file: str | None) -> None:
        if model_file is None and self._best_weights is not None:
            self.model.load_state_dict(self._best_weights)
            self.logger.info(f"Weights of the best epoch, as saved in {self.saved_model_file}")
            return
        path = model_file or self.saved_model_file
        checkpoint = load_checkpoint(path)
        if checkpoint.items != self._items:
            raise UserError(f"{path} was trained on other items than the data hold, or on the same numbered otherwise")
        load_weights(self.model, checkpoint.weights, str(path))
        self.logger.info(f"Weights loaded from {path}")


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """What the generators that training draws from stand at: dropout, and RecBole's masks for BERT4Rec."""
    state = {"torch": torch.get_rng_state(), "python": torch.tensor(random.getstate()[1])}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    if "torch" in state:
        torch.set_rng_state(state["torch"])
    if "python" in state:
        version, _, _ = random.getstate()
        random.setstate((version, tuple(state["python"].tolist()), None))
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
