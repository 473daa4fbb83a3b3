"""Names of files, folders and classes: which are hidden, which are parts, how two are compared and how one is shown."""

import unicodedata

from theory.numerics.commands import visible

Place = tuple[str, ...]

# Names of a part's folder, whatever their case.
PART_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
# What programs leave behind, beside names that begin with a dot.
LEFT_BEHIND = ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")


def part_of(name: str) -> str | None:
    """train, validation or test, if a folder of this name is one."""
    folded = name.casefold()
    return next((part for part, names in PART_NAMES.items() if folded in names), None)


def is_part(name: str) -> bool:
    """Whether a folder of this name is a part."""
    return part_of(name) is not None


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over."""
    return name.startswith(".") or name in LEFT_BEHIND


def class_name(name: str) -> str:
    """A folder's name as a class: composed (Unicode's NFC), since systems differ in how they write an accent."""
    return printable(unicodedata.normalize("NFC", name))


def printable(name: str) -> str:
    """A name on one line, whatever is in it."""
    return visible(name, keep="")


def shortened(text: str, width: int) -> str:
    """A text of at most so many columns of a terminal; what is left out of it is three dots."""
    if columns(text) <= width:
        return text
    kept, used = "", 0
    for each in text:
        used += columns(each)
        if used > width - 3:
            break
        kept += each
    return kept + "..."


def columns(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF") for each in text)
