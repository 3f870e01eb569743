"""A request that is not answered, and what its caller is told: the same over gRPC and HTTP."""

import logging

import grpc

from recbole_cocorr.service.server.logs import log


class Refusal(Exception):
    """A request that is not answered, and why.

    Attributes
    ----------
    code : grpc.StatusCode
    reason : str
        A sentence for who asked.
    """

    def __init__(self, code: grpc.StatusCode, reason: str):
        super().__init__(reason)
        self.code, self.reason = code, reason


def refusal_of(error: Exception, method: str) -> Refusal:
    """What the caller of a method is told of an exception. Only one that nobody expected is logged."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, TimeoutError):
        return Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed while the request waited")
    log(logging.ERROR, "a request failed", method=method)
    logging.getLogger(__name__).debug("", exc_info=error)
    return Refusal(grpc.StatusCode.INTERNAL, "the service failed")
