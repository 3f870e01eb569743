"""The authors' released implementation, number by number: every array of every conformance file.

The released code reads A^ unmasked: later clicks and padding get into the outputs of a model with a GCN. There
this model is compared where the two agree by design (the last position of full rows); and once more at every
position, with every gradient, after the test has taken the mask of A^ away (:class:`ReleasedFusion`).
"""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_cocorr.layers import CorrectionFusion, apply_rope, match_moments
from recbole_cocorr.models.cocorrrec.released_names import released_to_ours
from recbole_cocorr.training.recommend import recommender_from
from recbole_cocorr.training.released import import_released, read_state_dict
from tests.conftest import shared_folder


def conformance_files() -> list[Path]:
    try:
        return sorted(shared_folder("conformance").glob("*.npz"))
    except pytest.skip.Exception:
        return []  # pytest then skips what is parametrised over them


FILES = pytest.mark.parametrize("path", conformance_files(), ids=lambda path: path.stem)
FLOATS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])

# Arrays of a file's out_f64 that a test below compares.
COMPARED = {
    "logits", "loss", "target_trans_out", "last_hidden_state", "seq_norm_out", "ttt_out", "post_norm_out", "o_proj_out",
    "XQ", "XK", "XV", "eta", "W1_last", "b1_last", "W1_after_full_minibatches", "b1_after_full_minibatches",
    "Att_corr_raw", "b1_corr_raw",
}  # fmt: skip


class Case:
    """One file: its arrays as tensors, and our model with its weights."""

    def __init__(self, path: Path, dtype: torch.dtype):
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
        self.path, self.dtype = path, dtype
        size = dict(zip(("d", "H", "K", "L", "B", "V"), arrays["cfg"].tolist(), strict=True))
        self.heads, self.size, self.length, self.width = size["H"], size["K"], size["L"], size["d"] // size["H"]
        self.item_seq, self.lengths = torch.from_numpy(arrays["click_seq"]), torch.from_numpy(arrays["lengths"])
        self.targets, self.labels = torch.from_numpy(arrays["target_id"]), torch.from_numpy(arrays["labels"]).to(dtype)

        def group(prefix: str) -> dict[str, torch.Tensor]:
            return {k[len(prefix) :]: torch.from_numpy(v) for k, v in arrays.items() if k.startswith(prefix)}

        self.parameters, self.out, self.grad = group("param/"), group("out_f64/"), group("grad_f64/")
        self.out_f32 = group("out_f32/")
        self.corrected = any("corrnet" in name for name in self.parameters)

    def model(self):
        """Fresh, so that no test sees what another left in it."""
        checkpoint = import_released(read_state_dict(self.path), self.path.name, [], self.length)
        model = recommender_from(checkpoint, self.path.name, "cpu").model.to(self.dtype)
        model.load_state_dict(released_to_ours(self.parameters))
        return model

    @property
    def real(self) -> torch.Tensor:
        return torch.arange(self.length) < self.lengths[:, None]

    @property
    def full(self) -> torch.Tensor:
        return self.lengths == self.length

    @property
    def comparable(self) -> torch.Tensor:
        """[B, L]: the positions at which the README says that outputs agree."""
        if not self.corrected:
            return self.real
        return self.full[:, None] & (torch.arange(self.length) == self.length - 1)

    def interaction(self, model) -> Interaction:
        return Interaction(
            {
                model.ITEM_SEQ: self.item_seq,
                model.ITEM_SEQ_LEN: self.lengths,
                model.ITEM_ID: self.targets,
                model.POS_ITEM_ID: self.targets,
                model.LABEL_FIELD: self.labels,
            }
        )

    def check(self, name: str, ours: torch.Tensor, expected: torch.Tensor) -> None:
        """1e-9 of the array's largest entry in float64, 1e-4 absolute in float32."""
        assert ours.shape == expected.shape, name
        assert ours.dtype == self.dtype, name
        error = (ours.detach().double() - expected.double()).abs().max() if expected.numel() else 0.0
        limit = 1e-9 * expected.abs().max() if self.dtype == torch.float64 else 1e-4
        assert error <= limit, f"{name} is off by {error:.2e}, more than {limit:.2e}"

    def check_out(self, name: str, ours: torch.Tensor, where=...) -> None:
        self.check(name, ours[where], self.out[name][where])
        if self.dtype == torch.float32:
            self.check(f"{name} (float32)", ours[where], self.out_f32[name][where])


@functools.cache
def load(path: Path, dtype: torch.dtype) -> Case:
    return Case(path, dtype)


class ReleasedFusion(CorrectionFusion):
    """Eq. 15 as the released code has it: A^ neither masked nor its moments taken over what a row may read."""

    def fuse_attention(self, attention, sent, mask):
        attention = attention * mask
        return attention + self.alpha * match_moments(sent, attention)


