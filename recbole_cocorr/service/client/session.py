"""A device session that the cloud corrects where it answers in time."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from inspect import signature
from time import monotonic
from typing import Any

from recbole_cocorr.artifact.evidence import Evidence
from recbole_cocorr.artifact.manifest import Manifest
from recbole_cocorr.base.checks import checked_flag, checked_mapping, checked_number, checked_whole, tokens_of
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device.ranking import Ranking
from recbole_cocorr.device.session import Session
from recbole_cocorr.service.client.client import CORRECTED, LATE, OFFLINE, REFUSED, Answer, Client, Pending
from recbole_cocorr.service.client.score_requests import ScoreRequest, ScoreRequests, done_with
from recbole_cocorr.service.client.uploads import NoiseOf, gaussian_sigma, sensitivity_of
from recbole_cocorr.service.wire import MOST_CLICKS

# Settings of Session.open, and those of Client that the artifact does not decide.
_OF_SESSION = ("state", "history", "policy", "threads", "runtime")
_OF_CLIENT = set(signature(Client).parameters) - {"target", "fingerprint", "shape", "corrector"}
_NO_SCORES = "asks for no scores: it has a neighbour table or trusts no corrector, or scores are off"
_OF_NO_USE = "{} takes no correction and asks for no scores; open it without cloud"


def asks_for_scores(manifest: Manifest) -> bool:
    """Whether an artifact trusts a corrector and has no neighbour table, which says the same without being asked."""
    return manifest.trust is not None and manifest.neighbours is None


@dataclass
class CorrectedRanking(Ranking):
    """A ranking, and whether the cloud had a part in it.

    Attributes
    ----------
    status : {"corrected", "late", "offline", "refused", "unasked"}
        ``corrected``: what the cloud sent is in it. Otherwise the device ranked alone, because no answer had come
        by the deadline, the service could not be reached, it or the session refused, or little was expected of the
        scores and only a share of the rankings may ask.
    reason : str
        Why something that the artifact takes is not in it.
    waited_ms : float
        How long the ranking waited for the cloud.
    upload_bytes, download_bytes : int
        Payloads that were sent and came back.
    round_trip_ms : float
        From the upload until the (last) answer was there; 0 where no answer came.
    used : tuple of str
        What of the cloud is in it: ``"correction"``, ``"scores"``, both or nothing.
    """

    status: str = ""
    reason: str = ""
    waited_ms: float = 0.0
    upload_bytes: int = 0
    download_bytes: int = 0
    round_trip_ms: float = 0.0
    used: tuple[str, ...] = ()


@dataclass
class _CorrectionRequest:
    """A request for a correction.

    Attributes
    ----------
    clicks : int
        Clicks that the session had read.
    pending : Pending
    answer : Answer or None
        What became of it, once the session has applied it or no correction will come.
    """

    clicks: int
    pending: Pending
    answer: Answer | None = None


class CorrectedSession:
    """A :class:`~recbole_cocorr.device.Session` with a correction service.

    After a click the hidden states are on their way while the device goes on. A ranking waits for the correction
    ``deadline_ms`` at most and goes on without it otherwise; one that comes later serves the next ranking, if no click
    came between. What the session has besides is reached as its own.

    Where the artifact trusts a corrector and has no neighbour table, a ranking of candidates also asks for their
    scores. They are known only when it is asked for, so it waits for the whole way there and back; :meth:`expect` names
    them before. Correction and scores are used if they are there, each without the other too; the deadline is one for
    both.

    Parameters
    ----------
    session : Session
        Its model takes corrections, or its artifact trusts a corrector and has no neighbour table.
    client : Client
        Asks for corrections, scores or both.
    deadline_ms : float
        Most milliseconds that a ranking waits.
    score_clicks : int
        How many clicks a request for scores names, the last ones.
    history : sequence of str
        The clicks that the session has read already, if they are at hand, for the scores; the session keeps the last L.
    share : float
        About how many of all rankings may ask for scores, from 0 to 1; see :meth:`open`.

    Raises
    ------
    UserError
        If the artifact has no use for a service, a number does not fit, or the artifact does not say when to ask.
    """

    def __init__(
        self,
        session: Session,
        client: Client,
        deadline_ms: float,
        score_clicks: int = MOST_CLICKS,
        history: Sequence[str] = (),
        share: float = 1.0,
    ):
        manifest = session.artifact.manifest
        if manifest.correction is None and not asks_for_scores(manifest):
            raise UserError(_OF_NO_USE.format(session.artifact.folder))
        deadline_ms = checked_number(deadline_ms, "deadline_ms", "a number from 0 to 60000", 0, 60_000)
        score_clicks = checked_whole(score_clicks, "score_clicks", 1, MOST_CLICKS)
        share = checked_number(share, "share", "a number from 0 to 1", 0, 1)
        self.session, self.client, self.deadline = session, client, deadline_ms / 1000
        self._corrects = manifest.correction is not None and client.asks_corrections
        self._scores = None
        if asks_for_scores(manifest) and client.asks_scores:
            self._scores = ScoreRequests(session, client, score_clicks, history, share)
        elif share < 1:
            raise UserError(f"share is of requests for scores, and {session.artifact.folder} {_NO_SCORES}")
        self._correction: _CorrectionRequest | None = None
        self._lock, self._process = session.lock, os.getpid()
        if self._corrects:
            with self._lock:
                self._ask_correction()

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
        share: float = 1.0,
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
            Further settings of :class:`~recbole_cocorr.service.Client`, such as ``token`` and ``ca``.
        epsilon, delta : float, optional
            Budget of local differential privacy of one uploaded hidden state, kept by Gaussian noise; no noise if left
            out. A click is uploaded again with each of the L - 1 clicks after it, and spends the budget each time.
        scores : bool
            Whether scores are asked for where the artifact trusts a corrector and has no neighbour table. That tells
            the service the clicks and the candidates, in the clear.
        score_clicks : int
            How many clicks a request for scores names, the last ones.
        share : float
            About how many of all rankings may ask for scores, from 0 to 1. Below 1 the session asks where the rule that
            ``fit-corrector`` learned expects the largest gain; whether the device's lists are as those of the
            validation items decides how near the share is kept. Corrections are asked for as ever.
        **settings
            Settings of :meth:`Session.open`.

        Raises
        ------
        UserError
            As they do.
        """
        settings = checked_mapping(settings, "Session.open", _OF_SESSION)
        extra = {} if client is None else checked_mapping(client, "client", _OF_CLIENT)
        scores = checked_flag(scores, "scores")
        history = settings.get("history")
        if history is not None:
            settings["history"] = history = tokens_of(history, "history")
        session = Session.open(directory, **settings)
        manifest = session.artifact.manifest
        scores = scores and asks_for_scores(manifest)
        if manifest.correction is None and not scores:
            raise UserError(_OF_NO_USE.format(directory))
        if scores:
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
        asker = Client(cloud, *of_model, **extra)
        try:
            return cls(session, asker, deadline_ms, score_clicks, history or (), share)
        except UserError:
            asker.close()
            raise

    def __getattr__(self, name: str) -> Any:
        # The session's methods take the session's lock, which is also this one's: no call gets past it.
        if name.startswith("_") or name == "session":
            raise AttributeError(name)
        return getattr(self.session, name)

    @property
    def asked(self) -> int:
        """Requests for scores so far."""
        return 0 if self._scores is None else self._scores.asked

    @property
    def spared(self) -> int:
        """Requests for scores that were not made, because little was expected of them (``share``)."""
        return 0 if self._scores is None else self._scores.spared

    def click(self, item: str) -> bool:
        """Read one click and ask for its correction, and for the scores of what is expected."""
        with self._lock:
            self._check_process()
            known = self.session.click(item)
            if known:
                self._after_clicks([str(item)])
            return known

    def history(self, items: Iterable[str]) -> list[str]:
        """Read many clicks and ask for a correction of them, and for the scores of what is expected."""
        items = tokens_of(items, "items")
        with self._lock:
            self._check_process()
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
            If the artifact asks for no scores, or they were switched off.
        """
        if self._scores is None:
            raise UserError(f"{self.session.artifact.folder} {_NO_SCORES}")
        candidates = tokens_of(candidates, "candidates")
        with self._lock:
            self._check_process()
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
        candidates, exclude = tokens_of(candidates, "candidates"), tokens_of(exclude, "exclude")

        def rank(scores: Evidence | None) -> Ranking:
            return self.session.rank(candidates, k, exclude, scores if evidence is None else evidence)

        if self._scores is None or evidence is not None:
            answers = {} if evidence is None else {"scores": Answer(CORRECTED)}
            return self._by_the_deadline(rank, answers)
        return self._by_the_deadline(rank, {}, lambda: self._scores.ask(candidates, exclude))

    def rank_all(self, k: int = 10, exclude: Iterable[str] = ()) -> CorrectedRanking:
        """The best items of the whole catalogue, with the correction if it is there by the deadline; the cloud's scores
        are not asked for."""
        exclude = tokens_of(exclude, "exclude")
        answers = {}
        if not self._corrects:
            reason = "the whole catalogue is ranked without scores; rank names candidates"
            answers = {"scores": Answer(REFUSED, reason)}
        return self._by_the_deadline(lambda _: self.session.rank_all(k, exclude), answers)

    def _by_the_deadline(
        self,
        rank: Callable[[Evidence | None], Ranking],
        answers: dict[str, Answer],
        ask: Callable[[], ScoreRequest | None] | None = None,
    ) -> CorrectedRanking:
        """A ranking, once the answers to its requests are there or the deadline has come.

        The lock is not held while this waits. If a click comes meanwhile, the requests are of no use any more: the
        ranking is of the clicks that there are at its end, and waits for the answers to those.
        """
        end, waited, clicks, scores = monotonic() + self.deadline, 0.0, -1, None
        try:
            while True:
                with self._lock:
                    self._check_process()
                    if clicks != self.session.clicks:
                        if self._corrects:
                            self._ask_correction(again=clicks < 0)
                        if ask is not None:
                            done_with(scores)
                            scores = None  # done with it once, whatever happens to the next
                            scores = ask()
                        clicks = self.session.clicks
                    pending = [request.pending for request in (self._correction, scores) if request is not None]
                    unanswered = [p for p in pending if not (p.done or p.overdue)]
                    if not unanswered or monotonic() >= end:
                        sizes = [p.upload_bytes for p in pending]
                        if self._corrects:
                            answers = {"correction": self._apply(), **answers}
                        evidence = None
                        if ask is not None:
                            evidence, answers["scores"] = self._scores.evidence(scores)
                        return _corrected_ranking(rank(evidence), answers, waited, sum(sizes))
                began = monotonic()
                for p in unanswered:
                    p.answer(end - monotonic())
                    p.overdue = not p.done
                waited += monotonic() - began
        finally:
            with self._lock:
                done_with(scores)

    def _after_clicks(self, tokens: Iterable[str] = ()) -> None:
        if self._corrects:
            self._ask_correction()
        if self._scores is not None:
            self._scores.after_clicks(tokens)

    def _ask_correction(self, again: bool = False) -> None:
        """See to it that the correction of the last click is there or on its way.

        ``again``: also if the service could not be reached for it; where that is not known to have changed, this costs
        nothing.
        """
        request = self._correction
        if not self.session.clicks:
            return
        if request is not None and request.clicks == self.session.clicks:
            lost = request.answer is not None and request.answer.status in (LATE, OFFLINE)
            if not (again and lost):
                return
        if request is not None:
            request.pending.cancel()
        upload = self.session.hidden_states()
        self._correction = _CorrectionRequest(upload.clicks, self.client.upload(upload.hidden_states, upload.clicks))

    def _apply(self) -> Answer:
        """Apply the correction of the last click, if it is there."""
        request = self._correction
        if request is None:
            return Answer(LATE, "nothing was uploaded")
        if request.answer is not None:
            return request.answer
        answer = request.pending.answer(0)
        if answer.status == LATE and not request.pending.done:
            return answer  # it may still come
        if answer.status == CORRECTED:
            try:
                self.session.apply(answer.content, clicks=request.pending.clicks)
            except UserError as error:
                answer = Answer(REFUSED, str(error), seconds=answer.seconds)
        request.answer = answer
        return answer

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise UserError(
                "this session was opened in another process, and its connection to the service does not outlive a "
                "fork; open the session in the process that uses it"
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


def _corrected_ranking(
    ranking: Ranking, answers: dict[str, Answer], waited: float, upload_bytes: int
) -> CorrectedRanking:
    """A ranking with what became of each request, in the order of the requests."""
    used = tuple(name for name, answer in answers.items() if answer.status == CORRECTED)
    missing = {name: answer for name, answer in answers.items() if name not in used}
    # The scores change more than the correction does, so they say what became of it where neither came.
    status = CORRECTED if used else next((a.status for a in reversed(missing.values())), LATE)
    reasons = [f"{name}: {a.reason}" if len(answers) > 1 else a.reason for name, a in missing.items()]
    return CorrectedRanking(
        ranking.items,
        ranking.scores,
        ranking.unknown,
        status,
        "; ".join(reasons),
        1000 * waited,
        upload_bytes,
        sum(answers[name].bytes for name in used),
        1000 * max((a.seconds for a in answers.values() if a.status != LATE), default=0.0),
        used,
    )
