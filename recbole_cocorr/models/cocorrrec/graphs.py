"""CoCorrRec as graphs over one user's state: a click, a mini-batch of a history, a correction.

The numbers are :class:`~recbole_cocorr.layers.ttt.layer.TTTLinear`'s. On a device it costs more
to start an operation than to compute it, so the graphs have as few operations as possible.

State of a layer, [H, f + 1 + 2 K, f], one below the other:

    W [H, f, f], b [H, 1, f]   the inner model at the start of the current mini-batch,
    keys [H, K, f]             the keys of the mini-batch, zero where no click has been yet,
    grads [H, K, f]            sigmoid(gate) G of the same clicks, zero likewise.

The constant part of the inner learning rate, base_lr / f, stands in the token scales instead. Sums of keys times
gradients are no part of it: a correction needs the keys and gradients anyway, and they give the sums.

A full mini-batch becomes part of W and b (:class:`Fold`) before the first click of the next one, not after its own
last click. So after every click the state still holds what its user vector was made of, and a correction
that comes then needs nothing else. A click's slot, the number of clicks before it modulo K, is an input.

Layers stand one after another along the first axis.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from recbole_cocorr.layers.rms_norm import RMSNorm
from recbole_cocorr.layers.ttt.equations import descend, outer_sum
from recbole_cocorr.layers.ttt.inner_gradient import NORM_EPS
from recbole_cocorr.models.cocorrrec import click_graph as click
from recbole_cocorr.models.cocorrrec.block_graph import first_norm, join_graph
from recbole_cocorr.models.cocorrrec.native_weights import native_weights
from recbole_cocorr.models.cocorrrec.network import RMS_EPS, CoCorrRec
from recbole_cocorr.models.device_graphs import Graph, Graphs


def initial_state(model: CoCorrRec) -> torch.Tensor:
    """The state [layers * H, f + 1 + 2 K, f] before the first click: the learned W0 and b0, no keys, no gradients."""
    states = []
    for layer in model.layers:
        ttt = layer.ttt
        states.append(F.pad(torch.cat([ttt.W0, ttt.b0[:, None]], dim=1), (0, 0, 0, 2 * ttt.mini_batch_size)))
    return torch.cat(states).detach().float()


class _Layer(nn.Module):
    """A layer's constants, and what the graphs share."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        ttt = layer.ttt
        self.ttt, self.norm, self.join = ttt, RMSNorm(layer.input_norm), join_graph(layer)
        H, K, f = self.heads, self.size, self.width = ttt.num_heads, ttt.mini_batch_size, ttt.head_width
        self.rows = [f, 1, K, K]
        # Columns by head: its query, its key, its value less beta, its gate.
        weights = [p.weight.view(H, f, -1) for p in (ttt.q_proj, ttt.k_proj, ttt.v_proj)]
        zero = torch.zeros_like(ttt.b0)
        weight = torch.cat([*weights, ttt.inner_lr_weight[:, None]], dim=1)
        bias = torch.cat([zero, zero, -ttt.inner_norm_bias, ttt.inner_lr_bias[:, None]], dim=1)
        self.register_buffer("weight", weight.detach().flatten(0, 1))
        self.register_buffer("bias", bias.detach().flatten())
        self.register_buffer("turn", ttt.rotation_matrices(ttt.W0))  # [K, f, f]
        self.register_buffer("steps", ttt.token_steps(ttt.W0).detach() * ttt.base_rate)
        self.register_buffer("lower", ttt.tables(ttt.W0).lower)
        # By slot: where in the state the click's key and gradient go.
        place = torch.zeros(K, f + 1 + 2 * K, 2)
        place[torch.arange(K), f + 1 + torch.arange(K), 0] = 1
        place[torch.arange(K), f + 1 + K + torch.arange(K), 1] = 1
        self.register_buffer("place", place)
        gamma = ttt.inner_norm_weight.detach()[:, None]  # [H, 1, f]
        self.register_buffer("gamma", gamma)
        self.register_buffer("beta", ttt.inner_norm_bias.detach()[:, None])
        # Times gamma, then less the mean.
        self.register_buffer("centred", gamma.transpose(1, 2) * (torch.eye(f) - 1 / f))  # [H, f, f]

    def split(self, state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """W, b, keys and grads of a layer's state."""
        return state.split(self.rows, dim=1)

    def projected(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Queries and keys [H, R, 2 f], values less beta [H, R, f] and gates [H, R, 1] of the layer's input [R, d]."""
        H, f = self.heads, self.width
        rows = F.linear(self.norm(x), self.weight, self.bias).view(-1, H, 3 * f + 1)
        # With one row the two axes change places without being moved.
        rows = rows.view(H, 1, 3 * f + 1) if len(x) == 1 else rows.transpose(0, 1)
        both, v, gates = rows.split([2 * f, f, 1], dim=2)
        return [both, v, torch.sigmoid(gates)]

    def learned(self, k: torch.Tensor, v: torch.Tensor, gates: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
        """sigmoid(gate) G [H, R, f] of the clicks; v is less beta, ``prediction`` is Z."""
        xhat, _, rstd = torch.native_layer_norm(prediction, [self.width], None, None, NORM_EPS)
        residual = (xhat * self.gamma + (k - v)) @ self.centred
        if k.shape[1] == 1:  # one operation, as a product
            pull = (residual @ xhat.transpose(1, 2)) * (1 / self.width)
        else:
            pull = (residual * xhat).mean(dim=-1, keepdim=True)
        return (residual - xhat * pull) * (rstd * gates)

    def finish(self, queries: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """q + LN_h(Zbar), both [H, R, f], to the block's output [R, d]."""
        heads = F.layer_norm(mixed, (self.width,), eps=NORM_EPS) * self.gamma + (self.beta + queries)
        if heads.shape[1] > 1:
            heads = heads.transpose(0, 1)
        return self.ttt.o_proj(self.ttt.post_norm(heads.reshape(-1, self.heads * self.width)))


class _Graph(nn.Module):
    def __init__(self, model: CoCorrRec) -> None:
        super().__init__()
        self.first_norm = first_norm(model)
        self.layers = nn.ModuleList(_Layer(layer) for layer in model.layers)
        self.final_norm = RMSNorm(model.final_norm)
        self.fusion = model.fusion if model.use_gcn else None

    def by_layer(self, state: torch.Tensor) -> Iterator[tuple[_Layer, torch.Tensor]]:
        """Each layer with its state."""
        pieces = state.split([layer.heads for layer in self.layers]) if len(self.layers) > 1 else [state]
        return zip(self.layers, pieces, strict=True)

    @staticmethod
    def joined(pieces: list[torch.Tensor]) -> torch.Tensor:
        """The state of all layers."""
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


class Step(_Graph):
    """One click: item vector [1, d], state and slot (int64 scalar) to user vector [1, d] and state.

    The plain form, for a host that hands the state from call to call; :class:`~.click.Click` is the fast one.
    """

    def forward(self, item: torch.Tensor, state: torch.Tensor, slot: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, after = self.first_norm(item), []
        for layer, now in self.by_layer(state):
            W, b, _, _ = layer.split(now)
            both, v, gate = layer.projected(x)
            both = both.view(layer.heads, 2, layer.width) @ layer.turn[slot]
            q, k = both.split([1, 1], dim=1)
            read, prediction = (both @ W + b).split([1, 1], dim=1)
            grad = layer.learned(k, v, gate, prediction)
            now = now + layer.place[slot] @ torch.cat([k, grad], dim=1)
            _, _, keys, grads = layer.split(now)
            # Slots that are still empty hold zero gradients, so the sum over all of them is the causal one.
            mixed = descend(read, layer.steps[slot], (q @ keys.transpose(1, 2) + 1) @ grads)
            x = layer.join(x, layer.finish(q, mixed))
            after.append(now)
        return self.final_norm(x), self.joined(after)


class Fold(_Graph):
    """A full mini-batch becomes part of the inner model: state to state, before the click at slot 0 that follows it."""

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        after = []
        for layer, before in self.by_layer(state):
            W, b, keys, grads = layer.split(before)
            W = descend(W, layer.steps[-1], outer_sum(keys, grads))
            b = descend(b, layer.steps[-1], grads.sum(dim=1, keepdim=True))
            after.append(torch.cat([W, b, torch.zeros_like(keys), torch.zeros_like(grads)], dim=1))
        return self.joined(after)


class Prefill(_Graph):
    """Clicks of one mini-batch: vectors [K, d] on its slots, those from ``start`` to before ``stop`` being clicks.

    Gives the user vector [1, d] after the last of them and the state; what stands in the other slots is not read.
    """

    def forward(
        self, items: torch.Tensor, state: torch.Tensor, start: torch.Tensor, stop: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x, after = self.first_norm(items), []
        last = stop - 1
        for number, (layer, before) in enumerate(self.by_layer(state)):
            W, b, keys, grads = layer.split(before)
            both, v, gates = layer.projected(x)
            q, k = (t.unsqueeze(2) @ layer.turn for t in both.split([layer.width, layer.width], dim=2))
            q, k = q.squeeze(2), k.squeeze(2)
            slots = torch.arange(layer.size)
            real = ((slots >= start) & (slots < stop))[:, None]
            keys = torch.where(real, k, keys)
            grads = torch.where(real, layer.learned(k, v, gates, k @ W + b), grads)
            steps, lower = layer.steps[:, None], layer.lower.to(q.dtype)
            if number + 1 == len(self.layers):  # only the last click's output is asked for
                x, q, steps, lower = x[last][None], q[:, last][:, None], layer.steps[last], 1.0
            mixed = descend(q @ W + b, steps, ((q @ keys.transpose(1, 2) + 1) * lower) @ grads)
            x = layer.join(x, layer.finish(q, mixed))
            after.append(torch.cat([W, b, keys, grads], dim=1))
        return self.final_norm(x), self.joined(after)


class Window(_Graph):
    """The last L clicks read anew, for a model of one layer whose L is no more than K: [L, d] to user vector [1, d].

    All clicks then learn from the initial model and meet in one sum. Rows stay rows [L, H, f], so that nothing is
    transposed, and a product with W0 is one with a block-diagonal matrix. G is not centred: a constant added to all
    entries of a head's Zbar is taken out by the LayerNorm that follows.
    """

    def __init__(self, model: CoCorrRec) -> None:
        super().__init__(model)
        (layer,) = self.layers
        ttt, L = layer.ttt, model.max_seq_length
        with torch.no_grad():
            tables = ttt.tables(ttt.W0)
            cos, sin = (t[:L, None].repeat_interleave(2, dim=2) for t in (tables.cos, tables.sin))
            self.register_buffer("cos", cos)  # [L, 1, f]
            self.register_buffer("sin", sin * torch.tensor([-1.0, 1.0]).repeat(layer.width // 2))
            self.register_buffer("swap", torch.arange(layer.width).view(-1, 2).flip(1).flatten())
            self.register_buffer("turn", layer.turn[L - 1].clone())  # the last click's slot never changes
            self.register_buffer("W0", torch.block_diag(*ttt.W0))
            self.register_buffer("b0", ttt.b0.flatten())
            self.register_buffer("gamma", ttt.inner_norm_weight.clone())  # [H, f]
            self.register_buffer("beta", ttt.inner_norm_bias.clone())
            self.register_buffer("step", ttt.inner_norm_weight * layer.steps[L - 1])

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        (layer,) = self.layers
        H, f = layer.heads, layer.width
        x = self.first_norm(items)
        rows = F.linear(layer.norm(x), layer.weight, layer.bias).view(-1, H, 3 * f + 1)
        queries, keys, values, gates = rows.split([f, f, f, 1], dim=2)
        q = queries[-1:] @ self.turn
        keys = keys * self.cos + keys.index_select(2, self.swap) * self.sin
        prediction = (keys.reshape(-1, H * f) @ self.W0 + self.b0).view(-1, H, f)
        xhat, _, rstd = torch.native_layer_norm(prediction, [f], None, None, NORM_EPS)
        residual = (xhat * self.gamma + (keys - values)) * self.step
        read = ((keys * q).sum(dim=-1, keepdim=True) + 1) * torch.sigmoid(gates) * rstd
        learned = (residual - xhat * (residual * xhat).mean(dim=-1, keepdim=True)) * read
        mixed = (q.reshape(1, H * f) @ self.W0 + self.b0).view(1, H, f) - learned.sum(dim=0, keepdim=True)
        heads = F.layer_norm(mixed, (f,), eps=NORM_EPS) * self.gamma + (self.beta + q)
        return self.final_norm(layer.join(x[-1:], layer.ttt.o_proj(layer.ttt.post_norm(heads.view(1, -1)))))


class Correct(_Graph):
    """The user vector of the last click again, with a correction (eqs. 14-15); for a model of one layer.

    Takes the click's item vector [1, d], the state after it, its slot, A^ [H, K, K] and B^ [H, K, f]. The state stays
    as it is: a correction changes what is read, not what is learned.
    """

    def forward(
        self, item: torch.Tensor, state: torch.Tensor, slot: torch.Tensor, attention: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        ((layer, before),) = self.by_layer(state)
        W, b, keys, grads = layer.split(before)
        # All projections, though the queries' alone are read: one weight for every graph.
        x = self.first_norm(item)
        both, _, _ = layer.projected(x)
        q = both[..., : layer.width] @ layer.turn[slot]
        step = layer.steps[slot]
        bbar = descend(b, step, grads.sum(dim=1, keepdim=True))
        row, sent_row = q @ keys.transpose(1, 2), attention.index_select(1, slot[None])
        row = self.fusion.fuse_attention(row, sent_row, layer.lower[slot][None])
        bbar = self.fusion.fuse_bias(bbar, bias.index_select(1, slot[None]))
        return self.final_norm(layer.join(x, layer.finish(q, descend(q @ W, step, row @ grads) + bbar)))


class Targets(nn.Module):
    """phi(e_i) [n, d] of item vectors [n, d]: what a score multiplies the user vector with."""

    def __init__(self, model: CoCorrRec) -> None:
        super().__init__()
        self.transform = model.target_transform

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        return self.transform(items)


def graphs(model: CoCorrRec) -> Graphs:
    """The graphs of CoCorrRec."""
    ttt = model.layers[0].ttt
    d, heads, size, width = model.hidden_size, ttt.num_heads, ttt.mini_batch_size, ttt.head_width
    state = initial_state(model)
    item, items, slot = torch.randn(1, d), torch.randn(size, d), torch.tensor(0)
    after = ["user", "state_after"]
    graph_of = {
        "step": Graph(Step(model), {"item": item, "state": state, "slot": slot}, after),
        "fold": Graph(Fold(model), {"state": state}, ["state_after"]),
        "prefill": Graph(
            Prefill(model),
            {"items": items, "state": state, "start": slot, "stop": torch.tensor(1)},
            after,
        ),
    }
    inner = torch.randn(len(model.layers) * heads * 2 * (width + 1), width)
    with torch.no_grad():
        turn, form = click.Slot(model)(slot[None])
    inputs = {"item": item, "inner": inner, "read": torch.randn_like(inner), "turn": turn, "form": form}
    graph_of["click"] = Graph(click.Click(model), inputs, ["user", "read_after", "turned", "grads"])
    graph_of["slot"] = Graph(click.Slot(model), {"slot": slot[None]}, ["turn", "form"])
    if len(model.layers) == 1 and model.max_seq_length <= size:
        window = torch.randn(model.max_seq_length, d)
        graph_of["window"] = Graph(Window(model), {"items": window}, ["user"])
    result = Graphs(graph_of, state, size, native=native_weights(model))
    if not isinstance(model.target_transform, nn.Identity):
        count = torch.export.Dim("n", min=1, max=1 << 31)
        graph_of["targets"] = Graph(Targets(model), {"items": torch.randn(3, d)}, ["vectors"], {"items": count})
    # In a model of several layers a correction of the first changes what the others have learned from, at every
    # click before: no constant amount of work makes up for that.
    if model.use_gcn and len(model.layers) == 1:
        shapes = {"attention": [heads, size, size], "bias": [heads, size, width]}
        sent = {name: torch.randn(shape) for name, shape in shapes.items()}
        inputs = {"item": item, "state": state, "slot": slot, **sent}
        graph_of["correct"] = Graph(Correct(model), inputs, ["user"])
        result.correction = shapes
        result.upload_norm, result.norm_eps = model.hidden_norm.weight.detach(), RMS_EPS
    return result
