"""What the files of guests register is known to this process until it is taken out."""

from collections.abc import Iterable

from fsg import plugins
from fsg.parts import forget


def forget_files(names: Iterable[str]) -> None:
    """As if the plug-ins of these names had never been read."""
    for name in names:
        forget(name)
        plugins._current.pop(name, None)
