"""A request that is not answered, and the reason for its caller: the same over gRPC and HTTP."""

import logging

import grpc

from recbole_cocorr.service.server.logs import log


class Refusal(Exception):
    """A request that is not answered, and why.

    Attributes
    ----------
    code : grpc.StatusCode
    reason : str
        A sentence for the caller.
    """

    def __init__(self, code: grpc.StatusCode, reason: str):
        super().__init__(reason)
        self.code, self.reason = code, reason


class CrowdedError(Refusal):
    """As many requests wait as may."""

    def __init__(self) -> None:
        super().__init__(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests wait; try again later")


class StoppingError(Refusal):
    """Nothing more is taken in."""

    def __init__(self) -> None:
        super().__init__(grpc.StatusCode.UNAVAILABLE, "the service is stopping")


def refusal_of(error: Exception, method: str) -> Refusal:
    """The refusal that an exception means for the caller of a method. Only an unexpected exception is logged."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, TimeoutError):
        return Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed while the request waited")
    log(logging.ERROR, "a request failed", method=method)
    logging.getLogger(__name__).debug("", exc_info=error)
    return Refusal(grpc.StatusCode.INTERNAL, "the service failed")
