"""What can be said of a plan before its first run."""

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.benchmark.plan import Plan
from recbole_cocorr.config import Config


def check_plan(plan: Plan) -> None:
    """Make every model's configuration once, so that a misspelt key fails now and not in the night.

    Raises
    ------
    UserError
        The first sentence that a run would fail with.
    """
    reserved = {"model", "dataset", "protocol", "seed", "learning_rate", "checkpoint_dir", "resume", "nproc"}
    for key in sorted(reserved & set(plan.settings)):
        raise UserError(f"--{key} is the benchmark's own to set; leave it out")
    for group in plan.groups():
        for spec in group.trials()[:1]:
            try:
                Config(spec.model, spec.dataset, None, {}, overrides=spec.overrides())
            except UserError as error:
                raise UserError(f"{spec.label} on {spec.dataset}: {error}") from None
