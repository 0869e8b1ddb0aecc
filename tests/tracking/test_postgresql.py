"""A bare postgresql:// address, as people write it, wherever a database may stand: on a real PostgreSQL."""

import pytest
from fake_studies import runs_of, study
from real_servers import DATABASE, free_port

from fsg.config import digest
from fsg.database import sqlalchemy_address
from fsg.errors import BackendUnavailable
from fsg.redaction import redact
from fsg.search.proposals import Proposals
from fsg.search.samplers import make_sampler
from fsg.study.search import SearchSpec, database_of
from fsg.study.space import Space
from fsg.tracking import Exporter, serve
from fsg.tracking.schema import schema_of
from fsg.tracking.store import make_ready, open_client


@pytest.fixture
def database(postgres):
    """Makes an empty database; its address."""
    from contextlib import closing

    import psycopg2

    def make(name):
        with closing(psycopg2.connect(postgres)) as connection:
            connection.autocommit = True
            connection.cursor().execute(f"CREATE DATABASE {name}")
        return postgres.rpartition("/")[0] + f"/{name}"

    return make


def test_a_study_is_copied_into_it_and_served_from_it(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without a server between, MLflow keeps files in the working folder
    uri, events = database("runs"), study(arms=("ste",), seeds=(0,))
    assert schema_of(uri).state == "none"
    make_ready(uri, False, pytest.fail)
    Exporter(uri, events[0]).export(events)
    assert schema_of(uri).state == "current"
    with serve(uri, timeout=240) as server:
        assert set(runs_of(open_client(server.address))) == {"components", "ste", "ste/seed0"}


def test_a_search_remembers_its_points_in_it(database):
    address = database_of(SearchSpec(trials=3, storage=database("points")))
    space = Space.model_validate({"optimizer.lr": {"loguniform": [1e-4, 1e-1]}})

    def searcher(seed):
        sampler = make_sampler("random", seed, space)
        return Proposals(space, sampler, address, "val_accuracy", "max", digest, seed=seed)

    asked = [searcher(seed).ask() for seed in (1, 2)]
    assert searcher(3).recall({}) == asked


def test_an_older_store_is_refused_with_a_way_to_back_it_up_and_converted_when_told_to(database):
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine
    from mlflow.store.tracking.dbmodels.initial_models import Base

    uri = database("older")
    port = uri.rpartition(":")[2].partition("/")[0]
    engine = create_sqlalchemy_engine(sqlalchemy_address(uri))
    Base.metadata.create_all(engine)
    config = _get_alembic_config("postgresql://")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "1b5f0d9ad7c1")  # MLflow 3.10's
    engine.dispose()
    for use in (open_client, serve, lambda uri: make_ready(uri, False, pytest.fail)):
        with pytest.raises(BackendUnavailable) as refused:
            use(uri)
        command_line = f"--host=127.0.0.1 --port={port} --username=fsg --file=before-upgrade.sql older"
        assert f"add --upgrade-store once you have a backup, as from: pg_dump {command_line}; or" in redact(
            str(refused.value)
        )
    assert schema_of(uri) == ("older", "1b5f0d9ad7c1")
    said = []
    make_ready(uri, True, said.append)
    assert said == [f"Converted {sqlalchemy_address(uri).replace('fsg@', '***@')}."]
    assert schema_of(uri).state == "current"


def test_a_database_that_does_not_answer_or_refuses_holds_no_study_up(postgres, monkeypatch):
    """The ledger keeps what it misses; whoever needs it now is told."""
    away = f"postgresql://fsg@127.0.0.1:{free_port()}/postgres"
    make_ready(away, True, pytest.fail)
    events = study(arms=("ste",), seeds=(0,))
    for use in (Exporter(away, events[0]).export, lambda _: serve(away)):
        with pytest.raises(BackendUnavailable, match=r"cannot be opened: connection .* failed: Connection refused"):
            use(events)
    monkeypatch.setenv("PGPASSWORD", "a-wrong-guess-6")
    make_ready(postgres, False, pytest.fail)
    with pytest.raises(BackendUnavailable) as refused:
        Exporter(postgres, events[0]).export(events)
    assert not [secret for secret in (DATABASE, "a-wrong-guess-6") if secret in str(refused.value)]
