"""The device's side of the cloud's scores: which clicks go up, which candidates are asked for, what came of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recbole_cocorr.artifact.evidence import Evidence
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device.session import Session
from recbole_cocorr.service.client.client import CORRECTED, LATE, OFFLINE, REFUSED, Answer, Client, Pending
from recbole_cocorr.service.client.pending import UNASKED
from recbole_cocorr.service.wire import MOST_CANDIDATES


@dataclass
class ScoreRequest:
    """A request for scores.

    Attributes
    ----------
    pending : Pending
    rows : dict of str to int
        Row of each candidate's token, in the order of the request.
    clicks : int
        Clicks that the request names.
    waiting : int
        Rankings that wait for it.
    """

    pending: Pending
    rows: dict[str, int]
    clicks: int = 0
    waiting: int = 0


def done_with(request: ScoreRequest | None) -> None:
    """A ranking no longer waits for a request."""
    if request is not None:
        request.waiting -= 1


class ScoreRequests:
    """Asks for the scores of a session's candidates. The caller holds the session's lock.

    Items go up as rows of the artifact's catalogue, which must be that of the corrector.

    Parameters
    ----------
    session : Session
        Its artifact trusts a corrector.
    client : Client
    most_clicks : int
        Most clicks that a request names, the last ones.
    history : sequence of str
        The clicks that the session has read, if they are at hand; it keeps the last L of them itself.
    share : float
        About how many of all rankings may ask, from 0 to 1: those of which the artifact's rule expects the most.

    Attributes
    ----------
    asked, spared : int
        Requests that were made, and those that were not because little was expected of them.

    Raises
    ------
    UserError
        For a share below 1, if the artifact has no rule.
    """

    def __init__(
        self, session: Session, client: Client, most_clicks: int, history: Sequence[str] = (), share: float = 1.0
    ):
        self._session, self._client, self._most_clicks, self._share = session, client, most_clicks, share
        self.asked, self.spared = 0, 0
        manifest = session.artifact.manifest
        self._rule = manifest.requests
        if share < 1 and self._rule is None:
            raise UserError(
                f"{session.artifact.folder} does not say when to ask, so share must be 1; run fit-corrector again and "
                "export with --corrector and --neighbours 0"
            )
        self._corrector = manifest.trust["corrector"]
        self._fits = manifest.trust.get("items") == manifest.catalogue()
        self._clicked, self._counted = [], 0
        # The last one, and those before it that a ranking still waits for; all of the clicks that were read last.
        self._requests: list[ScoreRequest] = []
        self._expected: dict[str, int] = {}
        self._follow(history)

    def _follow(self, tokens: Iterable[str] = ()) -> None:
        """Take in the clicks that the session has read since."""
        new = self._session.clicks - self._counted
        rows = [row for row in map(self._session.artifact.vocabulary.row, tokens) if row]
        if len(rows) != new:  # they came another way
            rows = self._session.recent_rows()
            if 0 <= new <= len(rows):
                rows = rows[len(rows) - new :]
            else:
                self._clicked = []
        self._clicked = [*self._clicked, *rows][-self._most_clicks :]
        self._counted = self._session.clicks

    def after_clicks(self, tokens: Iterable[str]) -> None:
        """Give up the requests of earlier clicks, and ask for the scores of the expected candidates."""
        self._follow(tokens)
        self._drop(every=True)
        if self._expected:
            self._ask(self._expected)

    def expect(self, candidates: Iterable[str]) -> None:
        """Ask for these candidates now and after each click; an empty list ends that."""
        self._expected = self._rows_of(candidates)
        if self._expected:
            self._ask(self._expected)

    def _rows_of(self, candidates: Iterable[str], exclude: Iterable[str] = ()) -> dict[str, int]:
        row, out = self._session.artifact.vocabulary.row, set(exclude)
        rows = {str(token): row(str(token)) for token in candidates}
        return {token: number for token, number in rows.items() if number and token not in out}

    def ask(self, candidates: Iterable[str], exclude: Iterable[str] = ()) -> ScoreRequest | None:
        """See to it that the candidates' scores are there or on their way; returns at once.

        Returns
        -------
        ScoreRequest or None
            What a ranking waits for, until it calls :func:`done_with`; None if there is nothing to ask.
        """
        request = self._ask(self._rows_of(candidates, exclude))
        if request is not None:
            request.waiting += 1
        return request

    def _ask(self, rows: dict[str, int]) -> ScoreRequest | None:
        if self._session.clicks != self._counted:  # clicks that came another way
            self._follow()
            self._drop(every=True)
        if not rows or not self._session.clicks:
            self._drop()
            return None
        for request in reversed(self._requests):
            if _covers(request, rows):
                return request
        if not self._worth_asking(rows):  # what is on its way for other candidates goes on
            self.spared += 1
            reason = "little was expected of the scores, and only a share of the rankings may ask"
            return _settled(self._session.clicks, UNASKED, reason)
        self._drop()
        self._requests.append(self._request(rows))
        return self._requests[-1]

    def _request(self, rows: dict[str, int]) -> ScoreRequest:
        clicks = self._session.clicks
        if not self._fits:
            reason = "the artifact's catalogue is another than the corrector's; fit a corrector for it and export"
        elif len(rows) > MOST_CANDIDATES:
            reason = f"{len(rows)} candidates; the service scores {MOST_CANDIDATES} at most"
        else:
            self.asked += 1
            return ScoreRequest(
                self._client.score(self._clicked, list(rows.values()), clicks), rows, len(self._clicked)
            )
        return _settled(clicks, REFUSED, reason)

    def _worth_asking(self, rows: dict[str, int]) -> bool:
        """Whether the rule expects enough; true for a request that will be refused anyway, which says why."""
        if self._rule is None or self._share >= 1 or not self._fits or len(rows) > MOST_CANDIDATES:
            return True
        own = self._session.rank(list(rows)).scores
        return bool(self._rule.asks(own, self._session.clicks, self._share))

    def _drop(self, every: bool = False) -> None:
        """Give up what no ranking waits for, or everything."""
        for request in self._requests:
            if every or not request.waiting:
                request.pending.cancel()
        self._requests = [] if every else [request for request in self._requests if request.waiting]

    def evidence(self, request: ScoreRequest | None) -> tuple[Evidence | None, Answer]:
        """What has come of a request.

        Returns
        -------
        Evidence or None, and Answer
            The scores, if they are there and fit the corrector and the clicks; what became of the request.
        """
        if request is None:
            return None, Answer(LATE, "nothing was asked for")
        answer = request.pending.answer(0)
        if answer.status != CORRECTED:
            return None, answer
        try:
            if request.pending.clicks != self._session.clicks:
                read = self._session.clicks
                raise UserError(f"the scores are of {request.pending.clicks} clicks, and the session has read {read}")
            scores = dict(zip(request.rows, answer.content.tolist(), strict=True))
            evidence = Evidence(scores, request.clicks, self._corrector)
            self._session.check_evidence(evidence)
        except (UserError, ValueError) as error:
            return None, Answer(REFUSED, str(error), seconds=answer.seconds)
        return evidence, answer


def _settled(clicks: int, status: str, reason: str) -> ScoreRequest:
    """A request that was not made; it covers no candidates, so that the next ranking decides anew."""
    pending = Pending(clicks)
    pending.settle(Answer(status, reason))
    return ScoreRequest(pending, {})


def _covers(request: ScoreRequest, rows: dict[str, int]) -> bool:
    """Whether a request was of these candidates, and need not be made again."""
    if not rows.keys() <= request.rows.keys():
        return False
    # The service may be back; where it is not known to be, asking again costs nothing.
    return not request.pending.done or request.pending.answer(0).status not in (LATE, OFFLINE)
