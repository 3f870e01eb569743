"""What can be said of a plan before its first run."""

from collections.abc import Callable

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.entries import RESERVED
from recbole_cocorr.experiments.runs.plan import Plan, RunSpec
from recbole_cocorr.experiments.runs.run_files import RunRecord
from recbole_cocorr.training.agreement import PLACE, SPEED, check_agreement
from recbole_cocorr.training.config import Config

# Beside where and how fast: what the runs of one model differ in, and a run's id tells.
_OF_ONE_RUN = frozenset(["seed", "learning_rate"])


def check_plan(plan: Plan, finished: Callable[[RunSpec], RunRecord | None] = lambda spec: None) -> None:
    """Make every model's configuration once, so that a misspelt key fails now and not in the night.

    Parameters
    ----------
    plan : Plan
    finished : callable
        A run's record, if the results folder already has it.

    Raises
    ------
    UserError
        The first sentence that a run would fail with; for a setting of every run that a row's own would beat in
        silence; and for a finished run under other settings than the plan now stands for, which happens where a file of
        settings has changed meanwhile.
    """
    for key in sorted(RESERVED & set(plan.settings)):
        raise UserError(f"--{key} is the benchmark's own to set; leave it out")
    _check_flags(plan)
    for tuning in plan.tunings():
        configs: dict[str, Config] = {}
        for trial in tuning.trials():
            key = str(trial.settings)
            if key not in configs:
                try:
                    configs[key] = Config(trial.model, trial.dataset, None, {}, overrides=trial.overrides())
                except UserError as error:
                    raise UserError(f"{trial.label} on {trial.dataset}: {error}") from None
            for spec in tuning.finals(trial):
                if (record := finished(spec)) is not None:
                    check_record(record, configs[key], spec.id, _OF_ONE_RUN)


def _check_flags(plan: Plan) -> None:
    for entry in plan.entries:
        for own in (entry.settings, *entry.options):
            for key in sorted(own.keys() & plan.settings.keys()):
                if own[key] != plan.settings[key]:
                    raise UserError(
                        f"--{key}={plan.settings[key]} does not reach {entry.label}, whose own settings have {key}: "
                        f"{own[key]!r} and win; leave the flag out"
                    )


def check_record(record: RunRecord, config: Config, source: str, may_differ: frozenset[str] = frozenset()) -> None:
    """Refuse a finished run that stands under the same name and has other settings.

    Parameters
    ----------
    record : RunRecord
    config : Config
        What the run would be trained with now.
    source : str
        What the sentence calls the run.
    may_differ : frozenset of str
        Settings besides the place and the speed.

    Raises
    ------
    UserError
        Naming the settings that differ, with both values.
    """
    remedy = "name a new folder with --out, or move this run's folder out of runs/ to train it again"
    check_agreement(record.config, config, source, PLACE | SPEED | may_differ, remedy)
