"""Where a study is found: by name in the storage, by path, or at a URL, from which it is fetched into ./studies first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fsg.errors import StudyError
from fsg.files import user_path
from fsg.remote import is_url
from fsg.report.plain import say

if TYPE_CHECKING:
    from rich.console import Console

    from fsg.record.folder import StudyFolder
    from fsg.record.mirror import FollowingMirror
    from fsg.study.spec import AblationSpec, SweepSpec

STUDIES = Path("studies")


def open_study(study: str, storage: str) -> StudyFolder:
    """The study of that name or path, or the one at that URL. StudyError where there is none."""
    from fsg.record.folder import StudyFolder, find_study
    from fsg.record.mirror import Mirror

    if not is_url(study) and not is_url(storage):
        return find_study(study, storage)
    url = study.rstrip("/") if is_url(study) else f"{storage.rstrip('/')}/{study}"
    folder = StudyFolder(STUDIES / url.rpartition("/")[2])
    mirror = Mirror(folder, url)
    if not mirror.fetch():
        raise StudyError(f"{mirror.url}: there is no study. Begin one with: fsg ablate FILE --storage URL")
    return folder


def local(storage: str) -> Path:
    """The folder in which the studies of a storage are worked on."""
    return STUDIES if is_url(storage) else user_path(storage)


def fetched(name: str, storage: str) -> Path:
    """``local(storage)``, with the study of that name brought there if it has a copy at the URL."""
    from fsg.record.folder import StudyFolder
    from fsg.record.mirror import Mirror

    if is_url(storage):
        Mirror(StudyFolder(STUDIES / name), f"{storage.rstrip('/')}/{name}").fetch()
    return local(storage)


def begin_study(spec: AblationSpec | SweepSpec, storage: str, accept_changes: bool = False) -> StudyFolder:
    """The folder of ``spec``, made or gone on with; where ``storage`` is a URL, in ./studies with its copy there."""
    from fsg.record.folder import StudyFolder
    from fsg.record.mirror import remember

    folder = StudyFolder.create_or_open(spec, fetched(spec.name, storage), accept_changes)
    if is_url(storage):
        remember(folder, f"{storage.rstrip('/')}/{spec.name}")
    return folder


@contextmanager
def copied(folder: StudyFolder, console: Console) -> Iterator[FollowingMirror | None]:
    """Keep the folder's copy up to date if it has one; at the end say what is not there."""
    from fsg.record.mirror import FollowingMirror, mirror_of

    mirror = mirror_of(folder)
    if mirror is None:
        yield None
        return
    following = FollowingMirror(mirror)
    try:
        yield following
    finally:
        behind = following.close()
        done = f"Copied to {mirror.url}; another machine goes on with: fsg resume {mirror.url}"
        say(console, behind or done, "yellow" if behind else "")


def where_it_ran(folder: StudyFolder) -> StudyFolder:
    """The study, with the folder that it last ran in as working folder: relative paths in its file are seen from there."""
    from fsg.record.folder import StudyFolder
    from fsg.record.surroundings import surroundings_of

    working = surroundings_of(folder.path).working_folder
    if working is None or working == Path.cwd():
        return folder
    place = folder.path.resolve()
    os.chdir(working)
    return StudyFolder(place)  # whole, so that what is said of it can be typed in the folder that the user is in
