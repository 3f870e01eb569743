"""The epoch loop: RecBole's Trainer on this package's loaders, ranking and checkpoints."""

import os
from collections import OrderedDict
from collections.abc import Callable
from itertools import count

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer as RecBoleTrainer
from recbole.utils import EvaluatorType, get_gpu_usage, get_local_time, set_color
from torch.nn.utils.clip_grad import clip_grad_norm_
from tqdm import tqdm

from recbole_cocorr.base.checkpoints import MODEL
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data import distributed
from recbole_cocorr.data.dataset import SequenceDataset
from recbole_cocorr.data.loaders import EvalLoader, SequenceLoader, TrainLoader
from recbole_cocorr.data.parquet import first_places
from recbole_cocorr.layers.sharded_table import sharded_tables
from recbole_cocorr.models.compiling import compile_encoder
from recbole_cocorr.models.fast_layers import use_fast_layers
from recbole_cocorr.models.length_groups import ByLength, padding_is_idle, without_padding
from recbole_cocorr.models.objective import Objective
from recbole_cocorr.models.scoring import find_scorer
from recbole_cocorr.models.sequence_objective import SequenceObjective
from recbole_cocorr.models.sharding import own_weights, whole_tables, whole_weights
from recbole_cocorr.training.agreement import rows_digest
from recbole_cocorr.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_weights,
    plain_config,
    save_checkpoint,
)
from recbole_cocorr.training.resume import (
    Progress,
    add_training_state,
    random_state,
    read_training_state,
    set_random_state,
)
from recbole_cocorr.training.run_log import EpochsFromOne, tensorboard_in
from recbole_cocorr.training.validation import Ranking, value_metrics
from recbole_cocorr.training.weight_average import WeightAverage, read_average

# Rows, shortest histories first, on which a model's scorer is found out.
_PROBE_ROWS = 8

