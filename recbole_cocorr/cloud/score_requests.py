"""The device's side of the cloud's scores: which clicks go up, which candidates are asked for, what came of it."""

from collections.abc import Iterable, Sequence

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.cloud.client import CORRECTED, LATE, OFFLINE, REFUSED, Answer, Client, Pending
from recbole_cocorr.cloud.pending import waited_for
from recbole_cocorr.cloud.wire import MOST_CANDIDATES
from recbole_cocorr.device.evidence import Evidence
from recbole_cocorr.device.session import Session


class ScoreRequests:
    """Asks for the scores of a session's candidates.

    Items go up as rows of the artifact's catalogue, which must be that of the corrector.

    Parameters
    ----------
    session : Session
        Of an artifact that trusts a corrector.
    client : Client
    most_clicks : int
        Clicks that a request tells, the last ones.
    history : sequence of str
        The clicks that the session has read, if they are at hand; it keeps the last L of them itself.
    """

    def __init__(self, session: Session, client: Client, most_clicks: int, history: Sequence[str] = ()):
        self._session, self._client, self._most_clicks = session, client, most_clicks
        manifest = session.artifact.manifest
        self._corrector = manifest.trust["corrector"]
        self._fits = manifest.trust.get("items") == manifest.catalogue()
        self._clicked, self._counted = [], 0
        self._pending: Pending | None = None
        self._asked: dict[str, int] = {}
        self._expected: dict[str, int] = {}
        self._follow(history)

    @property
    def pending(self) -> Pending | None:
        """The request that was made last."""
        return self._pending

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
        """The session has read clicks: what is on its way is of earlier ones; what is expected is asked for."""
        self._follow(tokens)
        self._drop()
        if self._expected:
            self._ask(self._expected)

    def expect(self, candidates: Iterable[str]) -> None:
        """Ask for these candidates now and after each click; none ends that."""
        self._expected = self._rows_of(candidates)
        if self._expected and self._session.clicks:
            self.ask(self._expected)

    def _rows_of(self, candidates: Iterable[str], exclude: Iterable[str] = ()) -> dict[str, int]:
        row, out = self._session.artifact.vocabulary.row, set(exclude)
        found = {str(token): row(str(token)) for token in candidates}
        return {token: number for token, number in found.items() if number and token not in out}

    def ask(self, candidates: Iterable[str], exclude: Iterable[str] = ()) -> None:
        """See to it that the candidates' scores are there or on their way; returns at once."""
        rows = self._rows_of(candidates, exclude)
        if not rows or not self._session.clicks:
            self._drop()
            return
        if self._session.clicks != self._counted:
            self._follow()
        if self._covers(rows):
            return
        self._drop()
        self._ask(rows)

    def _covers(self, rows: dict[str, int]) -> bool:
        """Whether the last request was of these clicks and candidates, and need not be made again."""
        pending = self._pending
        if pending is None or pending.clicks != self._session.clicks or not rows.keys() <= self._asked.keys():
            return False
        # The service may be back; where it is not known to be, asking again costs nothing.
        return not pending.done or pending.answer(0).status not in (LATE, OFFLINE)

    def _ask(self, rows: dict[str, int]) -> None:
        if not self._session.clicks:
            return
        if not self._fits:
            self._refuse("the artifact's catalogue is another than the corrector's; fit a corrector for it and export")
        elif len(rows) > MOST_CANDIDATES:
            self._refuse(f"{len(rows)} candidates; the service scores {MOST_CANDIDATES} at most")
        else:
            self._asked = rows
            self._pending = self._client.score(self._clicked, list(rows.values()), self._session.clicks)

    def _refuse(self, reason: str) -> None:
        self._asked, self._pending = {}, Pending(self._session.clicks)
        self._pending._settle(Answer(REFUSED, reason))

    def _drop(self) -> None:
        if self._pending is not None and not self._pending.done:
            self._pending.cancel()
        self._pending = None

    def evidence(self, end: float) -> tuple[Evidence | None, Answer, float]:
        """What came of the last request by ``end``, of ``time.monotonic``.

        Returns
        -------
        Evidence or None, Answer and float
            The scores, if they fit the corrector and the clicks; what became of the request; seconds waited.
        """
        pending = self._pending
        if pending is None:
            return None, Answer(LATE, "nothing was asked for"), 0.0
        answer, waited = waited_for(pending, end)
        if answer.status != CORRECTED:
            return None, answer, waited
        try:
            if pending.clicks != self._session.clicks:
                read = self._session.clicks
                raise UserError(f"the scores are of {pending.clicks} clicks, and the session has read {read}")
            found = dict(zip(self._asked, answer.scores.tolist(), strict=True))
            evidence = Evidence(found, len(self._clicked), self._corrector)
            self._session.check_evidence(evidence)
        except (UserError, ValueError) as error:
            return None, Answer(REFUSED, str(error), seconds=answer.seconds), waited
        return evidence, answer, waited
