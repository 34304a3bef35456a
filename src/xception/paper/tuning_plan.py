"""What a search does: the recipes, which must have equal budgets, the trials, what is tried."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xception.errors import InputError
from xception.paper.reproduce import normalized
from xception.paper.search import SearchSpace, Study
from xception.paper.trials import Network, open_network
from xception.training.run_directory import flatten

BUDGET_KEYS = (
    "data.name",
    "data.root",
    "data.batch_size",
    "data.validation_fraction",
    "data.tuning_fraction",
    "trainer.accumulate_grad_batches",
    "trainer.max_epochs",
    "trainer.max_steps",
    "trainer.max_time",
    "trainer.limit_train_batches",
    "trainer.limit_val_batches",
    "trainer.overfit_batches",
    "map.k",
    "map.class_weights",
    "map.reading",
    "map.unannotated",
)
"""Keys that must be the same in every recipe of a search: same images, steps and figure."""


@dataclass(frozen=True)
class Search:
    """What is to be done.

    Attributes:
        networks: The recipes.
        trials: Of each.
        space: What is tried.
        output: The directory.
    """

    networks: list[Network]
    trials: int
    space: SearchSpace
    output: Path

    def study(self, network: Network) -> Study:
        """The study of a recipe."""
        return Study(self.output / "study.journal", network.name, self.space)


def plan_search(
    recipes: Sequence[str],
    output: Path,
    space: SearchSpace,
    *,
    trials: int,
    tuning_fraction: float,
    data_root: str | None = None,
    overrides: Sequence[str] = (),
) -> Search:
    """Finds out what is to be done; changes nothing.

    Args:
        recipes: Names or files.
        output: The directory.
        space: What is tried.
        trials: Of each recipe, the one with its own values included.
        tuning_fraction: Share of the training images that becomes the validation images.
        data_root: Where the data lie.
        overrides: Further ``--dotted.key value`` words for every recipe.

    Raises:
        InputError: A wrong recipe or key, recipes with unequal budgets, data that are not there.
    """
    if trials < 1:
        raise InputError(f"--trials {trials}: give 1 or more")
    root = [f"--data.root={data_root}"] if data_root is not None else []
    words = [
        *(f"--data.tuning_fraction={tuning_fraction!r}", f"--seed={space.seed}"),
        *("--trainer.enable_progress_bar=false", *root, *normalized(overrides)),
    ]
    networks = [open_network(recipe, words) for recipe in recipes]
    twice = [name for name, count in Counter(n.name for n in networks).items() if count > 1]
    if twice:
        raise InputError(f"two recipes are called {twice[0]}; give each a name of its own")
    _require_equal_budgets(networks)
    return Search(networks, trials, space, output)


def _require_equal_budgets(networks: Sequence[Network]) -> None:
    first, *rest = networks
    ours = flatten(first.recipe.keys)
    for other in rest:
        theirs = flatten(other.recipe.keys)
        for key in BUDGET_KEYS:
            if ours.get(key) != theirs.get(key):
                raise InputError(
                    f"{key} is {ours.get(key)} in {first.name} and {theirs.get(key)} in "
                    f"{other.name}: the budgets are not equal; set it for both with --{key} VALUE"
                )
