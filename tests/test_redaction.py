"""Proof of fsg/redaction.py: passwords that never show."""

import pytest

from fsg.redaction import has_password, redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:pw@host:5000/x", "http://***@host:5000/x"),
        ("postgresql+psycopg2://u:p%40ss@db/mlflow failed", "postgresql+psycopg2://***@db/mlflow failed"),
        ("http://token@host and https://a:b@c", "http://***@host and https://***@c"),
        ("http://user:p/w@host/x", "http://***@host/x"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("http://host:5000/#/experiments/1", "http://host:5000/#/experiments/1"),
        ("mail me@home about http://host/", "mail me@home about http://host/"),
        ("http://host/x?sslmode=a&password=pw&x=1", "http://host/x?sslmode=a&password=***&x=1"),
        ('is "me:pw@host", expected', 'is "***@host", expected'),
        ("s3://b?secret_key=abc", "s3://b?secret_key=***"),
    ],
)
def test_redacted_address_shows_no_login(text, shown):
    assert redact(text) == shown


def test_value_of_a_secret_variable_shows_nowhere(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-and-more")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "abc")  # too short to be told from text
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/home/me/token")  # a path, no secret
    assert (
        redact("login hunter2 and hunter2-and-more of abc in /home/me/token")
        == "login *** and *** of abc in /home/me/token"
    )


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("postgresql://me:pw@db/x", True),
        ("postgresql://me:${PASSWORD}@db/x", False),
        ("postgresql://me@db/x", False),
        ("postgresql://db/x", False),
        ("postgresql://me:pw${X}@db/x", True),
        ("postgresql://db/x?user=me&password=pw", True),
        ("postgresql://db/x?user=me&password=${PASSWORD}", False),
    ],
)
def test_a_password_written_into_an_address_is_told_from_one_read_from_the_environment(address, found):
    assert has_password(address) is found
