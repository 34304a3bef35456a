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
        names = lines_of(path)
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file in UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise InputError(
            f"cannot read the class list {path} ({error.strerror}); write one class name to a line"
        ) from None
    if "" in names:
        raise InputError(
            f"{path}, line {names.index('') + 1} is blank; name the class or remove it"
        )
    require_class_names(names, str(path))
    return names


def lines_of(path: Path) -> list[str]:
    """The lines of a text file, bare of blanks around them and without blank ones at the end.

    A line ends as an editor ends it, not, as with ``splitlines``, at characters that a name may
    hold, such as U+2028. A byte order mark is passed over.

    Raises:
        OSError: The file can't be read.
        UnicodeDecodeError: It is not UTF-8.
    """
    text = path.read_text(encoding="utf-8-sig").rstrip()
    return [line.strip() for line in text.split("\n")] if text else []


def is_text(name: str) -> bool:
    """Whether a name can be written in UTF-8: one of bytes that a folder was called by may not."""
    return name.encode("utf-8", "ignore").decode() == name


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
