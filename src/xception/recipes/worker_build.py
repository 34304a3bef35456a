"""What a worker's process of asynchronous training makes of a recipe."""

from dataclasses import dataclass
from pathlib import Path

from xception.data.batches import TrainingBatches
from xception.data.image_record import ImageRecord
from xception.distributed.gradient_worker import training_batches
from xception.recipes.build import build_classifier, build_data, build_model
from xception.recipes.going_on import going_on
from xception.recipes.load import Recipe
from xception.training.checkpoints import newest_checkpoint
from xception.training.classifier import Classifier
from xception.training.memory import keep_freed_memory


@dataclass
class WorkerBuild:
    """Builds classifier and training batches; sent to a worker when it starts, and starts anew.

    Attributes:
        recipe: What is trained.
        checkpoints: Where the run saves; where a worker's machine can see it, the worker needs no
            ``model.weights``.
        record: The list of the run's images, once it is there: images that come or go while the
            run lasts change nothing for a worker that starts anew.
        by_position: Goes on with a run that has no such list.
    """

    recipe: Recipe
    checkpoints: Path
    record: ImageRecord | None = None
    by_position: bool = False

    def __call__(self) -> tuple[Classifier, TrainingBatches]:
        """Builds them, in the worker's process.

        Raises:
            InputError: An image of the list is gone or has another size.
        """
        keep_memory(self.recipe)
        begins_from_file = self.recipe.keys["model"]["weights"]
        saved = newest_checkpoint(self.checkpoints) if begins_from_file else None
        recipe = going_on(self.recipe, saved)
        data = build_data(recipe, self.record, by_position=self.by_position)
        classifier = build_classifier(recipe, data, build_model(recipe, data))
        return classifier, training_batches(data)


def keep_memory(recipe: Recipe) -> bool:
    """Keeps what this process frees, if the recipe says so; says whether it does.

    With a GPU too: what is pulled and pushed is in the process's own memory.
    """
    keeps = bool(recipe.keys["training"]["keep_memory"])
    if keeps:
        keep_freed_memory()
    return keeps
