"""The format of what is written to disk: one number for a study's specification, ledger, search journal and checkpoints.

Format 1 is that of fsg 0.1, whose files carry no number. Format 2 keeps paths of the machine out of a trial's identity.
Format 3 has other defaults (``CHANGED_DEFAULTS``): the digits are split by writer, and FSG's networks learn faster. A field or
an event that is added with a default needs no new format for those who read older files; a reader that meets a field, an
event or a number that it does not know says so: what a newer fsg wrote is never damage.
"""

from __future__ import annotations

from typing import Any

from fsg.errors import NewerFormat

FIRST, FORMAT = 1, 3
FORMAT_KEY = "format"


def format_of(content: Any, what: str) -> int:
    """The format that ``content``, a mapping read from ``what``, says it has; the first where it says none.

    NewerFormat for a higher one than is known here, and for what is no format at all.
    """
    found = content.get(FORMAT_KEY, FIRST)
    if type(found) is not int or found < FIRST:
        raise NewerFormat(
            f"{what}: its format is {found!r}, expected a whole number from {FIRST} to {FORMAT}. {ADVICE}"
        )
    if found > FORMAT:
        raise newer(what, f"format {found}")
    return found


def newer(what: str, how: str) -> NewerFormat:
    """The refusal of ``what``, which only a later fsg can have written: it has ``how``."""
    return NewerFormat(
        f"{what}: made by a newer fsg ({how}); this one reads up to format {FORMAT}: upgrade fsg. {ADVICE}"
    )


ADVICE = "Nothing was changed."
