"""The data of a run as a ``LightningDataModule``: its arguments are a recipe's ``data.*`` keys."""

from typing import Literal

import lightning

from xception.data.cache import kept
from xception.data.crop_decoding import Decoding
from xception.data.evaluation_mode import EvaluationMode
from xception.data.image_record import ImageRecord
from xception.data.loader_processes import processes_for
from xception.data.loading import EvaluationLoader, TrainingLoader
from xception.data.preprocessing import Preprocessing
from xception.data.run_images import open_images
from xception.data.sources import AnySource, is_multi_label
from xception.data.transforms import TrainingTransform
from xception.errors import InputError


class ImageData(lightning.LightningDataModule):
    """Images to train on and to evaluate on, as batches.

    Args:
        name: Data set: "digits" and "digit-scenes" (embedded), "imagenet", "open-images", a
            stock set of torchvision ("cifar10", "cifar100", "fashion-mnist", "flowers102",
            "food101", …), "folder" (a class to an image), or "multi-label" (several).
        root: Where the data lie. For "folder": train/<class> and val/<class>, or <class> alone;
            for "multi-label": classes.txt beside label tables train and validation (.csv, .jsonl,
            .parquet), or a single table; for "imagenet": train/ and val/; for "open-images": see
            `xception.data.open_images`; for a stock set: its download folder, or a folder with
            train/<class> and test/<class>.
        validation_fraction: Share of each class that is held out of a folder without val/ or test/,
            or of the rows of a single label table.
        tuning_fraction: Share of the training images that is held out in the place of the held-out
            ones, which are then never opened: for choosing a learning rate or anything else (of
            each class its share; of images with several labels a random one). null: off.
        image_size: Height and width of the network's input, in pixels.
        batch_size: Global batch: images per optimizer step, over all devices and accumulation.
        evaluation_batch_size: Images per evaluation batch and device. null: as many as in training.
        num_workers: Loader processes per device. "auto": none for small images in memory, else
            one per CPU core, at most 16.
        cache: Whether decoded images are kept in memory. "auto": at most 96x96, and 1 GiB in all.
        decoding: Of training images. "exact": every pixel as from the whole file; "fast": JPEGs
            shrunk to 1/2 or 1/4 where the crop is large enough. Evaluation is exact.
        crop: Training crop. "inception": a random rectangle, resized; "shift": moved by some pixels
            (for 32x32 images); "none": the whole image.
        crop_area: Least and greatest share of the image's area, for "inception".
        crop_aspect: Least and greatest width over height, for "inception".
        shift: The most pixels that an image moves in each direction, for "shift".
        flip: Whether half of the training images are mirrored left to right.
        color_distortion: Whether the four distortions below are applied, in random order.
        brightness: Greatest change of brightness, as a share of the full range; 0 is off.
        saturation: Least and greatest factor of the saturation; null is off.
        contrast: Least and greatest factor of the contrast; null is off.
        hue: Greatest turn of the hue, in full turns, at most 0.5; 0 is off.
        cutout: Side of a square that is blanked at a random place, in pixels; 0 is off.
        evaluation_mode: "central-crop": the central crop_fraction of height and width, squashed to
            a square (the paper's era); "resize-crop": the short side is resized to
            image_size / crop_fraction, then the central square is taken (timm, torchvision);
            "squash": the whole image, squashed (Keras); "pad": the same with black beside it.
        crop_fraction: Share of height and width that an evaluation crop keeps, in (0, 1].
        interpolation: Filter of every resizing.
        antialias: Whether shrinking averages over the pixels that it removes.
        max_unreadable: Different unreadable training images, per process, that are passed over
            before training stops.
        seed: Of the order, the augmentation, and what is held out.

    Attributes:
        train_source: After ``setup``: the images to train on.
        evaluation_source: The images held out.
        class_names: One name per class.
        preprocessing: From a decoded image to the network's input, at evaluation.
        transform: The augmentation.
        record: Set before ``setup``: the run's list of its images, which it goes on with.
        by_position: Set before ``setup``: goes on with a run that has no such list.
    """

    class_names: list[str]
    train_source: AnySource
    evaluation_source: AnySource

    def __init__(
        self,
        *,
        name: str = "folder",
        root: str | None = None,
        validation_fraction: float = 0.2,
        tuning_fraction: float | None = None,
        image_size: int = 299,
        batch_size: int = 32,
        evaluation_batch_size: int | None = None,
        num_workers: int | Literal["auto"] = "auto",
        cache: bool | Literal["auto"] = "auto",
        decoding: Decoding = "exact",
        crop: Literal["inception", "shift", "none"] = "inception",
        crop_area: tuple[float, float] = (0.05, 1.0),
        crop_aspect: tuple[float, float] = (3 / 4, 4 / 3),
        shift: int = 4,
        flip: bool = True,
        color_distortion: bool = True,
        brightness: float = 32 / 255,
        saturation: tuple[float, float] | None = (0.5, 1.5),
        contrast: tuple[float, float] | None = None,
        hue: float = 0.0,
        cutout: int = 0,
        evaluation_mode: EvaluationMode = "central-crop",
        crop_fraction: float = 0.875,
        interpolation: Literal["bilinear", "bicubic"] = "bilinear",
        antialias: bool = True,
        max_unreadable: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise InputError(f"data.batch_size is {batch_size}; it must be at least 1 image")
        self.name = name
        self.root = root
        self.validation_fraction = validation_fraction
        self.tuning_fraction = tuning_fraction
        self.batch_size = batch_size
        self._evaluation_batch_size = evaluation_batch_size
        self.num_workers = num_workers
        self.cache = cache
        self.decoding = decoding
        self.max_unreadable = max_unreadable
        self.seed = seed
        self.preprocessing = Preprocessing(
            size=image_size,
            mode=evaluation_mode,
            crop_fraction=crop_fraction,
            interpolation=interpolation,
            antialias=antialias,
        )
        self.transform = TrainingTransform(
            size=image_size,
            crop=crop,
            crop_area=crop_area,
            crop_aspect=crop_aspect,
            shift=shift,
            flip=flip,
            brightness=brightness if color_distortion else 0.0,
            saturation=saturation if color_distortion else None,
            contrast=contrast if color_distortion else None,
            hue=hue if color_distortion else 0.0,
            cutout=cutout,
            interpolation=interpolation,
            antialias=antialias,
        )
        self.record: ImageRecord | None = None
        self.by_position = False
        self._train_loader: TrainingLoader | None = None
        self._unreadable: dict[int, str] = {}
        self._is_set_up = False

    @property
    def num_classes(self) -> int:
        """Number of classes, after ``setup``."""
        return len(self.class_names)

    @property
    def multi_label(self) -> bool:
        """Whether images have several labels each, after ``setup``."""
        return is_multi_label(self.train_source)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch, after ``setup``; what is left over is not used."""
        return len(self.train_source) // self.batch_size

    def setup(self, stage: str | None = None) -> None:
        """Opens both splits; again, it does nothing.

        Args:
            stage: Lightning's; of no consequence here.

        Raises:
            InputError: The data are not where, or not what, they should be.
        """
        if self._is_set_up:
            return
        self.train_source = self._open("train")
        self.evaluation_source = self._open("evaluation")
        self.class_names = list(self.train_source.class_names)
        self._is_set_up = True

    def _open(self, split: Literal["train", "evaluation"]) -> AnySource:
        source = open_images(
            str(self.name),
            split,
            record=self.record,
            root=self.root,
            validation_fraction=self.validation_fraction,
            tuning_fraction=self.tuning_fraction,
            seed=self.seed,
            by_position=self.by_position,
        )
        has_workers = isinstance(self.num_workers, int) and self.num_workers > 0
        return kept(source, self.cache, at_once=has_workers)

    def train_dataloader(self) -> TrainingLoader:
        """This process's training batches: the same loader at every call."""
        if self._train_loader is None:
            trainer = self.trainer
            self._train_loader = TrainingLoader(
                self.train_source,
                self.transform,
                batch_size=self.batch_size,
                seed=self.seed,
                num_workers=self._workers(self.train_source, self._micro_batch_size),
                world_size=self._world_size,
                rank=self._rank,
                accumulation=int(trainer.accumulate_grad_batches) if trainer else 1,
                max_unreadable=self.max_unreadable,
                pin_memory=self._on_gpu,
                decoding=self.decoding,
            )
            self._train_loader.unreadable.update(self._unreadable)
        return self._train_loader

    @property
    def unreadable(self) -> dict[int, str]:
        """Training images that this process could not read so far: index to "name: reason"."""
        return self._train_loader.unreadable if self._train_loader else self._unreadable

    def state_dict(self) -> dict[str, dict[int, str]]:
        """What a checkpoint keeps of the data: the list of unreadable images."""
        return {"unreadable": dict(self.unreadable)}

    def load_state_dict(self, state_dict: dict[str, dict[int, str]]) -> None:
        """Takes the list back, so that the limit counts the whole run."""
        self._unreadable = dict(state_dict["unreadable"])
        self.unreadable.update(self._unreadable)

    def check_loaders(self, trainer: "lightning.Trainer") -> None:
        """Builds both loaders once, to find what is wrong before anything is written.

        Args:
            trainer: The one that will use them.

        Raises:
            InputError: The batch does not divide over its processes, or a number is out of range.
        """
        attached, self.trainer = self.trainer, trainer
        self.train_dataloader()
        self.val_dataloader()
        self._train_loader, self.trainer = None, attached  # the rank is known only in the run

    def val_dataloader(self) -> EvaluationLoader:
        """This process's share of the held-out images, each once."""
        return EvaluationLoader(
            self.evaluation_source,
            self.preprocessing,
            batch_size=self.evaluation_batch_size,
            num_workers=self._workers(self.evaluation_source, self.evaluation_batch_size),
            world_size=self._world_size,
            rank=self._rank,
            pin_memory=self._on_gpu,
        )

    def teardown(self, stage: str) -> None:
        """Ends the loader processes when the training is over.

        Args:
            stage: Lightning's; of no consequence here.
        """
        if self._train_loader is not None:
            self._train_loader.close()

    @property
    def _world_size(self) -> int:
        return int(self.trainer.world_size) if self.trainer else 1

    @property
    def _rank(self) -> int:
        return int(self.trainer.global_rank) if self.trainer else 0

    @property
    def _on_gpu(self) -> bool:
        trainer = self.trainer
        return trainer is not None and trainer.strategy.root_device.type == "cuda"

    @property
    def evaluation_batch_size(self) -> int:
        """Images per evaluation batch and device."""
        given = self._evaluation_batch_size
        return self._micro_batch_size if given is None else given

    @property
    def _micro_batch_size(self) -> int:
        accumulation = int(self.trainer.accumulate_grad_batches) if self.trainer else 1
        return max(1, self.batch_size // (self._world_size * accumulation))

    def _workers(self, source: AnySource, batch_size: int) -> int:
        return processes_for(
            source,
            self.num_workers,
            devices=int(self.trainer.num_devices) if self.trainer else 1,
            batch_bytes=batch_size * 3 * self.preprocessing.size**2,
        )
