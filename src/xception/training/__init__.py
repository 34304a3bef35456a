"""Training: the loop, optimizers, schedules, Polyak averaging, exact resume."""