def watch_block(model) -> dict[str, torch.Tensor]:
    """Fills up with the TTT block's parts when the model runs."""
    seen: dict[str, torch.Tensor] = {}
    block = model.layers[0].ttt
    block.post_norm.register_forward_hook(lambda _, args, out: seen.update(ttt_out=args[0], post_norm_out=out))
    block.o_proj.register_forward_hook(lambda _, args, out: seen.update(o_proj_out=out))
    return seen


def device_outputs(case: Case, model) -> torch.Tensor:
    hidden_states = model.hidden_states(case.item_seq)
    sent = model.correction(hidden_states, case.lengths) if case.corrected else None
    return model.device_outputs(hidden_states, sent)


@FILES
def test_no_array_goes_unnoticed(path):
    """A file with an array that no test compares must fail, not pass by silence."""
    case = load(path, torch.float64)
    assert set(case.out) <= COMPARED
    assert set(case.grad) == set(case.parameters)
    # Every released parameter has its place in ours, and ours has no other: load_state_dict is strict.
    assert set(released_to_ours(case.parameters)) == {name for name, _ in case.model().named_parameters()}


@FILES
@FLOATS
def test_hidden_states_are_equal(path, dtype):
    """X of every position, padding included: an embedding of zero comes out of the RMSNorm as zero."""
    case = load(path, dtype)
    case.check_out("seq_norm_out", case.model().hidden_states(case.item_seq))