# RecBole's, but for sparse_adam: no sequential model has sparse gradients.
_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop")


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
        self.logger = EpochsFromOne(self.logger)
        if config["rank"]:
            self.tensorboard.close()
        # Two runs may begin in one second, in two processes or one after the other.
        name = f"{config['model']}-{config['dataset']}-{get_local_time()}-{os.getpid()}"
        names = (f"{name}{'' if n == 1 else f'-{n}'}{MODEL}" for n in count(1))
        files = (os.path.join(config["checkpoint_dir"], name) for name in names)
        self.saved_model_file = next(file for file in files if not os.path.exists(file))
        if config["torch_compile"]:
            compile_encoder(model)
        else:
            use_fast_layers(model)
        self._sharded = [table.weight for table in sharded_tables(model).values()]
        shards = {id(p) for p in self._sharded}
        # Those whose gradients are summed over the processes; a shard's gradient is the sum already.
        self._parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in shards]
        if shards and config["save_training_state"]:
            self.logger.warning("shard_items is True, so no training state is written; the training cannot be resumed")
        decay = config["weight_average"]
        self._average = None if decay is None else WeightAverage(model, self.optimizer, decay)
        self._scorer = None
        self._objective = None
        self._leaves_out_padding = False
        self._items: list[str] = []
        self._num_users = 0
        self._clicks: torch.Tensor | None = None
        self._rows = ""
        self._valid_metrics: dict[str, float] = {}
        self._best_weights: dict[str, torch.Tensor] | None = None
        self._save_state_with_best = False
        self._generators: dict[str, torch.Tensor] = {}
        self.ranks: dict[str, np.ndarray] = {}
        self.by_history: dict[str, dict[str, float]] | None = None

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
        self._prepare_training(train_data)
        # After preparing, which may have drawn numbers; once, for the first epoch after the break.
        set_random_state(self._generators, self.device)
        self._generators = {}
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
        if self._clicks is None and isinstance(dataset, SequenceDataset):
            _, clicked = dataset.training_interactions()
            self._clicks = torch.from_numpy(np.bincount(clicked, minlength=len(items)))

    def _remember_rows(self, datasets: list) -> None:
        digest = rows_digest(*datasets)
        if self._rows and self._rows != digest:
            raise UserError(
                "the data hold the items that the training began with, but other rows; resume with the same data"
            )
        self._rows = digest

    def _prepare(self, data: TrainLoader | EvalLoader) -> None:
        if self._scorer is not None:
            return
        rows = self._probe(data)
        self._scorer = find_scorer(self.model, rows)
        training_rows = rows if isinstance(data, TrainLoader) else None
        self._objective = Objective(self.model, self._scorer, self.config["loss_type"], training_rows)

    def _prepare_training(self, data: TrainLoader) -> None:
        self._prepare(data)
        if hasattr(self.model, "count_clicks"):  # it reads no rows
            return
        if isinstance(data, SequenceLoader):
            objective = Objective(self.model, self._scorer, self.config["loss_type"], self._probe(data))
            with whole_tables(self.model):
                self._objective = SequenceObjective(objective, data.probe(_PROBE_ROWS).to(self.device))
        elif self.config["batch_by_length"] and not self.config["torch_compile"]:
            with whole_tables(self.model):
                idle = self._objective.reads_user_vectors and self._padding_is_idle(self._probe(data))
            self._leaves_out_padding = idle

    def _probe(self, data: TrainLoader | EvalLoader) -> Interaction:
        """A row of each length: on full histories alone, ways to read padding look alike."""
        dataset = data.dataset
        lengths = dataset.inter_feat[dataset.item_list_length_field].numpy()
        first = first_places(lengths, int(lengths.max(initial=0)) + 1)
        probe = dataset[torch.from_numpy(first[first < len(lengths)][:_PROBE_ROWS])]
        return data.transform(dataset, probe).to(self.device)

    @torch.no_grad()
    def _padding_is_idle(self, probe: Interaction) -> bool:
        encode = self._scorer.encode
        if isinstance(encode, ByLength):
            return True
        self.model.eval()
        return padding_is_idle(encode, self.model, probe)

    def _train_epoch(self, train_data: TrainLoader, epoch_idx: int, loss_func=None, show_progress: bool = False):
        """One pass over the training rows; returns the mean loss times the number of batches."""
        self.model.train()
        if self._average:
            self._average.begin_epoch()
        objective = loss_func or self._objective
        if hasattr(self.model, "count_clicks"):  # it learns from all training clicks at once, by no gradient
            self.model.count_clicks(epoch_idx)
            return 0.0
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
            rows = batch.interaction
            if self._leaves_out_padding:
                rows = without_padding(rows, self.model)
            interaction = rows.to(self.device)
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
        if self._average:
            self._average.end_epoch()
        value = distributed.sum_scalar(total.item(), self.device)
        if not np.isfinite(value):
            raise UserError(
                f"the training loss of epoch {epoch_idx + 1} is {value}; lower learning_rate or set clip_grad_norm"
            )
        return value

    # -- evaluation ------------------------------------------------------------------------------

    def evaluate(
        self,
        eval_data: EvalLoader | None,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> "OrderedDict[str, float] | None":
        """Metrics of the model on validation or test rows.

        The ranks behind them are kept in ``self.ranks[phase]`` [rows, 3], in the loader's row order. Under full
        ranking, ``self.by_history`` has the test metrics with the items of the history among the candidates
        (``"in"``) and without them (``"out"``), whatever ``eval_mask_history`` says.
        """
        if not eval_data:
            return None
        self._remember_vocabulary(eval_data.dataset)
        if load_best_model:
            self._load_best(model_file)
        with torch.no_grad(), whole_tables(self.model):
            return self._evaluate(eval_data, show_progress and not self.config["rank"])

    def _evaluate(self, eval_data: EvalLoader, show_progress: bool) -> "OrderedDict[str, float]":
        self._prepare(eval_data)
        self.model.eval()
        try:
            if self.config["eval_type"] == EvaluatorType.VALUE:
                result = value_metrics(self.config, self.device, self._scorer, eval_data)
            else:
                training_rows = self.eval_collector.data_struct
                ranking = Ranking(self.config, self.device, self._scorer, training_rows)
                result, self.ranks[eval_data.phase] = ranking.measure(eval_data, show_progress)
                if eval_data.phase == "test":
                    self.by_history = ranking.by_history
        except ValueError as error:
            raise UserError(f"the {eval_data.phase} rows cannot be evaluated: {error}") from error
        self.wandblogger.log_eval_metrics(result, head="eval")
        return result

    # -- files -----------------------------------------------------------------------------------

    @property
    def training_state_file(self) -> str:
        """The file of the state to resume from."""
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
            weights=whole_weights(self.model),
            num_users=self._num_users,
            clicks=self._clicks,
            epoch=epoch,
            metrics=self._valid_metrics,
        )

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs) -> None:
        self._best_weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        checkpoint = self._checkpoint("model", epoch)
        if not self.config["rank"]:
            path = kwargs.pop("saved_model_file", self.saved_model_file)
            save_checkpoint(path, checkpoint)
            if verbose:
                self.logger.info(set_color("Saving current", "blue") + f": {path}")
        if self._save_state_with_best and epoch >= 0 and self.config["save_training_state"]:
            self._save_training_state(epoch)  # without validation RecBole makes no call after an epoch

    def _save_training_state(self, epoch: int) -> None:
        if self._sharded:
            return
        generators = {k: distributed.gather_rows(v[None]) for k, v in random_state(self.device).items()}
        if self.config["rank"]:
            return
        checkpoint = self._checkpoint("training", epoch)
        progress = Progress(
            self.cur_step,
            self.best_valid_score,
            self.best_valid_result or self._valid_metrics,
            os.path.basename(self.saved_model_file),
            self._rows,
        )
        add_training_state(checkpoint, self.optimizer, self._best_weights, generators, progress)
        if self._average:
            self._average.save(checkpoint)
        save_checkpoint(self.training_state_file, checkpoint)

    def resume_checkpoint(self, resume_file: str) -> None:
        """Continue from a training state: epochs, optimizer, early stopping and random numbers.

        Raises
        ------
        UserError
            If the file is no training state, or one of another model or other data.
        """
        if self._sharded:
            raise UserError("shard_items is True, and a training of shards cannot be resumed; leave it out")
        # Everything is checked before the first of it is taken over.
        state = read_training_state(resume_file, self.model, self.optimizer, self.config)
        checkpoint, progress = state.checkpoint, state.progress
        averaged = read_average(checkpoint, self.model, str(resume_file)) if self._average else None
        load_weights(self.model, checkpoint.weights, str(resume_file))
        self.optimizer.load_state_dict(state.optimizer)
        if averaged:
            self._average.load(**averaged)
        self._generators, self._best_weights = state.generators, state.best_weights
        self.start_epoch = checkpoint.epoch + 1
        self.cur_step, self.best_valid_score = progress.cur_step, progress.best_valid_score
        self.best_valid_result = OrderedDict(progress.best_valid_result)
        self.saved_model_file = os.path.join(os.path.dirname(os.fspath(resume_file)), progress.saved_model_file)
        self._items, self._rows = checkpoint.items, progress.rows
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
        load_weights(self.model, own_weights(self.model, checkpoint.weights), str(path))
        self.logger.info(f"Weights loaded from {path}")
