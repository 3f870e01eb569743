"""The split by time in plain loops over exact numbers."""

from decimal import Decimal
from fractions import Fraction

Row = tuple[str, tuple[str, ...], str]  # user, known items before, item ("" if training never saw it)


def moment(clicks: list[tuple[str, str, str]], value: object, share_of: str) -> Fraction:
    """The moment that ``valid_from`` or ``test_from`` means: a share between 0 and 1, or a time as written."""
    times = sorted(Fraction(Decimal(time)) for _, _, time in clicks)
    exact = Fraction(Decimal(str(value)))
    if not 0 < exact < 1:
        return exact
    if share_of == "interactions":
        return times[int(exact * len(times))]
    return times[0] + exact * (times[-1] - times[0])


class Cut:
    """All that the two cuts decide, of clicks (user, item, time as written) in the order of the file."""

    def __init__(self, clicks, cuts: list[Fraction], targets: str, new_items: str):
        phase_of = [sum(Fraction(Decimal(time)) >= cut for cut in cuts) for _, _, time in clicks]
        early = [(user, item) for (user, item, _), phase in zip(clicks, phase_of, strict=True) if phase == 0]
        self.users, self.items = {user for user, _ in early}, {item for _, item in early}
        self.training_clicks = sorted(early)
        self.sizes = [phase_of.count(phase) for phase in range(3)]
        self.rows: list[list[Row]] = [[], [], []]
        self.of_new_users, self.of_new_items, self.without_history = [0, 0, 0], [0, 0, 0], [0, 0, 0]
        for user in sorted({user for user, _, _ in clicks}):
            own = [place for place, click in enumerate(clicks) if click[0] == user]
            own.sort(key=lambda place: (Fraction(Decimal(clicks[place][2])), place))
            for k, place in enumerate(own):
                phase = phase_of[place]
                last = not any(phase_of[later] == phase for later in own[k + 1 :])
                if phase and targets == "last" and not last:
                    continue
                before = tuple(clicks[earlier][1] for earlier in own[:k] if clicks[earlier][1] in self.items)
                if not before:
                    self.without_history[phase] += 1
                    continue
                item = clicks[place][1]
                new = item not in self.items
                self.of_new_items[phase] += new
                self.of_new_users[phase] += user not in self.users
                if not (new and new_items == "leave_out"):
                    self.rows[phase].append((user, before, "" if new else item))
