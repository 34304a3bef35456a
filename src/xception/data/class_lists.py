"""The list of a data set's classes: a text file with one name to a line."""

from collections.abc import Sequence
from pathlib import Path

from xception.errors import InputError

CLASS_LIST = "classes.txt"


def read_class_list(path: Path) -> list[str]:
    """Reads the class names; a label's id is its line, from 0.

    Raises:
        InputError: There is no such file, it is not UTF-8, or has a blank or a repeated line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file in UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise InputError(
            f"cannot read the class list {path} ({error.strerror}); write one class name to a line"
        ) from None
    names = [line.strip() for line in lines]
    if "" in names:
        raise InputError(
            f"{path}, line {names.index('') + 1} is blank; name the class or remove it"
        )
    require_class_names(names, str(path))
    return names


def require_class_names(names: Sequence[str], where: str) -> None:
    """Raises where a list of classes is empty or has a name twice.

    Raises:
        InputError: It is, or has.
    """
    if not names:
        raise InputError(f"{where} names no class; write one class name to a line")
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if name in seen:
            raise InputError(
                f"{where} has the class '{name}' twice, in lines {seen[name]} and {number}; "
                "give each class its own name"
            )
        seen[name] = number
