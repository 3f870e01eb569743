"""The gRPC service: what a request must be, and how it is answered."""

import time
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from recbole_cocorr.service.server.batcher import Batcher, Model, QueueFullError
from recbole_cocorr.service.server.correction_model import CorrectionModel
from recbole_cocorr.service.server.refusal import Refusal
from recbole_cocorr.service.server.score_model import Asked, ScoreModel
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
        Of the model and of the scorer: neither waits for the other's requests.

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
        """What a server is given.

        Messages come as bytes: a request that does not parse is the caller's error, INVALID_ARGUMENT, where gRPC's
        own answer would be INTERNAL.
        """
        methods = {
            "Correct": grpc.unary_unary_rpc_method_handler(self.correct),
            "Score": grpc.unary_unary_rpc_method_handler(self.score),
            "Describe": grpc.unary_unary_rpc_method_handler(self.describe),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def correct(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Answer Correct.

        Raises
        ------
        Refusal
            For a request that is malformed, of another model, or one too many.
        TimeoutError
            If the caller's deadline passed while it waited.
        """
        asked, model = _parsed(pb.CorrectRequest, request), self.model
        parts = (asked.fingerprint, asked.clicks, asked.encoding, asked.hidden_states)
        sent = await self.corrected(*parts, _deadline(context))
        shape = model.shape._asdict() if model is not None else {}
        return pb.CorrectReply(
            fingerprint=asked.fingerprint, clicks=asked.clicks, correction=sent, **shape
        ).SerializeToString()

    async def score(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Answer Score; raises as :meth:`correct` does."""
        asked = _parsed(pb.ScoreRequest, request)
        parts = (asked.corrector, asked.clicks, asked.encoding, asked.clicked, asked.candidates)
        sent = await self.scored(*parts, _deadline(context))
        return pb.ScoreReply(
            corrector=asked.corrector, clicks=asked.clicks, encoding=asked.encoding, scores=sent
        ).SerializeToString()

    async def corrected(
        self, fingerprint: bytes, clicks: int, encoding: int, payload: bytes, deadline: float | None
    ) -> bytes:
        """The correction of checked hidden states.

        Parameters
        ----------
        fingerprint : bytes
        clicks, encoding : int
        payload : bytes
            Hidden states.
        deadline : float or None
            Of ``time.monotonic``.

        Raises
        ------
        Refusal
            For a request that is malformed, of another model, or one too many.
        TimeoutError
            If the deadline passed while it waited.
        """
        model = self.model
        _check(fingerprint, clicks, None if model is None else model.fingerprint, "model")
        try:
            rows = decode_rows(payload, encoding, model.width, model.most_rows)
        except WireError as error:
            raise Refusal(_Code.INVALID_ARGUMENT, str(error)) from None
        return await _queued(self._batcher, model, rows, deadline)

    async def scored(
        self,
        corrector: bytes,
        clicks: int,
        encoding: int,
        clicked: bytes,
        candidates: bytes,
        deadline: float | None,
    ) -> bytes:
        """The scores of checked candidates.

        Parameters
        ----------
        corrector : bytes
            Fingerprint of the corrector that the device trusts.
        clicks, encoding : int
        clicked, candidates : bytes
            Item rows.
        deadline : float or None
            Of ``time.monotonic``.

        Raises
        ------
        Refusal
            For a request that is malformed, of another corrector, or one too many.
        TimeoutError
            If the deadline passed while it waited.
        """
        scorer = self.scorer
        _check(corrector, clicks, None if scorer is None else scorer.fingerprint, "corrector")
        try:
            check_score_encoding(encoding)
            rows = decode_items(clicked, scorer.items, MOST_CLICKS, "clicks")
            some = decode_items(candidates, scorer.items, MOST_CANDIDATES, "candidates")
        except WireError as error:
            raise Refusal(_Code.INVALID_ARGUMENT, str(error)) from None
        return await _queued(self._score_batcher, scorer, Asked(rows, some, encoding), deadline)

    async def describe(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Answer Describe: which model and corrector are served."""
        _parsed(pb.DescribeRequest, request)
        reply, m, s = pb.DescribeReply(), self.model, self.scorer
        if m is not None:
            told = {"width": m.width, "most_rows": m.most_rows, **m.shape._asdict()}
            reply.MergeFrom(pb.DescribeReply(fingerprint=bytes.fromhex(m.fingerprint), **told))
        if s is not None:
            told = {"items": s.items, "most_clicks": MOST_CLICKS, "most_candidates": MOST_CANDIDATES}
            reply.MergeFrom(pb.DescribeReply(corrector=bytes.fromhex(s.fingerprint), **told))
        return reply.SerializeToString()


def _check(fingerprint: bytes, clicks: int, served: str | None, name: str) -> None:
    """What both RPCs ask of a request before its payload is looked at."""
    if len(fingerprint) != 16:
        raise Refusal(_Code.INVALID_ARGUMENT, f"a fingerprint of {len(fingerprint)} bytes; it has 16")
    if served is None:
        raise Refusal(_Code.FAILED_PRECONDITION, f"this service has no {name}; the device goes on alone")
    if fingerprint.hex() != served:
        raise Refusal(
            _Code.FAILED_PRECONDITION,
            f"the device's {name} is another one than the service's, {served}; it goes on alone until it has that one",
        )
    if not clicks:
        raise Refusal(_Code.INVALID_ARGUMENT, "the click counter is 0; there is nothing to correct")


async def _queued(batcher: Batcher, model: Model, asked: Any, deadline: float | None) -> bytes:
    try:
        return await batcher.correct(model, asked, deadline)
    except QueueFullError:
        raise Refusal(_Code.RESOURCE_EXHAUSTED, "too many requests wait; try again later") from None


def _deadline(context: grpc.aio.ServicerContext) -> float | None:
    left = context.time_remaining()
    return None if left is None else time.monotonic() + left


def _parsed(kind, request: bytes):
    try:
        return kind.FromString(request)
    except DecodeError:
        raise Refusal(_Code.INVALID_ARGUMENT, f"the message is no {kind.DESCRIPTOR.name}") from None
