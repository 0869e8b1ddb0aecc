"""Objects at a URL, by pyarrow: ``s3://bucket/prefix`` and whatever else pyarrow opens. Whole objects only: no store appends.

Credentials and endpoint come from the environment as AWS's own tools read them (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_PROFILE, AWS_ENDPOINT_URL, AWS_DEFAULT_REGION), never from the URL. A store that hangs is an error after seconds.
Proof: ``tests/record/test_mirror.py``, against a real S3 server.
"""

from __future__ import annotations

import os
import re
from typing import Any

from fsg.errors import BackendUnavailable, ConfigError
from fsg.redaction import redact

SCHEMES = ("s3", "gs", "hdfs", "abfs")
CONNECT_SECONDS, ANSWER_SECONDS, TRIES = 5, 20, 2
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)*")


def is_url(text: str) -> bool:
    """Whether ``text`` names a place that is no folder of this machine."""
    return text.partition("://")[0] in SCHEMES and "://" in text


class RemoteFolder:
    """The objects below ``url``. Every failure of the store is BackendUnavailable with its reason."""

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.rstrip("/").partition("://")
        if not is_url(url) or not rest or "@" in rest or "?" in rest:
            raise ConfigError(
                f"{redact(url)}: expected an address such as s3://bucket/folder, of {', '.join(SCHEMES)}; "
                "what it needs to log in belongs into the environment, as in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        self.url, self._rest = f"{scheme}://{rest}", rest
        self._system = self._asked(lambda: _open(scheme, self.url))

    def listing(self) -> dict[str, tuple[int, float]]:
        """Name -> (bytes, unix time it was written) of every object; {} where there is none."""
        from pyarrow.fs import FileSelector, FileType

        found = self._asked(
            lambda: self._system.get_file_info(FileSelector(self._rest, recursive=True, allow_not_found=True))
        )
        files = {f.path.removeprefix(f"{self._rest}/"): f for f in found if f.type == FileType.File}
        return {name: (f.size, f.mtime.timestamp() if f.mtime else 0.0) for name, f in files.items() if safe(name)}

    def put(self, name: str, data: bytes) -> None:
        """Write an object whole: a reader sees the old one or the new one."""

        def write() -> None:
            with self._system.open_output_stream(f"{self._rest}/{name}") as stream:
                stream.write(data)

        self._asked(write)

    def get(self, name: str) -> bytes:
        """An object's bytes."""

        def read() -> bytes:
            with self._system.open_input_stream(f"{self._rest}/{name}") as stream:
                data: bytes = stream.read()
                return data

        return self._asked(read)

    def _asked(self, question: Any) -> Any:
        try:
            return question()
        except ImportError:
            raise BackendUnavailable(f"{self.url}: pyarrow is needed to reach it; install it.") from None
        except Exception as error:  # pyarrow raises OSError, ArrowInvalid, ArrowNotImplementedError
            reason = (redact(str(error)).strip().splitlines() or [type(error).__name__])[0][:200]
            raise BackendUnavailable(f"{self.url}: the store cannot be used ({reason}).") from None


def safe(name: str) -> bool:
    """Whether an object's name is one of ours: it never leaves the folder that it is written to."""
    return bool(_NAME.fullmatch(name)) and not {".", ".."} & set(name.split("/"))


def _open(scheme: str, url: str) -> Any:
    from pyarrow import fs

    if scheme != "s3":
        return fs.FileSystem.from_uri(url)[0]
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return fs.S3FileSystem(
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        endpoint_override=endpoint.partition("://")[2] or None,
        scheme=endpoint.partition("://")[0] or "https",
        connect_timeout=CONNECT_SECONDS,
        request_timeout=ANSWER_SECONDS,
        allow_delayed_open=True,  # one request an object, not four
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=TRIES),
    )
