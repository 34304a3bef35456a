"""What a search tries: the same factors on every recipe's own learning rate and weight decay.

The paper's configuration was tuned for Inception V3 only (section 4.3). For a fair comparison each
network gets the same number of trials, the same epochs and the same ranges around its own values.
No trial is ended early: a trial always costs the whole of its epochs.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xception.errors import InputError

Sampler = Literal["sobol", "tpe"]
KEYS = ("learning_rate", "weight_decay")
"""What is searched: keys below ``optimizer``."""
_RANDOM_TRIALS = 10  # of the TPE sampler, before it models anything


@dataclass(frozen=True)
class SearchSpace:
    """Factors on a recipe's own values, each drawn log-uniformly from [1 / span, span].

    Attributes:
        span: The largest factor, above 1.
        sampler: "sobol": a scrambled Sobol sequence: the same factors for every recipe; "tpe":
            Optuna's tree-structured Parzen estimator, which learns from the finished trials.
        seed: Of either.
    """

    span: float
    sampler: Sampler
    seed: int

    def __post_init__(self) -> None:
        if not self.span > 1:
            raise InputError(f"--span {self.span:g}: give a factor above 1, such as 10")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: give 0 or more")


@dataclass(frozen=True)
class Asked:
    """A trial that is to be run, or is being run.

    Attributes:
        number: From 0, in its study.
        factors: On the recipe's own values, by the names of ``KEYS``.
    """

    number: int
    factors: dict[str, float]


class Study:
    """The trials of one recipe, in a journal that several processes may share.

    Only one process may ask at a time; the caller sees to that. Trial 0 has the recipe's own
    values.

    Args:
        journal: The file; made if absent.
        name: The recipe's name.
        space: What is tried.

    Raises:
        InputError: Optuna is not installed, or the file is damaged.
    """

    def __init__(self, journal: Path, name: str, space: SearchSpace) -> None:
        optuna = _optuna()
        from filelock import FileLock
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self.space, self._journal = space, journal
        # A file lock of the system: unlike Optuna's own it ends with the process that holds it.
        lock: Any = FileLock(journal.parent / f".{journal.name}.lock")
        with self._told():
            storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
            self._study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )

    def trials(self) -> list[Any]:
        """Optuna's frozen trials that have their factors, by number."""
        with self._told():
            return [trial for trial in self._study.trials if len(trial.params) == len(KEYS)]

    def running(self) -> list[Asked]:
        """Those that were asked for and are neither finished nor failed."""
        return [
            Asked(trial.number, dict(trial.params))
            for trial in self.trials()
            if not trial.state.is_finished()
        ]

    def ask(self) -> Asked:
        """Draws the factors of a new trial."""
        from optuna.distributions import FloatDistribution

        known = len(self.trials())
        span = self.space.span
        distributions: Any = {key: FloatDistribution(1 / span, span, log=True) for key in KEYS}
        with self._told():
            if not known:
                self._study.enqueue_trial(dict.fromkeys(KEYS, 1.0))
            self._study.sampler = self._new_sampler(known)
            trial = self._study.ask(distributions)
        return Asked(trial.number, {key: float(trial.params[key]) for key in KEYS})

    def finish(self, number: int, value: float) -> None:
        """Notes the figure of a trial."""
        with self._told():
            self._study.tell(number, value, skip_if_finished=True)

    def fail(self, number: int) -> None:
        """Notes that a trial has no figure."""
        from optuna.trial import TrialState

        with self._told():
            self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _new_sampler(self, known: int) -> Any:
        """A sampler of its own for each trial: a search that was killed draws what it had drawn."""
        from optuna.samplers import QMCSampler, TPESampler

        if self.space.sampler == "sobol":
            return QMCSampler(scramble=True, seed=self.space.seed)
        seed = self.space.seed * 1_000_003 + known
        return TPESampler(seed=seed % 2**32, n_startup_trials=_RANDOM_TRIALS)

    @contextmanager
    def _told(self) -> Iterator[None]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a sampler is called experimental
            try:
                yield
            except (json.JSONDecodeError, KeyError, AssertionError) as error:
                reason = " ".join(str(error).split())
                raise InputError(
                    f"{self._journal} is damaged ({reason}); name another directory with --output"
                ) from None


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError(
            "tuning needs Optuna: install the extra with pip install 'xception[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
