"""The gRPC service: what a request must be, and how it is answered."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from recbole_cocorr.service.server.batcher import Batcher
from recbole_cocorr.service.server.correction_model import CorrectionModel
from recbole_cocorr.service.server.refusal import Refusal
from recbole_cocorr.service.server.score_model import ScoreModel, ScoreQuery
from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.service.wire import (
    MOST_CANDIDATES,
    MOST_CLICKS,
    SERVICE,
    WireError,
    check_score_encoding,
    decode_items,
    decode_rows,
)

_Code = grpc.StatusCode


class Corrections:
    """The service ``recbole_cocorr.cloud.v1.Corrections``.

    Keeps nothing of a request, so any number of copies may stand behind a load balancer.

    Parameters
    ----------
    model : CorrectionModel or None
    scorer : ScoreModel or None
    batchers : tuple of Batcher
        One for the model and one for the scorer: neither waits for the other's requests.

    Attributes
    ----------
    model : CorrectionModel or None
        What answers Correct; may be replaced at any time. Requests already taken in keep the one they came for.
    scorer : ScoreModel or None
        The same for Score.
    """

    def __init__(
        self,
        model: CorrectionModel | None,
        scorer: ScoreModel | None,
        batchers: tuple[Batcher, Batcher],
    ):
        self.model, self.scorer = model, scorer
        self._batcher, self._score_batcher = batchers

    def handler(self) -> grpc.GenericRpcHandler:
        """The RPCs, for a gRPC server."""
        names = ("Correct", "Score", "Describe")
        methods = {name: grpc.unary_unary_rpc_method_handler(partial(self.call, name)) for name in names}
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def call(self, name: str, raw: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Answer an RPC.

        Messages come as bytes: a request that does not parse is the caller's error, INVALID_ARGUMENT, where gRPC's
        own answer would be INTERNAL.
        """
        kind = getattr(pb, f"{name}Request")
        try:
            request = kind.FromString(raw)
        except DecodeError:
            raise Refusal(_Code.INVALID_ARGUMENT, f"the message is no {kind.DESCRIPTOR.name}") from None
        remaining = context.time_remaining()
        deadline = None if remaining is None else time.monotonic() + remaining
        answer = {"Correct": self.correct, "Score": self.score, "Describe": self.describe}[name]
        return (await answer(request, deadline)).SerializeToString()

    async def correct(self, request: pb.CorrectRequest, deadline: float | None = None) -> pb.CorrectReply:
        """The correction of some hidden states.

        Parameters
        ----------
        request : CorrectRequest
        deadline : float, optional
            A time of ``time.monotonic``.

        Raises
        ------
        Refusal
            For a request that is malformed, of another model, or one too many.
        TimeoutError
            If the deadline passed while it waited.
        """
        model, clicks = self.model, request.clicks
        _check(request.fingerprint, clicks, model, "model")
        rows = _decoded(lambda: decode_rows(request.hidden_states, request.encoding, model.width, model.most_rows))
        correction = await self._batcher.correct(model, rows, deadline)
        shape = model.shape._asdict()
        return pb.CorrectReply(fingerprint=request.fingerprint, clicks=clicks, correction=correction, **shape)

    async def score(self, request: pb.ScoreRequest, deadline: float | None = None) -> pb.ScoreReply:
        """The scores of some candidates; raises as :meth:`correct` does."""
        scorer, clicks, encoding = self.scorer, request.clicks, request.encoding
        _check(request.corrector, clicks, scorer, "corrector")

        def query() -> ScoreQuery:
            check_score_encoding(encoding)
            clicked = decode_items(request.clicked, scorer.items, MOST_CLICKS, "clicks")
            return ScoreQuery(
                clicked, decode_items(request.candidates, scorer.items, MOST_CANDIDATES, "candidates"), encoding
            )

        scores = await self._score_batcher.correct(scorer, _decoded(query), deadline)
        return pb.ScoreReply(corrector=request.corrector, clicks=clicks, encoding=encoding, scores=scores)

    async def describe(
        self, request: pb.DescribeRequest | None = None, deadline: float | None = None
    ) -> pb.DescribeReply:
        """Which model and corrector are served."""
        return self.description()

    def description(self) -> pb.DescribeReply:
        """The same, where nothing is waited for."""
        reply, m, s = pb.DescribeReply(), self.model, self.scorer
        if m is not None:
            sizes = {"width": m.width, "most_rows": m.most_rows, **m.shape._asdict()}
            reply.MergeFrom(pb.DescribeReply(fingerprint=bytes.fromhex(m.fingerprint), **sizes))
        if s is not None:
            sizes = {"items": s.items, "most_clicks": MOST_CLICKS, "most_candidates": MOST_CANDIDATES}
            reply.MergeFrom(pb.DescribeReply(corrector=bytes.fromhex(s.fingerprint), **sizes))
        return reply


def _check(fingerprint: bytes, clicks: int, served: CorrectionModel | ScoreModel | None, name: str) -> None:
    """What every request must have, whatever its payload is."""
    if len(fingerprint) != 16:
        raise Refusal(_Code.INVALID_ARGUMENT, f"a fingerprint of {len(fingerprint)} bytes; it has 16")
    if served is None:
        raise Refusal(_Code.FAILED_PRECONDITION, f"this service has no {name}; the device goes on alone")
    if fingerprint.hex() != served.fingerprint:
        raise Refusal(
            _Code.FAILED_PRECONDITION,
            f"the device's {name} is another one than the service's, {served.fingerprint}; it goes on alone until it "
            "has that one",
        )
    if not clicks:
        raise Refusal(_Code.INVALID_ARGUMENT, "the click counter is 0; there is nothing to correct")


def _decoded(decode: Callable[[], Any]) -> Any:
    try:
        return decode()
    except WireError as error:
        raise Refusal(_Code.INVALID_ARGUMENT, str(error)) from None
