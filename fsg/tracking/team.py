"""``fsg ui --server FILE``: one MLflow server for a team, with a login: SQLite on one machine, or PostgreSQL and S3.

The file holds no secret. The first administrator's password comes from $MLFLOW_AUTH_ADMIN_PASSWORD, the database's from
$PGPASSWORD or ~/.pgpass, S3's keys from where boto3 looks; none stands on a command line, where every user of the machine
could read it. Proof: ``tests/tracking/test_team_server.py``.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fsg.database import absolute_address, sqlalchemy_address, sqlite_path
from fsg.errors import BackendUnavailable, ConfigError
from fsg.files import user_path
from fsg.redaction import redact
from fsg.tracking.schema import RUNS, USERS, refuse_unless_current, upgrade
from fsg.tracking.server import START_SECONDS, TrackingServer, launch
from fsg.yaml_source import read_yaml, validated

ADMIN_PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"
SESSION_KEY = "MLFLOW_FLASK_SERVER_SECRET_KEY"
LOGIN_SECONDS = 60  # a password that was right stays right this long: three times the requests a second
NEEDS = {"flask_wtf": "the login", "psycopg2": "PostgreSQL", "boto3": "S3"}


class Login(BaseModel):
    """Who may do what: ``admin`` makes the other users; ``everyone`` is what they may do with runs of others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    admin: Annotated[str, Field(min_length=1, pattern=r"^[^\s:%]+$")] = "admin"
    everyone: Literal["READ", "EDIT", "MANAGE", "NO_PERMISSIONS"] = "EDIT"


class TeamServer(BaseModel):
    """Where the server listens, who may call it by which name, and where it keeps runs and files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store: str
    artifacts: str
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 5000
    allowed_hosts: tuple[str, ...] = ()
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    s3_endpoint: str | None = None
    login: Login = Login()

    @field_validator("store")
    @classmethod
    def _known_store(cls, store: str) -> str:
        store = absolute_address(store) if store.startswith("sqlite:///~") else store
        if not store.startswith(("sqlite:////", "postgresql://")):
            raise ValueError(
                f'is "{redact(store)}", expected sqlite:////ABSOLUTE/PATH.db or postgresql://USER@HOST/DATABASE.'
            )
        return store

    @field_validator("artifacts")
    @classmethod
    def _known_artifacts(cls, artifacts: str) -> str:
        artifacts = artifacts if artifacts.startswith("s3://") else str(user_path(artifacts))
        if not artifacts.startswith(("/", "s3://")):
            raise ValueError(f'is "{redact(artifacts)}", expected an absolute folder or s3://BUCKET/FOLDER.')
        return artifacts

    @field_validator("store", "artifacts", "s3_endpoint")
    @classmethod
    def _without_password(cls, address: str | None) -> str | None:
        if address and re.search(r"://[^/@\s]*:[^/\s]*@|password=", address):
            raise ValueError(
                f'is "{redact(address).partition("?")[0]}" with a password, which everyone who reads this file would have. '
                "Leave it out: PostgreSQL's comes from ~/.pgpass or $PGPASSWORD, S3's keys from the environment."
            )
        return address

    @model_validator(mode="after")
    def _named_hosts(self) -> TeamServer:
        if self.host not in ("127.0.0.1", "localhost", "::1") and not self.allowed_hosts:
            raise ValueError(
                f"host {self.host} can be reached from other machines, so allowed_hosts must list the names that they "
                "call it by, as in [mlflow.example.org]."
            )
        return self

    @property
    def needs(self) -> list[str]:
        """The modules this server imports beyond what fsg needs."""
        database = ["psycopg2"] if self.store.startswith("postgresql") else []
        return ["flask_wtf", *database, *(["boto3"] if self.artifacts.startswith("s3://") else [])]


def load_team_server(path: str | Path) -> TeamServer:
    """The server that a YAML file describes. ConfigError with file and line for whatever it cannot be."""
    return validated(TeamServer, read_yaml(path))


def serve_team(
    team: TeamServer,
    timeout: float = START_SECONDS,
    upgrade_store: bool = False,
    say: Callable[[str], None] = print,
) -> TrackingServer:
    """Start the server and wait until it answers.

    Databases of an older MLflow are converted if ``upgrade_store`` says so; what is done goes to ``say``.

    ConfigError without a first password, BackendUnavailable where a package is missing, MLflow would convert a database, the
    port is taken or the server does not come up; the end of its log is shown without passwords.
    """
    missing = [f"{name} ({NEEDS[name]})" for name in team.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendUnavailable(f'The server needs {", ".join(missing)}: pip install "fsg[server]"')
    store, path = sqlalchemy_address(team.store), sqlite_path(team.store)
    users = store if path is None else f"sqlite:///{path.with_name(path.stem + '-users.db')}"
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (sqlite_path(users) or path).exists() and not os.environ.get(ADMIN_PASSWORD):
            raise ConfigError(
                f"${ADMIN_PASSWORD} is not set: the first start makes the user {team.login.admin} with that password."
            )
    for address, migrations in ((store, RUNS), (users, USERS)):
        if upgrade_store:
            upgrade(address, say, migrations)
        refuse_unless_current(address, migrations)
    with NamedTemporaryFile("w", prefix="fsg-mlflow-", suffix=".ini", delete=False) as login:  # mode 0600
        login.write(
            "; Users live beside the runs: in a file of their own, or in the same database.\n"
            f"[mlflow]\ndefault_permission = {team.login.everyone}\ndatabase_uri = {users.replace('%', '%%')}\n"
            f"admin_username = {team.login.admin}\nauth_cache_ttl_seconds = {LOGIN_SECONDS}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
    environment = {
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_ARTIFACTS_DESTINATION": team.artifacts,
        "MLFLOW_AUTH_CONFIG_PATH": login.name,
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(_own_names(team) + list(team.allowed_hosts)),
        SESSION_KEY: os.environ.get(SESSION_KEY) or secrets.token_hex(32),
        **({"MLFLOW_S3_ENDPOINT_URL": team.s3_endpoint} if team.s3_endpoint else {}),
    }
    options = ["--app-name", "basic-auth", "--workers", str(team.workers)]
    return launch(team.host, team.port, options, environment, timeout, leftovers=[Path(login.name)])


def _own_names(team: TeamServer) -> list[str]:
    return list(dict.fromkeys(f"{host}:{team.port}" for host in ("127.0.0.1", "localhost", team.host)))
