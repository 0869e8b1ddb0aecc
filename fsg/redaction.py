"""Text without secrets: what every message, log line and ledger entry passes through before anyone reads it.

Three things are replaced by ``***``: user and password inside an address, the value of a query item that is called
password, token, secret or key, and wherever it stands the value of an environment variable whose name ends like that.
Proof: ``tests/test_redaction.py``; planted in a whole study: ``tests/cli/test_secrets.py``.
"""

from __future__ import annotations

import os
import re

SHOWN = "***"
_LOGIN = re.compile(r"(?<=://)[^/\s@'\"]*(?:/[^\s@'\"]*)?@(?=[^\s/@])")
_BARE = re.compile(r"(?<![^\s'\"(=])[^\s:/@'\"(=]+:[^\s/@'\"]+@(?=[^\s/@])")  # an address whose scheme was forgotten
_QUERY = re.compile(r"(?i)([?&][a-z_-]*(?:password|passwd|token|secret|key)=)[^&\s'\"]+")
_NAMES = re.compile(r"(?:PASSWORD|PASSWD|TOKEN|SECRET|API_KEY|ACCESS_KEY|CREDENTIALS?)$")
_LEAST = 4  # letters: shorter values stand in every other word


def redact(text: str) -> str:
    """``text`` without the secrets that it can be seen to hold: ``http://***@host/``."""
    for value in _secrets():
        text = text.replace(value, SHOWN)
    for login in (_LOGIN, _BARE):
        text = login.sub(f"{SHOWN}@", text)
    return _QUERY.sub(rf"\1{SHOWN}", text)


def is_secret(name: str) -> bool:
    """Whether the environment's variable of that name holds a secret."""
    return bool(_NAMES.search(name.upper()))


def has_password(address: str) -> bool:
    """Whether an address holds a password in clear; ``${NAME}``, which is read from the environment, is none."""
    login = _LOGIN.search(address)
    found = [login[0].partition(":")[2].removesuffix("@")] if login else []
    found += [item[0].partition("=")[2] for item in _QUERY.finditer(address)]
    return any(secret and not re.fullmatch(r"\$\{\w+\}", secret) for secret in found)


def _secrets() -> list[str]:
    """The values of the environment's secrets, longest first, so that none is cut by another that it contains."""
    found = {value for name, value in os.environ.items() if is_secret(name) and len(value) >= _LEAST}
    return sorted(found, key=len, reverse=True)
