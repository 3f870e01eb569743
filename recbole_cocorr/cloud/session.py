"""A device session that the cloud corrects where it answers in time."""

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from recbole_cocorr.cloud.client import CORRECTED, LATE, OFFLINE, REFUSED, Answer, Client, Pending
from recbole_cocorr.cloud.uploads import NoiseOf, gaussian_sigma, sensitivity_of
from recbole_cocorr.device.evidence import Evidence
from recbole_cocorr.device.ranking import Ranking
from recbole_cocorr.device.session import Session
from recbole_cocorr.errors import UserError


@dataclass
class CorrectedRanking(Ranking):
    """A ranking, and whether the cloud had a part in it.

    Attributes
    ----------
    status : {"corrected", "late", "offline", "refused"}
        ``corrected``: the cloud's correction is in it. Otherwise the device ranked alone, because no answer had come
        by the deadline, the service could not be reached, or it or the session refused.
    reason : str
        Why it is not corrected.
    waited_ms : float
        How long the ranking waited for the cloud.
    upload_bytes, download_bytes : int
        Payloads that were sent and came back.
    round_trip_ms : float
        From the upload until the answer was there; 0 where none came.
    """

    status: str = ""
    reason: str = ""
    waited_ms: float = 0.0
    upload_bytes: int = 0
    download_bytes: int = 0
    round_trip_ms: float = 0.0


class CorrectedSession:
    """A :class:`~recbole_cocorr.device.Session` with a correction service.

    After a click the hidden states are on their way while the device goes on. A ranking waits for the correction
    ``deadline_ms`` at most and goes on without it otherwise; one that comes later serves the next ranking, if no click
    came between. What the session has besides is reached as its own.

    Parameters
    ----------
    session : Session
        Of a model that takes corrections.
    client : Client
    deadline_ms : float
        Most milliseconds that a ranking waits.

    Raises
    ------
    UserError
        If the model takes no correction, or the deadline is no number from 0.
    """

    def __init__(self, session: Session, client: Client, deadline_ms: float):
        if session.artifact.manifest.correction is None:
            raise UserError(f"{session.artifact.folder} takes no correction; open it without cloud")
        number = isinstance(deadline_ms, (int, float)) and not isinstance(deadline_ms, bool)
        if not number or not 0 <= deadline_ms <= 60_000:
            raise UserError(f"deadline_ms is {deadline_ms!r}; it must be a number from 0 to 60000")
        self.session, self.client, self.deadline = session, client, deadline_ms / 1000
        self._pending: Pending | None = None
        self._applied: Answer | None = None
        self._lock = threading.RLock()
        if session.clicks:
            self._upload()

    @classmethod
    def open(
        cls,
        directory: str | os.PathLike,
        cloud: str,
        deadline_ms: float = 5.0,
        client: dict[str, Any] | None = None,
        epsilon: float | None = None,
        delta: float = 1e-5,
        **settings: Any,
    ) -> "CorrectedSession":
        """Open a session on an artifact, and a client of a service.

        Parameters
        ----------
        directory : str or os.PathLike
        cloud : str
            ``host:port`` of the service, which need not be there.
        deadline_ms : float
        client : dict, optional
            Further settings of :class:`~recbole_cocorr.cloud.Client`, such as ``token`` and ``ca``.
        epsilon, delta : float, optional
            Budget of local differential privacy of one uploaded hidden state, kept by Gaussian noise; no noise if left
            out. A click is uploaded again with each of the L - 1 clicks after it, and spends the budget each time.
        **settings
            Of :meth:`Session.open`.

        Raises
        ------
        UserError
            As they do.
        """
        session = Session.open(directory, **settings)
        shapes = session.artifact.manifest.correction
        if shapes is None:
            raise UserError(f"{directory} takes no correction; open it without cloud")
        heads, mini_batch, width = shapes["bias"]
        extra = dict(client or {})
        if epsilon is not None:
            if "change" in extra:
                raise UserError("epsilon and the client's change cannot both be given")
            extra["change"] = NoiseOf(gaussian_sigma(sensitivity_of(session.artifact.upload_norm), epsilon, delta))
        made = Client(cloud, session.fingerprint, (heads, mini_batch, width), **extra)
        try:
            return cls(session, made, deadline_ms)
        except UserError:
            made.close()
            raise

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "session":
            raise AttributeError(name)
        return getattr(self.session, name)

    def click(self, item: str) -> bool:
        """Read one click and ask for its correction."""
        with self._lock:
            known = self.session.click(item)
            if known:
                self._upload()
            return known

    def history(self, items: Iterable[str]) -> list[str]:
        """Read many clicks and ask for a correction of them."""
        with self._lock:
            before = self.session.clicks
            unknown = self.session.history(items)
            if self.session.clicks != before:
                self._upload()
            return unknown

    def rank(
        self,
        candidates: Sequence[str],
        k: int | None = None,
        exclude: Iterable[str] = (),
        evidence: Evidence | None = None,
    ) -> CorrectedRanking:
        """Put candidates in order, corrected if the correction is there by the deadline; see :meth:`Session.rank`."""
        with self._lock:
            answer, waited = self._correct()
            return self._told(self.session.rank(candidates, k, exclude, evidence), answer, waited)

    def rank_all(self, k: int = 10, exclude: Iterable[str] = ()) -> CorrectedRanking:
        """The best items of the whole catalogue, corrected if the correction is there by the deadline."""
        with self._lock:
            answer, waited = self._correct()
            return self._told(self.session.rank_all(k, exclude), answer, waited)

    def _upload(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
        self._applied = None
        upload = self.session.hidden_states()
        self._pending = self.client.upload(upload.hidden_states, upload.clicks)

    def _correct(self) -> tuple[Answer, float]:
        """Bring the session to what is known of its correction."""
        if self._applied is not None and self._applied.status in (LATE, OFFLINE):
            self._upload()  # the service may be back; where it is not known to be, this costs nothing
        if self._applied is not None:
            return self._applied, 0.0
        if not self.session.clicks or self._pending is None:
            return Answer(LATE, "nothing was uploaded"), 0.0
        began = monotonic()
        answer = self._pending.answer(self.deadline)
        waited = monotonic() - began
        if answer.status == LATE and not self._pending.done:
            return answer, waited  # it may still come
        if answer.status == CORRECTED:
            try:
                self.session.apply((answer.attention, answer.bias), clicks=self._pending.clicks)
            except UserError as error:
                answer = Answer(REFUSED, str(error), seconds=answer.seconds)
        self._applied = answer
        return answer, waited

    def _told(self, ranking: Ranking, answer: Answer, waited: float) -> CorrectedRanking:
        corrected = answer.status == CORRECTED
        return CorrectedRanking(
            ranking.items,
            ranking.scores,
            ranking.unknown,
            answer.status,
            answer.reason,
            1000 * waited,
            self._pending.upload_bytes if self._pending is not None else 0,
            answer.attention.nbytes + answer.bias.nbytes if corrected else 0,
            1000 * answer.seconds if answer.status != LATE else 0.0,
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write the session's state file."""
        self.session.save(path)

    def close(self) -> None:
        """Close the connection; the session can still be used."""
        self.client.close()

    def __enter__(self) -> "CorrectedSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
