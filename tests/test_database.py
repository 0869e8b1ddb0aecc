"""Proof of fsg/database.py: what SQLAlchemy is given for what a person wrote."""

import importlib.util
from pathlib import Path

import pytest

from fsg.database import sqlalchemy_address, sqlite_path, with_environment
from fsg.errors import BackendUnavailable, ConfigError


@pytest.mark.parametrize(
    ("written", "opened"),
    [
        ("postgresql://me@db:5432/runs", "postgresql+psycopg2://me@db:5432/runs"),
        ("postgresql://me:p%40w@db/runs?sslmode=require", "postgresql+psycopg2://me:p%40w@db/runs?sslmode=require"),
        ("postgres://me@db/runs", "postgresql+psycopg2://me@db/runs"),
        ("postgresql+psycopg2://me@db/runs", "postgresql+psycopg2://me@db/runs"),
        ("sqlite:////var/runs.db", "sqlite:////var/runs.db"),
        ("sqlite+pysqlite:////var/runs.db?timeout=30", "sqlite:////var/runs.db?timeout=30"),
        ("sqlite:////var/a%20b.db", "sqlite:////var/a b.db"),
        ("sqlite:///here.db", f"sqlite:///{Path.cwd()}/here.db"),
        ("sqlite:///~/runs.db", f"sqlite:///{Path.home()}/runs.db"),
    ],
)
def test_an_address_names_its_driver_and_where_its_file_is(written, opened):
    assert sqlalchemy_address(written) == opened
    assert sqlalchemy_address(opened) == opened
    if opened.startswith("sqlite"):
        assert f"sqlite:///{sqlite_path(written)}" == opened.partition("?")[0]
    else:
        assert sqlite_path(written) is None


def test_postgresql_falls_back_on_psycopg_3_where_there_is_no_other(monkeypatch):
    """And is refused with what to install where there is neither."""
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "psycopg2" else real(name))
    if real("psycopg"):
        assert sqlalchemy_address("postgresql://me@db/x").startswith("postgresql+psycopg://")
    monkeypatch.setitem(__import__("sys").modules, "psycopg2", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name.startswith("psycopg") else real(name))
    with pytest.raises(BackendUnavailable) as refused:
        sqlalchemy_address("postgresql://me:hush@db/x")
    assert str(refused.value) == ('postgresql://***@db/x needs the Python package psycopg2: pip install "fsg[server]".')


def test_a_driver_that_is_not_installed_is_named():
    if importlib.util.find_spec("pymysql"):
        pytest.skip("pymysql is installed")
    with pytest.raises(
        BackendUnavailable, match=r"^mysql\+pymysql://\*\*\*@db/x needs the Python package pymysql, which"
    ):
        sqlalchemy_address("mysql+pymysql://me:hush@db/x")


@pytest.mark.parametrize(
    "address",
    [
        "ftp://me:hush@db/x",
        "postgresql://me:hush@db:port/x",
        "postgresql+carrier://me:hush@db/x",
        "db.sqlite",
        "sqlite://here.db",
        "sqlite://",
    ],
)
def test_what_is_no_address_of_a_database_is_refused_without_its_password(address):
    with pytest.raises(ConfigError, match=r"is no address of a database. Expected sqlite:///FILE.db") as refused:
        sqlalchemy_address(address)
    assert "hush" not in str(refused.value)


def test_variables_are_put_in_and_one_that_is_not_set_is_named(monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "pw")
    monkeypatch.delenv("DB_HOST", raising=False)
    assert with_environment("postgresql://me:${DB_PASSWORD}@db/x") == "postgresql://me:pw@db/x"
    with pytest.raises(ConfigError, match="the environment has no variable DB_HOST; set it"):
        with_environment("postgresql://me:${DB_PASSWORD}@${DB_HOST}/x")
