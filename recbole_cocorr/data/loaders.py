"""Batches in which each sequence stands once, however many candidates stand beside it."""

from collections.abc import Iterator
from dataclasses import dataclass
from logging import getLogger

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.data.transform import construct_transform
from recbole.utils import InputType

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data import distributed
from recbole_cocorr.data.dataset import NEG_ITEMS, SequenceDataset, touched_pairs
from recbole_cocorr.data.negatives import NegativeSampler, protocol_generator
from recbole_cocorr.data.windows import Windows

# What a random generator is for; part of its seed.
_TRAIN, _VALID, _TEST, _SOFTMAX, _BATCHES = 1, 2, 3, 4, 5
_PHASES = {"valid": _VALID, "test": _TEST}

# Column of a window's targets, [rows, W], 0 at the padding.
TARGET_ITEMS = "target_items"

# Batches whose rows are sorted by length together: the more, the less padding, and the less chance there is in a batch.
_SORTED_TOGETHER = 50


@dataclass
class SharedSample:
    """Items that stand beside every row of a batch, for the sampled softmax.

    Attributes
    ----------
    items : torch.Tensor of int64, shape [N]
        Drawn with replacement.
    log_expected : torch.Tensor of float32, shape [N]
        log(N q_i), q_i the probability of a draw.
    """

    items: torch.Tensor
    log_expected: torch.Tensor

    def to(self, device: torch.device) -> "SharedSample":
        """The sample on another device."""
        return SharedSample(self.items.to(device), self.log_expected.to(device))


@dataclass
class TrainBatch:
    """One process's share of a global batch.

    Attributes
    ----------
    interaction : Interaction
        Rows with ``item_id_list`` [B, L], ``item_length`` [B], ``item_id`` [B] and, with negatives,
        ``neg_items`` [B, sample_num].
    weight : float
        Share of this process in the global batch's loss; the weights of all processes add up to 1.
    sample : SharedSample or None
        The negatives of the global batch, the same in all processes; None unless ``softmax_sample_num`` is set.
    """

    interaction: Interaction
    weight: float
    sample: SharedSample | None = None


