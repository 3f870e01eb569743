"""A device session that the cloud corrects where it answers in time."""

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.cloud.client import CORRECTED, LATE, OFFLINE, REFUSED, Answer, Client, Pending
from recbole_cocorr.cloud.pending import waited_for
from recbole_cocorr.cloud.score_requests import ScoreRequests
from recbole_cocorr.cloud.uploads import NoiseOf, gaussian_sigma, sensitivity_of
from recbole_cocorr.cloud.wire import MOST_CLICKS
from recbole_cocorr.device.evidence import Evidence
from recbole_cocorr.device.ranking import Ranking
from recbole_cocorr.device.session import Session

_OF_NO_USE = "{} takes no correction and trusts no scores; open it without cloud"


@dataclass
class CorrectedRanking(Ranking):
    """A ranking, and whether the cloud had a part in it.

    Attributes
    ----------
    status : {"corrected", "late", "offline", "refused"}
        ``corrected``: what the cloud sent is in it. Otherwise the device ranked alone, because no answer had come
        by the deadline, the service could not be reached, or it or the session refused.
    reason : str
        Why something that the artifact takes is not in it.
    waited_ms : float
        How long the ranking waited for the cloud.
    upload_bytes, download_bytes : int
        Payloads that were sent and came back.
    round_trip_ms : float
        From the upload until the (last) answer was there; 0 where none came.
    used : tuple of str
        What of the cloud is in it: ``"correction"``, ``"scores"``, both or none.
    """

    status: str = ""
    reason: str = ""
    waited_ms: float = 0.0
    upload_bytes: int = 0
    download_bytes: int = 0
    round_trip_ms: float = 0.0
    used: tuple[str, ...] = ()


