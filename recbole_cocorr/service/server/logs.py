"""Logs as JSON, an object a line. Nothing of a user is logged: no payload, no address, no token."""

import json
import logging
import sys
import time

LOGGER = "recbole_cocorr.service"
LEVELS = ("debug", "info", "warning", "error")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{when}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line)


def set_up(level: str) -> None:
    """Write the service's logs to stderr."""
    logger = logging.getLogger(LOGGER)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    # grpcio reports a handler's exception with its traceback and arguments here.
    logging.getLogger("grpc").setLevel(logging.CRITICAL)


def log(level: int, event: str, **fields: object) -> None:
    """One event with its fields."""
    logging.getLogger(LOGGER).log(level, event, extra={"fields": fields})