@FILES
@FLOATS
def test_projections_and_inner_learning_rates_are_equal(path, dtype):
    case = load(path, dtype)
    model = case.model()
    block, x = model.layers[0].ttt, model.hidden_states(case.item_seq)

    def by_head(t: torch.Tensor) -> torch.Tensor:
        return t.unflatten(-1, (case.heads, -1)).transpose(1, 2)  # [B, H, L, f]

    position = torch.arange(case.length) % case.size
    chunks = -(-case.length // case.size)
    tail = chunks * case.size - case.length

    def in_chunks(t: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(t, (0, 0, 0, tail)).unflatten(2, (chunks, case.size))

    inside = in_chunks(case.real[:, None, :, None].expand(-1, case.heads, -1, case.width))
    for name, ours in (
        ("XQ", apply_rope(by_head(block.q_proj(x)), position)),
        ("XK", apply_rope(by_head(block.k_proj(x)), position)),
        ("XV", by_head(block.v_proj(x))),
    ):
        case.check_out(name, in_chunks(ours), inside)
    rate = torch.sigmoid(x @ block.inner_lr_weight.T + block.inner_lr_bias) / case.width
    rate = in_chunks(rate.transpose(1, 2)[..., None]).transpose(-1, -2)  # [B, H, chunks, 1, K]
    eta = block.token_steps(rate)[:, None] * rate
    click = inside[..., 0]
    case.check_out("eta", eta, click[..., None] & click[..., None, :])


@FILES
@FLOATS
def test_the_keys_that_a_state_holds_are_equal(path, dtype):
    """XK once more, out of the layer itself: those of the clicks of an unfinished mini-batch."""
    case = load(path, dtype)
    model = case.model()
    block, x = model.layers[0].ttt, model.hidden_states(case.item_seq)
    begun = min(case.size - 1, case.length)
    _, state = block(x[:, :begun], return_state=True)
    released = case.out["XK"][:, :, 0, :begun]
    case.check("XK of the state", state.keys[:, :, :begun], released)


@FILES
@FLOATS
def test_outputs_are_equal(path, dtype):
    """O and its parts, at every position that the README names."""
    case = load(path, dtype)
    model = case.model()
    seen = watch_block(model)
    outputs = device_outputs(case, model)
    case.check_out("last_hidden_state", outputs, case.comparable)
    for name in ("ttt_out", "post_norm_out", "o_proj_out"):
        case.check_out(name, seen[name], case.comparable)


@FILES
@FLOATS
def test_the_primal_form_is_equal_too(path, dtype):
    """Click by click, the form that a device runs, with the correction where there is one."""
    case = load(path, dtype)
    model = case.model()
    hidden_states = model.hidden_states(case.item_seq)
    how = {}
    if case.corrected:
        how = {"correction": model.correction(hidden_states, case.lengths), "fusion": model.fusion}
    output, _ = model.layers[0].ttt.primal(hidden_states, lengths=case.lengths, **how)
    case.check_out("o_proj_out", output, case.comparable)
    case.check_out("last_hidden_state", model.final_norm(output), case.comparable)


@FILES
@FLOATS
def test_states_are_equal(path, dtype):
    """The released code learns from padding as from clicks: read so, every row's final state is the same.

    The correction does not reach the state, so this holds with a GCN too. A row without padding
    has the same state under its own length.
    """
    case = load(path, dtype)
    model = case.model()
    block, x = model.layers[0].ttt, model.hidden_states(case.item_seq)
    how = {}
    if case.corrected:
        how = {"correction": model.correction(x, case.lengths), "fusion": model.fusion}
    read_all = {"return_state": True, **how}
    for _, state in (block(x, **read_all), block.primal(x, **how)):
        case.check_out("W1_after_full_minibatches", state.W)
        case.check_out("b1_after_full_minibatches", state.b.unsqueeze(2))
        # After a tail of R clicks the last state is that of token R: W - tau_R S_W.
        rest = case.length % case.size
        tau = block.token_steps(x)[rest - 1] if rest else 0.0
        case.check_out("W1_last", state.W - tau * state.S_W)
        case.check_out("b1_last", (state.b - tau * state.S_b).unsqueeze(2))
    _, state = block(x, lengths=case.lengths, **read_all)
    case.check_out("W1_after_full_minibatches", state.W, case.full)


@FILES
@FLOATS
def test_corrections_are_equal(path, dtype):
    """A^ and B^ as the cloud sends them; of every row, for the GRU of the released code stops at the last real step."""
    case = load(path, dtype)
    if not case.corrected:
        pytest.skip("a file without a GCN")
    model = case.model()
    sent = model.correction(model.hidden_states(case.item_seq), case.lengths)
    case.check_out("Att_corr_raw", sent.attention.flatten(1))
    case.check_out("b1_corr_raw", sent.bias.flatten(1))


@FILES
@FLOATS
def test_scores_are_equal(path, dtype):
    """Of every row; with a GCN, of full ones. A row without clicks is scored by its first position, as released."""
    case = load(path, dtype)
    model = case.model()
    case.check_out("target_trans_out", model.item_vectors(case.targets))
    where = case.full if case.corrected else ...
    interaction = case.interaction(model)
    case.check_out("logits", model.predict(interaction), where)
    everything = model.full_sort_predict(interaction)
    case.check_out("logits", everything.gather(1, case.targets[:, None]).squeeze(1), where)


@FILES
@FLOATS
def test_loss_and_every_gradient_are_equal_without_a_gcn(path, dtype):
    """The released loss is binary cross-entropy of the logits and labels, the mean over all rows, empty ones too."""
    case = load(path, dtype)
    if case.corrected:
        pytest.skip("rows that the README leaves out are in the loss: see the test with the mask taken away")
    model = case.model()
    loss = model.calculate_loss(case.interaction(model))
    case.check_out("loss", loss)
    check_gradients(case, model, loss)


@FILES
@FLOATS
def test_all_of_a_gcn_is_equal_once_the_mask_is_taken_away(path, dtype):
    """Every position of every row, the loss and all gradients: the mask of A^ is the only difference there is."""
    case = load(path, dtype)
    if not case.corrected:
        pytest.skip("a file without a GCN")
    model = case.model()
    released = ReleasedFusion().to(dtype)
    released.load_state_dict(model.fusion.state_dict())
    model.fusion = released
    seen = watch_block(model)
    outputs = device_outputs(case, model)
    case.check_out("last_hidden_state", outputs)
    for name in ("ttt_out", "post_norm_out", "o_proj_out"):
        case.check_out(name, seen[name])
    users = outputs[torch.arange(len(outputs)), (case.lengths - 1).clamp_min(0)]
    logits = (users * model.item_vectors(case.targets)).sum(dim=-1)
    case.check_out("logits", logits)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, case.labels)
    case.check_out("loss", loss)
    check_gradients(case, model, loss)


@FILES
@FLOATS
def test_the_mask_matters_where_the_readme_leaves_rows_out(path, dtype):
    """Else the comparisons above could not tell a masked model from an unmasked one."""
    case = load(path, dtype)
    if not case.corrected:
        pytest.skip("a file without a GCN")
    if float(case.parameters["ttt.layers.0.seq_modeling_block.P"]) == 0:
        pytest.skip("alpha = 0: A^ is not read")
    model = case.model()
    off = (device_outputs(case, model).double() - case.out["last_hidden_state"]).abs().amax(dim=2)
    assert (off[case.real & ~case.comparable] > 1e-3).any()


def check_gradients(case: Case, model, loss: torch.Tensor) -> None:
    model.zero_grad()
    loss.backward()
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    expected = released_to_ours(case.grad)
    assert set(ours) == set(expected)
    for name, gradient in expected.items():
        case.check(f"gradient of {name}", ours[name], gradient)