class CorrectedSession:
    """A :class:`~recbole_cocorr.device.Session` with a correction service.

    After a click the hidden states are on their way while the device goes on. A ranking waits for the correction
    ``deadline_ms`` at most and goes on without it otherwise; one that comes later serves the next ranking, if no click
    came between. What the session has besides is reached as its own.

    Where the artifact trusts a corrector, a ranking of candidates also asks for their scores. They are known only when
    it is asked for, so it waits for the whole way there and back; :meth:`expect` names them before. Correction and
    scores are used if they are there, each without the other too; the deadline is one for both.

    Parameters
    ----------
    session : Session
        Of a model that takes corrections, or of an artifact that trusts a corrector.
    client : Client
        Asks for what it was given fingerprints of.
    deadline_ms : float
        Most milliseconds that a ranking waits.
    score_clicks : int
        The last clicks that a request for scores tells.
    history : sequence of str
        The clicks that the session has read already, if they are at hand, for the scores; the session keeps the last L.

    Raises
    ------
    UserError
        If the artifact has no use for a service, or a number does not fit.
    """

    def __init__(
        self,
        session: Session,
        client: Client,
        deadline_ms: float,
        score_clicks: int = MOST_CLICKS,
        history: Sequence[str] = (),
    ):
        manifest = session.artifact.manifest
        if manifest.correction is None and manifest.trust is None:
            raise UserError(_OF_NO_USE.format(session.artifact.folder))
        number = isinstance(deadline_ms, (int, float)) and not isinstance(deadline_ms, bool)
        if not number or not 0 <= deadline_ms <= 60_000:
            raise UserError(f"deadline_ms is {deadline_ms!r}; it must be a number from 0 to 60000")
        if type(score_clicks) is not int or not 1 <= score_clicks <= MOST_CLICKS:
            raise UserError(f"score_clicks is {score_clicks!r}; it must be a whole number from 1 to {MOST_CLICKS}")
        self.session, self.client, self.deadline = session, client, deadline_ms / 1000
        self._corrects = manifest.correction is not None and client.asks_corrections
        self._scores = None
        if manifest.trust is not None and client.asks_scores:
            self._scores = ScoreRequests(session, client, score_clicks, history)
        self._pending: Pending | None = None
        self._applied: Answer | None = None
        self._lock = threading.RLock()
        if session.clicks and self._corrects:
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
        scores: bool = True,
        score_clicks: int = MOST_CLICKS,
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
        scores : bool
            Whether scores are asked for where the artifact trusts a corrector. That tells the service the clicks and
            the candidates, in the clear.
        score_clicks : int
            The last clicks that a request for scores tells.
        **settings
            Of :meth:`Session.open`.

        Raises
        ------
        UserError
            As they do.
        """
        history = settings.get("history")
        if history is not None and not isinstance(history, (str, bytes)):
            settings["history"] = history = list(history)
        session = Session.open(directory, **settings)
        manifest = session.artifact.manifest
        if manifest.correction is None and (manifest.trust is None or not scores):
            raise UserError(_OF_NO_USE.format(directory))
        extra = dict(client or {})
        if manifest.trust is not None and scores:
            extra["corrector"] = manifest.trust["corrector"]
        if epsilon is not None:
            if "corrector" in extra:
                raise UserError(
                    "epsilon hides hidden states, but scores tell the clicks in the clear; say scores=False"
                )
            if "change" in extra:
                raise UserError("epsilon and the client's change cannot both be given")
            extra["change"] = NoiseOf(gaussian_sigma(sensitivity_of(session.artifact.upload_norm), epsilon, delta))
        of_model = (None, None)
        if manifest.correction is not None:
            of_model = (session.fingerprint, manifest.correction["bias"])
        made = Client(cloud, *of_model, **extra)
        try:
            return cls(session, made, deadline_ms, score_clicks, history or ())
        except UserError:
            made.close()
            raise

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "session":
            raise AttributeError(name)
        return getattr(self.session, name)

    def click(self, item: str) -> bool:
        """Read one click and ask for its correction, and for the scores of what is expected."""
        with self._lock:
            known = self.session.click(item)
            if known:
                self._after_clicks([str(item)])
            return known

    def history(self, items: Iterable[str]) -> list[str]:
        """Read many clicks and ask for a correction of them, and for the scores of what is expected."""
        if not isinstance(items, (str, bytes)) and isinstance(items, Iterable):
            items = [str(item) for item in items]
        with self._lock:
            before = self.session.clicks
            unknown = self.session.history(items)
            if self.session.clicks != before:
                self._after_clicks(items)
            return unknown

    def expect(self, candidates: Iterable[str]) -> None:
        """Name the candidates that will be ranked: their scores are asked for now and after each click, ahead of time.

        A ranking of these, or of some of them, then finds its answer on the way. No candidates end it.

        Raises
        ------
        UserError
            If the artifact trusts no corrector, or scores were switched off.
        """
        if self._scores is None:
            raise UserError(
                f"{self.session.artifact.folder} trusts no corrector, or scores are off; nothing is asked for"
            )
        candidates = _listed(candidates)
        if not isinstance(candidates, list):
            raise UserError(f"candidates is a list of tokens, not {type(candidates).__name__}")
        with self._lock:
            self._scores.expect(candidates)

    def rank(
        self,
        candidates: Sequence[str],
        k: int | None = None,
        exclude: Iterable[str] = (),
        evidence: Evidence | None = None,
    ) -> CorrectedRanking:
        """Put candidates in order, corrected if the answers are there by the deadline; see :meth:`Session.rank`.

        Given ``evidence`` is used as it is, and no scores are asked for.
        """
        candidates, exclude = _listed(candidates), _listed(exclude)
        with self._lock:
            end, answers, waited = monotonic() + self.deadline, {}, 0.0
            asks = self._scores is not None and evidence is None and type(candidates) is type(exclude) is list
            if asks:
                self._scores.ask(candidates, exclude)  # on its way while the correction is waited for
            if self._corrects:
                answers["correction"], waited = self._correct(end)
            if asks:
                evidence, answers["scores"], more = self._scores.evidence(end)
                waited += more
            elif evidence is not None:
                answers["scores"] = Answer(CORRECTED)
            return self._told(self.session.rank(candidates, k, exclude, evidence), answers, waited)

    def rank_all(self, k: int = 10, exclude: Iterable[str] = ()) -> CorrectedRanking:
        """The best items of the whole catalogue, with the correction if it is there by the deadline; without scores."""
        with self._lock:
            answers, waited = {}, 0.0
            if self._corrects:
                answers["correction"], waited = self._correct(monotonic() + self.deadline)
            else:
                reason = "the whole catalogue is ranked without scores; rank names candidates"
                answers["scores"] = Answer(REFUSED, reason)
            return self._told(self.session.rank_all(k, exclude), answers, waited)

    def _after_clicks(self, tokens: Iterable[str] = ()) -> None:
        if self._corrects:
            self._upload()
        if self._scores is not None:
            self._scores.after_clicks(tokens)

    def _upload(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
        self._applied = None
        upload = self.session.hidden_states()
        self._pending = self.client.upload(upload.hidden_states, upload.clicks)

    def _correct(self, end: float) -> tuple[Answer, float]:
        """Bring the session to what is known of its correction by ``end``."""
        if self._applied is not None and self._applied.status in (LATE, OFFLINE):
            self._upload()  # the service may be back; where it is not known to be, this costs nothing
        if self._applied is not None:
            return self._applied, 0.0
        if not self.session.clicks or self._pending is None:
            return Answer(LATE, "nothing was uploaded"), 0.0
        answer, waited = waited_for(self._pending, end)
        if answer.status == LATE and not self._pending.done:
            return answer, waited  # it may still come
        if answer.status == CORRECTED:
            try:
                self.session.apply((answer.attention, answer.bias), clicks=self._pending.clicks)
            except UserError as error:
                answer = Answer(REFUSED, str(error), seconds=answer.seconds)
        self._applied = answer
        return answer, waited

    def _told(self, ranking: Ranking, answers: dict[str, Answer], waited: float) -> CorrectedRanking:
        used = tuple(name for name, answer in answers.items() if answer.status == CORRECTED)
        missing = {name: answer for name, answer in answers.items() if name not in used}
        # The scores change more than the correction does, so they say what became of it where neither came.
        status = CORRECTED if used else next((a.status for a in reversed(missing.values())), LATE)
        reasons = [f"{name}: {a.reason}" if len(answers) > 1 else a.reason for name, a in missing.items()]
        sent = {"correction": self._pending, "scores": self._scores.pending if self._scores is not None else None}
        return CorrectedRanking(
            ranking.items,
            ranking.scores,
            ranking.unknown,
            status,
            "; ".join(reasons),
            1000 * waited,
            sum(sent[name].upload_bytes for name in answers if sent[name] is not None),
            sum(answers[name].bytes for name in used),
            1000 * max((a.seconds for a in answers.values() if a.status != LATE), default=0.0),
            used,
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


def _listed(items: Iterable[str]) -> Iterable[str]:
    """Items that can be gone through twice; what is no list of items is left for the session to refuse."""
    if isinstance(items, (str, bytes)):
        return items
    try:
        return [str(item) for item in items]
    except TypeError:
        return items
