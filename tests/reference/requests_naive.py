"""When to ask the cloud, one ranking and one candidate at a time."""

import math


def certainty(scores: list[float]) -> float:
    """The largest share of a softmax over the candidates; minus infinity is no candidate."""
    shares = [math.exp(s) for s in scores if s != -math.inf]
    return max(shares) / sum(shares)


def expected_gain(rule, scores: list[float], clicks: int) -> float:
    """What the rule expects, in plain arithmetic."""
    return rule.base + rule.per_log_click * math.log(max(clicks, 1)) + rule.per_certainty * certainty(scores)


def evenly(clicks: int, share: float) -> tuple[int, int]:
    """Click after click: a request whenever a whole one has come together."""
    saved, made, since = 0.0, 0, clicks
    for click in range(1, clicks + 1):
        saved += share
        if saved > 1 - 1e-9:
            saved, made, since = saved - 1, made + 1, clicks - click
    return since, made
