"""The errors that are told in one sentence instead of a traceback."""


class InputError(ValueError):
    """Something that the user gave is wrong: the message names the culprit and the remedy.

    The command line prints the message alone and exits with 2.
    """


class RunFailedError(RuntimeError):
    """A run that was asked for correctly could not be finished: NaN, no space on the device.

    The command line prints the message alone and exits with 3.
    """


def count_of(number: int, noun: str) -> str:
    """A number with its noun.

    Args:
        number: How many.
        noun: In the singular; its plural ends in s.

    Example:
        >>> count_of(1, "image"), count_of(2345, "image")
        ('1 image', '2,345 images')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def nearest(wrong: str, valid: list[str]) -> str:
    """Returns ``"; did you mean 'x'?"`` for the valid name closest to a wrong one, or ``""``.

    Args:
        wrong: The name that was given.
        valid: The names that exist.

    Example:
        >>> nearest("xcepton", ["xception", "inception_v3"])
        "; did you mean 'xception'?"
        >>> nearest("quux", ["xception", "inception_v3"])
        ''
    """
    import difflib

    close = difflib.get_close_matches(wrong, valid, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
