"""``--notify``: a command or a web address is told how a run of a study ended. That it could not be told is a sentence, no error.

A command gets the notice as JSON on its standard input, an address by POST; its ``text`` is what chats such as Slack and
Mattermost show. Proof: ``tests/driver/test_notify.py``.
"""

from __future__ import annotations

import http.client
import json
import shlex
import subprocess
import urllib.request
from collections import Counter
from typing import Any, Literal
from urllib.parse import urlsplit

from fsg.errors import FsgError
from fsg.record.folder import StudyFolder
from fsg.redaction import redact

SECONDS = 30.0  # that a command or an address has
Ending = Literal["complete", "failed", "interrupted", "error"]
_WORDS = {
    "complete": "is complete",
    "failed": "is complete, but trials failed",
    "interrupted": "was stopped",
    "error": "broke off",
}


def notice_of(folder: StudyFolder, ending: Ending, seconds: float, reasons: tuple[str, ...] = ()) -> dict[str, Any]:
    """How a run ended, as data: ``complete``; ``failed``: complete, with trials that failed; ``interrupted``; ``error``.

    ``trials``: status -> how many. ``reasons``: what failed, in sentences. ``text``: all of it in one.
    """
    try:
        trials = dict(Counter(trial.status for trial in folder.state().trials.values()))
    except FsgError:  # a ledger that cannot be read is what ``reasons`` tells of
        trials = {}
    counts = ", ".join(f"{count} {status}" for status, count in trials.items())
    text = f"fsg: {folder.path.name} {_WORDS[ending]}" + (f": {counts}." if counts else ".")
    said = [redact(reason) for reason in reasons]
    return {
        "study": folder.path.name,
        "path": str(folder.path.resolve()),
        "state": ending,
        "trials": trials,
        "seconds": round(seconds, 1),
        "reasons": said,
        "text": " ".join([text, *said[:1]]),
    }


def notify(target: str, notice: dict[str, Any]) -> str | None:
    """Tell ``target``; a sentence where that was not possible. An address is named by its host: the rest may be a secret."""
    body = json.dumps(notice).encode()
    try:
        if target.startswith(("http://", "https://")):
            headers = {"Content-Type": "application/json"}
            with urllib.request.urlopen(urllib.request.Request(target, body, headers), timeout=SECONDS):
                return None
        done = subprocess.run(
            shlex.split(target), input=body, stdout=2, timeout=SECONDS, check=False
        )  # 2: not among results
        return f"{_shown(target)} exited with {done.returncode}." if done.returncode else None
    except (OSError, ValueError, http.client.HTTPException, subprocess.SubprocessError) as error:
        return f"{_shown(target)} could not be told ({_why(error)})."


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no end after {SECONDS:.0f} s"
    return redact(getattr(error, "strerror", None) or str(error))


def _shown(target: str) -> str:
    return f"--notify: {urlsplit(target).hostname if '://' in target else (target.split() or ['?'])[0]}"