class TrainLoader:
    """Training rows in RecBole's order, with the protocol's negatives.

    Parameters
    ----------
    config : Config
        ``train_batch_size`` counts scored pairs as RecBole does: with N negatives a batch of the BCE
        loss holds train_batch_size // (1 + N) sequences, of the BPR loss train_batch_size // N.
        ``batch_by_length`` puts rows of similar length into the same batch.
    dataset : Dataset
        The training rows.
    sampler : NegativeSampler or None
        Knows every item a user touched in any split; needed for negatives alone.
    """

    is_sequential = True

    def __init__(self, config, dataset, sampler: NegativeSampler | None):
        self.config = config
        self._dataset = self.dataset = dataset
        self.shuffle = bool(config["shuffle"])
        self.transform = construct_transform(config)
        arguments = config["train_neg_sample_args"]
        self.sample_num = 0 if arguments["distribution"] == "none" else int(arguments["sample_num"])
        self._arguments = arguments
        self._sampler = sampler
        # Scored pairs of a row besides its negatives: BPR scores nothing without a negative.
        self._own_pairs = 0 if self.sample_num and config["MODEL_INPUT_TYPE"] == InputType.PAIRWISE else 1
        self.step = max(1, config["train_batch_size"] // (self._own_pairs + self.sample_num))
        self._by_length = bool(config["batch_by_length"])
        # Of training rows there may be a billion: what is not needed is not made.
        self._users = dataset.inter_feat[dataset.uid_field].numpy() if self.sample_num else None
        self._lengths = dataset.inter_feat[dataset.item_list_length_field] if self._by_length else None
        self._count = len(dataset.inter_feat)
        self._negatives: np.ndarray | None = None
        self._drawn_for: int | None = None
        self._generator = torch.Generator()
        self._orders_drawn = 0
        self._generator.manual_seed(config["seed"])
        self.epoch = 0
        self._softmax_num = config["softmax_sample_num"] if config["loss_type"] == "CE" else None
        if self._softmax_num:
            items = dataset.inter_feat[dataset.iid_field].numpy()
            weight = (1.0 + np.bincount(items, minlength=dataset.item_num)) ** config["softmax_sample_alpha"]
            weight[0] = 0.0
            self._softmax_chance = weight / weight.sum()
            self._softmax_upto = np.cumsum(self._softmax_chance)
        short = int((sampler.allowed[np.unique(self._users)] < self.sample_num).sum()) if self.sample_num else 0
        if short:
            getLogger().warning(
                f"{short} users never touched fewer than {self.sample_num} items; they train with what there is"
            )

    def __len__(self) -> int:
        return -(-self._count // self.step)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order and negatives the next iteration uses."""
        self.epoch = epoch

    def _order(self) -> torch.Tensor:
        """The epoch's order of rows: what RecBole's loader draws in the same epoch with the same seed."""
        kind = torch.int32 if self._count < 1 << 31 else torch.int64
        if not self.shuffle:
            return torch.arange(self._count, dtype=kind)
        if self._orders_drawn > self.epoch:
            self._generator.manual_seed(self.config["seed"])
            self._orders_drawn = 0
        order = torch.empty(0, dtype=kind)
        while self._orders_drawn <= self.epoch:
            # torch's DataLoader takes one number for its workers before its sampler takes the order, and
            # the sampler takes a second order, of which it uses nothing, when the first is used up.
            torch.empty((), dtype=torch.int64).random_(generator=self._generator)
            order = torch.randperm(self._count, generator=self._generator, dtype=kind)
            torch.randperm(self._count, generator=self._generator, dtype=kind)
            self._orders_drawn += 1
        return order

    def _row_batches(self) -> list[torch.Tensor]:
        """The rows of each global batch of the epoch."""
        order = self._order()
        if not self._by_length:
            return list(order.split(self.step))
        batches: list[torch.Tensor] = []
        for part in order.split(self.step * _SORTED_TOGETHER):
            batches += part[torch.argsort(self._lengths[part.long()], stable=True)].split(self.step)
        if not self.shuffle:
            return batches
        generator = protocol_generator(self.config["dataset"], self.config["seed"], _BATCHES, self.epoch)
        return [batches[number] for number in generator.permutation(len(batches))]

    def _negatives_of(self, rows: np.ndarray) -> np.ndarray:
        epoch = 0 if self._arguments.get("fixed") else self.epoch
        if self._drawn_for != epoch:
            generator = protocol_generator(self.config["dataset"], self.config["seed"], _TRAIN, epoch)
            self._negatives = self._sampler.sample(
                self._users,
                self.sample_num,
                generator,
                self._arguments["distribution"],
                self._arguments.get("alpha", 1.0),
            )
            self._drawn_for = epoch
        return self._negatives[rows].astype(np.int64)

    def _weight(self, rows: np.ndarray, low: int, high: int) -> float:
        """Share of ``rows[low:high]`` in the loss, a mean over scored pairs: a row short of negatives has fewer."""
        if high - low == len(rows):
            return 1.0
        pairs = self._pairs(rows)
        return float(pairs[low:high].sum() / max(1, pairs.sum()))

    def _pairs(self, rows: np.ndarray) -> np.ndarray:
        """How many scored pairs each row has."""
        if not self.sample_num:
            return np.ones(len(rows), dtype=np.int64)
        return self._own_pairs + (self._negatives_of(rows) > 0).sum(axis=1)

    def _shared_sample(self, batch: int) -> SharedSample | None:
        if not self._softmax_num:
            return None
        generator = protocol_generator(self.config["dataset"], self.config["seed"], _SOFTMAX, self.epoch, batch)
        point = generator.random(self._softmax_num) * self._softmax_upto[-1]
        items = np.searchsorted(self._softmax_upto, point, side="right")  # never an item of chance 0
        log_expected = np.log(self._softmax_num * self._softmax_chance[items])
        return SharedSample(torch.from_numpy(items), torch.from_numpy(log_expected.astype(np.float32)))

    def batches(self) -> Iterator[TrainBatch]:
        """Yield this process's share of each global batch of the epoch."""
        rank, world = distributed.rank(), distributed.world_size()
        for batch, rows in enumerate(map(torch.Tensor.long, self._row_batches())):
            low, high = len(rows) * rank // world, len(rows) * (rank + 1) // world
            weight = self._weight(rows.numpy(), low, high)
            # A process without rows still takes part in the exchange of gradients, with weight 0.
            mine = rows[low:high] if high > low else rows[:1]
            yield TrainBatch(self._rows(mine), weight, self._shared_sample(batch))

    def __iter__(self) -> Iterator[Interaction]:
        for batch in self.batches():
            yield batch.interaction

    def _rows(self, rows: torch.Tensor) -> Interaction:
        interaction = self.transform(self._dataset, self._dataset[rows])
        if self.sample_num:
            interaction.update(Interaction({NEG_ITEMS: torch.from_numpy(self._negatives_of(rows.numpy()))}))
        return interaction


class SequenceLoader(TrainLoader):
    """The same training rows, side by side in windows: a user's sequence is read once, with a target at every click.

    The negatives of a target are those that :class:`TrainLoader` gives it.

    Parameters
    ----------
    config : Config
        ``train_batch_size`` counts windows.
    dataset : SequenceDataset
        The training rows.
    sampler : NegativeSampler

    Raises
    ------
    UserError
        If the rows of the data set are not made of the user's sequence alone.
    """

    def __init__(self, config, dataset, sampler: NegativeSampler | None):
        if not isinstance(dataset, SequenceDataset):
            raise UserError(
                f"training_rows is sequence, and the histories of the dataset class {type(dataset).__name__} need not "
                "follow from the clicks before; set training_rows: prefix"
            )
        super().__init__(config, dataset, sampler)
        self._places, self._items = dataset.row_places(), dataset.item_order()
        self._windows = Windows.of(self._places, config["MAX_ITEM_LIST_LENGTH"])
        self._lengths, self._count = torch.from_numpy(self._windows.lengths), len(self._windows)
        self.step = config["train_batch_size"]

    def _pairs(self, rows: np.ndarray) -> np.ndarray:
        targets, real = self._windows.grid(rows)
        pairs = np.zeros(real.shape, dtype=np.int64)
        pairs[real] = super()._pairs(targets[real])
        return pairs.sum(axis=1)

    def _rows(self, rows: torch.Tensor) -> Interaction:
        """Users and lengths [B], clicks and ``target_items`` [B, W], ``neg_items`` [B, W, N]."""
        targets, real = self._windows.grid(rows.numpy())
        place, dataset = self._places[targets], self._dataset
        columns = {
            dataset.uid_field: dataset.row_users(targets[:, 0]),
            dataset.item_list_length_field: self._windows.lengths[rows.numpy()],
            getattr(dataset, f"{dataset.iid_field}_list_field"): self._items[place - 1] * real,
            TARGET_ITEMS: self._items[place] * real,
        }
        if self.sample_num:
            columns[NEG_ITEMS] = self._negatives_of(targets.ravel()).reshape(*real.shape, -1) * real[..., None]
        return Interaction({name: torch.from_numpy(values).long() for name, values in columns.items()})

    def probe(self, count: int) -> Interaction:
        """Windows of different lengths: the shortest, and one of the longest."""
        _, first = np.unique(self._windows.lengths, return_index=True)
        chosen = first if len(first) <= count else np.r_[first[: count - 1], first[-1:]]
        return self._rows(torch.from_numpy(chosen))


TRAIN_LOADERS = {"prefix": TrainLoader, "sequence": SequenceLoader}


@dataclass
class EvalBatch:
    """Rows to rank.

    Attributes
    ----------
    interaction : Interaction
        The rows; ``item_id`` is the item that was chosen.
    candidates : torch.Tensor or None
        Item ids [B, 1 + N], the positive first, 0 where there is no further candidate; None: all items.
    rows : torch.Tensor
        The rows' numbers in the loader's dataset.
    """

    interaction: Interaction
    candidates: torch.Tensor | None
    rows: torch.Tensor


class EvalLoader:
    """Validation or test rows with the protocol's candidates.

    The candidates are drawn once, when the loader is made, from a generator that depends on the
    dataset's name, the seed and the phase alone, in the order of users: the same for every model.

    Parameters
    ----------
    config : Config
    dataset : Dataset
        The rows to rank.
    sampler : NegativeSampler
    phase : {"valid", "test"}
    """

    is_sequential = True
    shuffle = False

    def __init__(self, config, dataset, sampler: NegativeSampler | None, phase: str):
        self.config = config
        self._dataset = self.dataset = dataset
        self.phase = phase
        self.transform = construct_transform(config)
        self.step = config["eval_batch_size"]
        self.users = dataset.inter_feat[dataset.uid_field].numpy()
        self.candidates: torch.Tensor | None = None
        self.mask_history = bool(config["eval_mask_history"])
        self._sampler = sampler
        arguments = config[f"{phase}_neg_sample_args"]
        full = config["eval_args"]["mode"][phase] == "full"
        # The test is measured with the items of the history among the candidates and without them.
        self.both_ways = full and phase == "test" and hasattr(dataset, "history_pairs")
        if not full:
            self.candidates = self._draw(arguments)
        if self.mask_history and not full:
            raise UserError("eval_mask_history needs full ranking: sampled candidates hold no item of the history")
        if self.mask_history and not hasattr(dataset, "history_pairs"):
            raise UserError(f"eval_mask_history cannot read the dataset class of {config['model']}; leave it out")

    def _draw(self, arguments: dict) -> torch.Tensor:
        num = int(arguments["sample_num"])
        by_user = np.argsort(self.users, kind="stable")
        generator = protocol_generator(self.config["dataset"], self.config["seed"], _PHASES[self.phase])
        candidates = np.empty((len(self.users), num), dtype=np.int32)
        candidates[by_user] = self._sampler.sample(self.users[by_user], num, generator, arguments["distribution"])
        counts = (candidates > 0).sum(axis=1)
        if len(counts) and counts.min() < num:
            getLogger().warning(
                f"the {self.phase} candidates: {int((counts < num).sum())} of {len(counts)} rows have fewer than "
                f"{num} items that their user never touched (the fewest: {int(counts.min())}); "
                "they are ranked against all there are"
            )
        positives = self._dataset.inter_feat[self._dataset.iid_field].numpy()
        return torch.from_numpy(np.concatenate([positives[:, None], candidates], axis=1).astype(np.int32))

    def __len__(self) -> int:
        return -(-len(self.users) // self.step)

    def user_tokens(self) -> list[str]:
        """The user of each row, as the data name it; also one that training never saw (``protocol: time``)."""
        tokens = getattr(self._dataset, "all_user_tokens", self._dataset.field2id_token[self._dataset.uid_field])
        return [str(token) for token in tokens[self.users]]

    def share(self) -> torch.Tensor:
        """Row numbers that this process ranks: a contiguous part, each row in exactly one process."""
        rank, world = distributed.rank(), distributed.world_size()
        total = len(self.users)
        return torch.arange(total * rank // world, total * (rank + 1) // world)

    def batches(self) -> Iterator[EvalBatch]:
        """Yield this process's rows."""
        for rows in self.share().split(self.step):
            if len(rows) == 0:
                continue
            interaction = self.transform(self._dataset, self._dataset[rows])
            candidates = None if self.candidates is None else self.candidates[rows].long()
            yield EvalBatch(interaction, candidates, rows)

    def __iter__(self) -> Iterator[EvalBatch]:
        return self.batches()


def data_preparation(config, dataset) -> tuple[TrainLoader, EvalLoader, EvalLoader]:
    """Split the dataset and make its three loaders; the counterpart of RecBole's function of this name."""
    modes = config["eval_args"]["mode"].values()
    sampler = None
    if config["train_neg_sample_args"]["distribution"] != "none" or any(mode != "full" for mode in modes):
        sampler = NegativeSampler(*touched_pairs(dataset), dataset.user_num, dataset.item_num)
    train, valid, test = dataset.build()
    if len(train) == 0:
        raise UserError(
            f"dataset {config['dataset']!r} leaves no training row: no user has enough interactions "
            "(three for a test item, four for a validation item too)"
        )
    return (
        TRAIN_LOADERS[config["training_rows"] or "prefix"](config, train, sampler),
        EvalLoader(config, valid, sampler, "valid"),
        EvalLoader(config, test, sampler, "test"),
    )
