"""Learning-rate schedules: pure functions of the number of samples seen.

The paper's two schedules (section 4.3) are both exponential staircases: 0.94 every 2 epochs on
ImageNet, 0.9 every 3,000,000 samples on JFT. Because a schedule looks at samples and not at calls,
it needs no state of its own, and a resumed run is on the right rung by construction.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Position:
    """Where a run stands.

    Attributes:
        samples: Images seen by the optimizer so far, over all devices.
        samples_per_epoch: Images in one epoch.
        batch_size: Images per optimizer step, over all devices.
        total_samples: Images that the whole run will see.
    """

    samples: int
    samples_per_epoch: int
    batch_size: int
    total_samples: int


Schedule = Callable[[Position], float]  # the factor on the optimizer's learning rate, ≥ 0


@dataclass(frozen=True)
class LearningRate:
    """The learning rate of each optimizer step.

    Attributes:
        initial: Already scaled to the batch.
        schedule: The factor on it.
        batch_size: Images per optimizer step, over all devices.
        samples_per_epoch: Images in an epoch.
        total_samples: Images in the whole run.
    """

    initial: float
    schedule: Schedule
    batch_size: int
    samples_per_epoch: int
    total_samples: int

    def __call__(self, step: int) -> float:
        """The rate of step ``step``, counted from 0."""
        return self.initial * self.schedule(
            Position(
                samples=step * self.batch_size,
                samples_per_epoch=self.samples_per_epoch,
                batch_size=self.batch_size,
                total_samples=self.total_samples,
            )
        )


def constant() -> Schedule:
    """The learning rate never changes."""
    return lambda position: 1.0


def exponential(
    *,
    factor: float = 0.94,
    every: float = 2.0,
    unit: Literal["epochs", "samples", "steps"] = "epochs",
    staircase: bool = True,
) -> Schedule:
    """The paper's schedule: multiplied by ``factor`` every so many epochs, samples or steps.

    Args:
        factor: What the learning rate is multiplied with; 0.94 on ImageNet, 0.9 on JFT.
        every: How often, in units; 2 epochs on ImageNet, 3,000,000 samples on JFT.
        unit: What ``every`` counts. Epochs count exactly the images of one pass.
        staircase: Whether it falls in steps instead of continuously.
    """
    if not 0 < factor <= 1:
        raise ValueError(f"schedule.factor must be in (0, 1], not {factor}")
    if every <= 0:
        raise ValueError(f"schedule.every must be positive, not {every}")

    def at(position: Position) -> float:
        samples_per_unit = {
            "epochs": position.samples_per_epoch,
            "samples": 1,
            "steps": position.batch_size,
        }[unit]
        # Divided in one go: samples / per / every would round 2.9999999 below a rung.
        rungs = position.samples / (samples_per_unit * every)
        return float(factor ** (math.floor(rungs) if staircase else rungs))

    return at


def cosine(*, warmup_epochs: float = 0.0, final_factor: float = 0.0) -> Schedule:
    """A linear warm-up from 0, then half a cosine down to ``final_factor``.

    Deviation: not in the paper; for small data sets and fine-tuning, where it needs fewer epochs.

    Args:
        warmup_epochs: Length of the warm-up, in epochs.
        final_factor: The factor at the end of the run, 0 to 1.
    """
    if warmup_epochs < 0:
        raise ValueError(f"schedule.warmup_epochs must not be negative, not {warmup_epochs}")
    if not 0 <= final_factor <= 1:
        raise ValueError(f"schedule.final_factor must be in [0, 1], not {final_factor}")

    def at(position: Position) -> float:
        warmup = warmup_epochs * position.samples_per_epoch
        # The middle of the step's samples, so that the first step's rate is not 0.
        now = position.samples + position.batch_size / 2
        if now < warmup:
            return now / warmup
        span = max(position.total_samples - warmup, 1)
        progress = min((now - warmup) / span, 1.0)
        return final_factor + (1 - final_factor) * (1 + math.cos(math.pi * progress)) / 2

    return at


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "exponential": exponential,
    "cosine": cosine,
}
