"""Warnings of the libraries, in one sentence that a user of this command can act on."""

import re

REWORDED = {
    r"This DataLoader will create (\d+) worker processes in total\. "
    r"Our suggested max number of worker in current system is (\d+)": (
        r"more loader processes (\1) than usable CPU cores (\2); fewer may be faster"
    ),
    r"The number of training batches \((\d+)\) is smaller than the logging interval "
    r"Trainer\(log_every_n_steps=(\d+)\)": (
        r"steps per epoch: \1, but metrics.csv gets a training row only every \2; lower "
        r"trainer.log_every_n_steps for more"
    ),
}


def reword(message: str) -> str:
    r"""A warning on one line, in this project's words where it has some.

    Args:
        message: What the library says.

    Example:
        >>> reword("Something\n  happened.")
        'Something happened.'
        >>> reword("The number of training batches (1) is smaller than the logging interval "
        ...        "Trainer(log_every_n_steps=10). Set a lower value.")[:61]
        'steps per epoch: 1, but metrics.csv gets a training row only '
    """
    line = " ".join(message.split())
    for pattern, words in REWORDED.items():
        found = re.search(pattern, line)
        if found:
            return found.expand(words)
    return line
