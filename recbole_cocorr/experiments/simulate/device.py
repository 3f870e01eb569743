"""A device of ``simulate``: replays users against a service and writes what it got. No torch.

``python -m recbole_cocorr.experiments.simulate.device FOLDER NUMBER DEVICES PORT DEADLINE_MS``
reads ``FOLDER/artifact``, ``users.json`` and ``expected.npz``, and appends records to ``device-NUMBER.records`` until
it is terminated.
"""

import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from recbole_cocorr.base.readers import read_json
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.session import Session
from recbole_cocorr.experiments.results.simulation import STATUSES
from recbole_cocorr.experiments.simulate.records import RECORD, USED
from recbole_cocorr.service.client.breaker import Breaker
from recbole_cocorr.service.client.client import Client
from recbole_cocorr.service.client.session import CorrectedSession

# Most by which a score may differ, in units of the largest.
_TOLERANCE = 1e-4


def judge(items: list[str], scores: list[float], candidates: list[str], expected: np.ndarray) -> bool:
    """Whether a list is right: all candidates, each with the score it must have, in their order."""
    by_item = dict(zip(candidates, expected.tolist(), strict=True))
    if len(items) != len(by_item) or set(items) != set(by_item):
        return False
    right = np.array([by_item[item] for item in items])
    near = np.abs(right - scores).max() <= _TOLERANCE * max(1.0, np.abs(right).max())
    return bool(near and all(a >= b for a, b in pairwise(scores)))


def main(arguments: list[str]) -> None:
    """Run until terminated."""
    folder, number, devices, port = Path(arguments[0]), *map(int, arguments[1:4])
    deadline_ms = float(arguments[4])
    users = read_json(folder / "users.json", "list of users")
    expected = np.load(folder / "expected.npz")
    expected = {name: expected[name] for name in expected.files}
    artifact = Artifact(folder / "artifact")
    manifest = artifact.manifest
    breakers = {name: Breaker(first=0.05, longest=0.5) for name in ("breaker", "score_breaker")}
    shape = None if manifest.correction is None else manifest.correction["bias"]
    client = Client(
        f"127.0.0.1:{port}",
        None if shape is None else manifest.fingerprint,
        shape,
        corrector=None if manifest.trust is None else manifest.trust["corrector"],
        **breakers,
    )
    with (folder / f"device-{number}.records").open("ab", buffering=0) as records, client:
        at = number
        while True:
            user = users[at % len(users)]
            session = CorrectedSession(Session(artifact, "window"), client, deadline_ms)
            session.history(user["history"][:-1])
            session.click(user["history"][-1])
            try:
                result = session.rank(user["candidates"])
            except Exception as error:  # a list that is lost, whatever the reason
                print(repr(error), file=sys.stderr)
                records.write(RECORD.pack(time.monotonic(), 0, 0, 0, 1, 0.0, 0.0))
            else:
                used = sum(USED[name] for name in result.used)
                right = expected[str(used)][at % len(users)]
                wrong = not judge(result.items, result.scores, user["candidates"], right)
                wrong |= (result.status == "corrected") != bool(used)
                status, now = STATUSES.index(result.status), time.monotonic()
                packed = RECORD.pack(now, status, used, wrong, 0, result.waited_ms, result.round_trip_ms)
                records.write(packed)
            at += devices


if __name__ == "__main__":
    main(sys.argv[1:])
