"""Plug-ins: Python files that register parts, named by a study, by ``--plugin``, or installed under an entry point.

A file is one module. It is executed once for each content, here and in every worker: a trial's configuration names its
plug-ins by file name and digest, and carries their text when it is pickled. A study keeps a copy (``plugins/``), so it can be
read and gone on with when the file is elsewhere. Installed packages are found by the entry-point group ``fsg.components``,
whose values are modules; the digest of one is that of its version and its module's text.
Proof: ``tests/test_plugins.py``.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import linecache
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated

from pydantic import Field

from fsg.errors import ConfigError
from fsg.files import user_path
from fsg.nearest import nearest, suggestion
from fsg.parts import DIGITS, Part, Source, forget, guests, readmit, registered_by
from fsg.section import Section

GROUP = "fsg.components"
FOLDER = "plugins"  # in a study's folder
_MODULE = "fsg_plugin_"  # begins the name of a plug-in's module, which its digest ends
_MOST_BYTES = 1_000_000  # it travels with every trial


class PluginRef(Section):
    """A plug-in as a trial knows it: the name of its file, and the first digits of its SHA-256.

    Args:
        file: Its name.
        sha256: The first digits of its SHA-256.
    """

    file: Annotated[str, Field(pattern=r"^[^/\\]+\.py$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]

    @property
    def kept_as(self) -> str:
        """Its file in a study's folder, beside those of other contents."""
        return f"{self.file.removesuffix('.py')}.{self.sha256[:8]}.py"


@dataclass(frozen=True, slots=True)
class _Loaded:
    text: str
    parts: tuple[Part, ...]


_loaded: dict[PluginRef, _Loaded] = {}
_current: dict[str, PluginRef] = {}  # file -> which of its contents is registered


def load_plugin(path: str | Path) -> PluginRef:
    """Execute the plug-in at ``path``, unless its content is known already. What it registers can be named from here on.

    ConfigError, with its own file and line where it has one, for a file that is missing, is no Python, raises, or registers what
    cannot be.
    """
    path = user_path(path)
    try:
        content = path.read_bytes()
        text = content.decode()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        near = nearest(path.name, (p.name for p in path.parent.glob("*.py"))) if path.parent.is_dir() else None
        what = "is a folder; name a file of it" if path.is_dir() else "no such plug-in"
        raise ConfigError(f"{path}: {what}.{suggestion(near and str(path.parent / near))}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the plug-in cannot be read ({error}).") from None
    if path.suffix != ".py":
        raise ConfigError(f"{path}: a plug-in is a Python file, with a name that ends in .py.")
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{path}: {len(content):,} bytes; a plug-in has at most {_MOST_BYTES:,}. Install a package.")
    ref = PluginRef(file=path.name, sha256=_digest(text))
    _execute(ref, text, str(path))
    return ref


def load_kept(ref: PluginRef, folder: Path) -> None:
    """Execute a study's own copy. ConfigError where it is missing or another content."""
    if ref in _loaded:
        return activate([ref])
    path = folder / FOLDER / ref.kept_as
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: the study's copy of its plug-in {ref.file} cannot be read ({error}). Put back the file whose SHA-256 "
            f"begins {ref.sha256}."
        ) from None
    if _digest(text) != ref.sha256:
        raise ConfigError(
            f"{path}: the study's copy of its plug-in was changed: its SHA-256 begins {_digest(text)}, not {ref.sha256}. "
            "Put it back; to go on with another, name it in the study's file."
        )
    _execute(ref, text, str(path))


def load_texts(texts: Iterable[tuple[str, str]]) -> None:
    """Execute plug-ins that came as (file name, text), in a process that has no file of them."""
    for file, text in texts:
        _execute(PluginRef(file=file, sha256=_digest(text)), text, file)


def text_of(ref: PluginRef) -> str:
    """The text of a plug-in that was loaded."""
    found = _loaded.get(ref)
    if found is None:
        raise ConfigError(f"the plug-in {ref.file} with SHA-256 {ref.sha256}... is not loaded; name it by --plugin.")
    return found.text


def activate(refs: Iterable[PluginRef]) -> None:
    """Let these contents of their files be the ones whose parts are meant, of those that were loaded.

    Two studies may have been begun with two contents of one file, and be read by one program.
    """
    for ref in refs:
        if ref in _loaded and _current.get(ref.file) != ref:
            forget(ref.file)
            readmit(_loaded[ref].parts)
            _current[ref.file] = ref


def set_aside(ref: PluginRef) -> None:
    """Take out what this plug-in registered, until it is loaded again."""
    if _current.get(ref.file) == ref:
        forget(ref.file)
        del _current[ref.file]


@functools.cache
def load_installed() -> None:
    """Import the modules that installed packages name under GROUP; once a process. ConfigError for one that fails."""
    for entry in importlib.metadata.entry_points(group=GROUP):
        package = f"{entry.dist.name}=={entry.dist.version}" if entry.dist else entry.name
        try:
            spec = importlib.util.find_spec(entry.module)
            text = Path(spec.origin).read_text() if spec is not None and spec.origin else ""
            with registered_by(Source(package, _digest(package + text), "package")):
                importlib.import_module(entry.module)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"{package}: its module {entry.module}, named under {GROUP}, cannot be imported "
                f"({type(error).__name__}: {error}). Mend it, or: pip uninstall {package.partition('==')[0]}"
            ) from None


def installed() -> dict[str, str]:
    """The packages that register parts, with their versions: what two machines must have alike."""
    found = (entry.dist for entry in importlib.metadata.entry_points(group=GROUP))
    return {dist.name: dist.version for dist in found if dist is not None}


def same_file(one: str, other: str) -> bool:
    """Whether two modules, by their names, are contents of one plug-in: it was edited between them."""
    return one.startswith(_MODULE) and one.rpartition("_")[0] == other.rpartition("_")[0]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _execute(ref: PluginRef, text: str, path: str) -> None:
    if ref in _loaded:
        return activate([ref])
    forget(ref.file)  # of another content: edited since, or another study's
    _current.pop(ref.file, None)
    name = f"{_MODULE}{ref.file.removesuffix('.py')}_{ref.sha256[:8]}"
    source = Source(ref.file, ref.sha256, "file")
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module  # pydantic looks there for what annotations name
    # For tracebacks and inspect, also where no such file exists.
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    try:
        with registered_by(source):
            exec(compile(text, path, "exec"), module.__dict__)
    except ConfigError:
        forget(ref.file)
        raise
    except SyntaxError as error:
        raise ConfigError(f"{path}:{error.lineno or 1}: the plug-in is no Python: {error.msg}.") from None
    except (Exception, SystemExit) as error:
        forget(ref.file)
        frames = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        raise ConfigError(f"{path}:{frames[-1] if frames else 1}: the plug-in raised {said}.") from None
    _loaded[ref] = _Loaded(text, tuple(each for each in guests() if each.source == source))
    _current[ref.file] = ref
