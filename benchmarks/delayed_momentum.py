"""How large a learning rate gradient descent with momentum bears when gradients come late.

On a quadratic with curvature h, momentum m and gradients that are τ updates old,

    w(t+1) = w(t) + m (w(t) - w(t-1)) - a h w(t-τ)

converges as long as every root of z^(τ+1) - (1+m) z^τ + m z^(τ-1) + ah lies inside the unit circle.
Printed is the greatest such ah. With τ = 0 it is 2 (1+m); with m = 0 it is 2 sin(π / (4τ + 2)).

    python benchmarks/delayed_momentum.py
"""

import math

import numpy as np

DELAYS = (0, 1, 3, 7, 15)
MOMENTA = (0.9, 0.5, 0.0)


def is_stable(rate: float, momentum: float, delay: int) -> bool:
    """Whether the iteration converges, for a rate times curvature."""
    coefficients = np.zeros(max(delay, 1) + 2)
    coefficients[:2] = 1, -(1 + momentum)
    coefficients[2] += momentum
    coefficients[1 if delay == 0 else -1] += rate
    return bool(np.abs(np.roots(coefficients)).max() < 1)


def greatest_rate(momentum: float, delay: int) -> float:
    """The greatest stable rate times curvature, to four digits."""
    low, high = 0.0, 4.0
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if is_stable(middle, momentum, delay) else (low, middle)
    return low


def main() -> None:
    for delay in DELAYS:  # what is known in closed form
        known = 2.0 if delay == 0 else 2 * math.sin(math.pi / (4 * delay + 2))
        assert abs(greatest_rate(0.0, delay) - known) < 1e-3
    assert abs(greatest_rate(0.9, 0) - 3.8) < 1e-3
    print(f"| momentum | {' | '.join(f'delay {delay}' for delay in DELAYS)} |")
    print("| --- " * (1 + len(DELAYS)) + "|")
    for momentum in MOMENTA:
        cells = [f"{greatest_rate(momentum, delay):.3f}" for delay in DELAYS]
        print(f"| {momentum} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
