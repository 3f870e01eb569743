"""TTT-Linear as a layer: its input is checked here, and then read by one of the forms."""

import torch

from recbole_cocorr.layers.correction import Correction, CorrectionFusion
from recbole_cocorr.layers.ttt import step as primal_form
from recbole_cocorr.layers.ttt.dual import dual
from recbole_cocorr.layers.ttt.dual_from_state import dual_from_state
from recbole_cocorr.layers.ttt.last import last
from recbole_cocorr.layers.ttt.state import TTTState
from recbole_cocorr.layers.ttt.weights import TTTWeights


class TTTLinear(TTTWeights):
    """The TTT-Linear layer.

    One set of weights serves three forms of the same arithmetic: the dual form (a mini-batch of K clicks at once;
    training and re-reading a history), the primal form (click by click) and a single :meth:`step`.

    Parameters and errors are those of :class:`~recbole_cocorr.layers.ttt.weights.TTTWeights`.
    """

    def forward(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor | None = None,
        state: TTTState | None = None,
        correction: Correction | None = None,
        fusion: CorrectionFusion | None = None,
        return_state: bool = False,
    ) -> torch.Tensor | tuple[torch.Tensor, TTTState]:
        """The dual form: K clicks at a time, the only loop is over mini-batches.

        Parameters
        ----------
        x : torch.Tensor, shape [B, L, d]
            X, padding at the end. Any L, also 0.
        lengths : torch.Tensor of int64, shape [B], optional
            Real clicks per row; all L, if left out. Read for the returned state only: the layer is
            causal, so padding at the end changes no real position.
        state : TTTState, optional
            Where to go on from; the initial state, if left out. Rows may stand anywhere inside their
            mini-batch.
        correction : Correction, optional
            What the cloud sent; needs ``fusion``.
        fusion : CorrectionFusion, optional
        return_state : bool
            Also return each row's state after its own ``lengths`` clicks.

        Returns
        -------
        torch.Tensor, shape [B, L, d], or (torch.Tensor, TTTState)

        Raises
        ------
        ValueError
            For shapes that do not fit, or a correction without ``fusion``.
        """
        self._check(x, state, correction, fusion)
        if state is None and not return_state:
            return dual(self, x, correction, fusion)
        output, after = dual_from_state(self, x, lengths, state, correction, fusion)
        return (output, after) if return_state else output

    def forward_last(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor,
        correction: Correction | None = None,
        fusion: CorrectionFusion | None = None,
    ) -> torch.Tensor:
        """What :meth:`forward` gives at each row's last real position, and nothing else.

        The layer learns from every click, but reads one query a row: there is no [K, K] matrix, and
        the projections, norms and products behind the queries are those of one position.

        Parameters
        ----------
        x : torch.Tensor, shape [B, L, d]
            X, padding at the end; L at least 1.
        lengths : torch.Tensor of int64, shape [B]
            Real clicks per row; a row without any gives its first, padded position.
        correction, fusion
            As for :meth:`forward`.

        Returns
        -------
        torch.Tensor, shape [B, d]
        """
        self._check(x, None, correction, fusion)
        if x.shape[1] == 0:
            raise ValueError("x has no position; forward_last needs at least one")
        return last(self, x, lengths, correction, fusion)

    def step(
        self,
        x_t: torch.Tensor,
        state: TTTState,
        correction: Correction | None = None,
        fusion: CorrectionFusion | None = None,
    ) -> tuple[torch.Tensor, TTTState]:
        """One click: the primal form, at a cost that does not depend on the history.

        Parameters
        ----------
        x_t : torch.Tensor, shape [B, d]
            X of the new click.
        state : TTTState
            Left as it is.
        correction, fusion
            As for :meth:`forward`.

        Returns
        -------
        tuple of torch.Tensor [B, d] and TTTState
        """
        self._check(x_t[:, None], state, correction, fusion)
        return primal_form.step(self, x_t, state, correction, fusion)

    def primal(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor | None = None,
        state: TTTState | None = None,
        correction: Correction | None = None,
        fusion: CorrectionFusion | None = None,
    ) -> tuple[torch.Tensor, TTTState]:
        """Click by click through :meth:`step`; equals :meth:`forward` with ``return_state=True``.

        A row whose ``lengths`` clicks are over keeps its state; its further outputs go on from there.
        """
        self._check(x, state, correction, fusion)
        state = self.initial_state(x.shape[0]) if state is None else state
        return primal_form.primal(self, x, lengths, state, correction, fusion)

    def _check(
        self,
        x: torch.Tensor,
        state: TTTState | None,
        correction: Correction | None,
        fusion: CorrectionFusion | None,
    ) -> None:
        heads, size, width = self.num_heads, self.mini_batch_size, self.head_width
        if x.dim() != 3 or x.shape[2] != self.hidden_size:
            raise ValueError(f"x has shape {tuple(x.shape)}; it must be [B, L, {self.hidden_size}]")
        rows = x.shape[0]
        if state is not None and state.keys.shape != (rows, heads, size, width):
            raise ValueError(
                f"the state's keys have shape {tuple(state.keys.shape)}; for this x and layer they must be "
                f"{(rows, heads, size, width)}"
            )
        if correction is None:
            return
        if fusion is None:
            raise ValueError("a correction needs the fusion that holds alpha and beta")
        for name, sent, shape in (
            ("attention", correction.attention, (rows, heads, size, size)),
            ("bias", correction.bias, (rows, heads, size, width)),
        ):
            if sent.shape != shape:
                raise ValueError(f"{name} of the correction has shape {tuple(sent.shape)}; it must be {shape}")
