"""Stores of other versions of MLflow, as MLflow 2.22.0 and 3.10.0 made them: looked at, refused, converted when told to."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fake_studies import header
from small_disks import small_disk

from fsg.errors import BackendUnavailable
from fsg.tracking import Exporter, serve
from fsg.tracking.contents import contents
from fsg.tracking.schema import RUNS, USERS, _revisions, back_up, schema_of, upgrade
from fsg.tracking.store import make_ready, open_client
from fsg.tracking.team import TeamServer, serve_team

RECORDED = sorted((Path(__file__).parent / "recorded_stores").glob("*.sql"))
OLD = pytest.mark.parametrize("old", RECORDED, ids=lambda path: path.stem)
HEAD = _revisions(RUNS.folder)[1]


def made(path, sql):
    with closing(sqlite3.connect(path)) as database:
        database.executescript(sql)
    return path


def rows(path, query):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def dump(path):
    with closing(sqlite3.connect(path)) as database:
        return list(database.iterdump())


@pytest.fixture
def store(old, tmp_path):
    return made(tmp_path / "team.db", old.read_text())


def test_revisions_read_as_text_are_those_that_alembic_finds():
    from alembic.script import ScriptDirectory
    from mlflow.server.auth.db.utils import _get_alembic_dir
    from mlflow.store.db.utils import _get_alembic_config

    folders = {RUNS: _get_alembic_config("").get_main_option("script_location"), USERS: _get_alembic_dir()}
    for migrations, folder in folders.items():
        found = ScriptDirectory(str(folder))
        assert _revisions(migrations.folder) == ({r.revision for r in found.walk_revisions()}, found.get_current_head())


def test_a_store_of_the_installed_mlflow_is_current(uri):
    assert schema_of(uri) == ("current", HEAD)
    make_ready(uri, True, pytest.fail)  # nothing to do, and nothing to say


@OLD
@pytest.mark.parametrize(
    "use",
    [
        open_client,
        lambda uri: Exporter(uri, header()).export([header()]),
        lambda uri: contents(uri, "5eed5eed"),
        lambda uri: serve(uri).stop(),
        lambda uri: make_ready(uri, False, pytest.fail),
        lambda uri: open_client(uri.replace("sqlite:", "sqlite+pysqlite:")),
    ],
    ids=["client", "exporter", "contents", "server", "command", "with a driver"],
)
def test_an_older_store_is_refused_with_what_to_do_and_stays_as_it_is(store, use):
    before = store.read_bytes()
    with pytest.raises(BackendUnavailable) as refused:
        use(f"sqlite:///{store}")
    assert "of an older MLflow than MLflow 3." in str(refused.value)
    assert "which would convert it for good" in str(refused.value)
    assert "add --upgrade-store (a backup is made beside it first); or name another store" in str(refused.value)
    assert store.read_bytes() == before
    assert [path.name for path in store.parent.iterdir()] == ["team.db"]


@pytest.mark.parametrize("old", RECORDED[1:], ids=lambda path: path.stem)  # cli/test_older_store.py: 2.22.0
def test_an_older_store_is_converted_when_told_to_beside_its_backup(store):
    uri, before, said = f"sqlite:///{store}", dump(store), []
    make_ready(uri, True, said.append)
    kept = store.with_name("team.db.before-upgrade-1")
    assert said[0].endswith(f"Its backup is {kept}.")
    assert dump(kept) == before
    assert schema_of(uri) == ("current", HEAD)
    (run,) = open_client(uri).search_runs(["1"])
    assert (run.data.metrics, run.data.params) == ({"m": 2.0}, {"a": "1"})
    make_ready(uri, True, pytest.fail)
    assert sorted(path.name for path in store.parent.iterdir()) == ["team.db", kept.name]


@pytest.mark.parametrize("old", RECORDED[1:], ids=lambda path: path.stem)
def test_a_conversion_that_fails_says_where_the_backup_is(store):
    made(store, "DROP TABLE metrics")
    before = dump(store)
    with pytest.raises(BackendUnavailable, match=r"could not convert .*may be half converted.*Its backup is") as failed:
        make_ready(f"sqlite:///{store}", True, lambda sentence: None)
    assert dump(Path(str(failed.value).rpartition("Its backup is ")[2].rstrip("."))) == before


def test_a_backup_has_what_others_wrote_and_takes_the_next_free_name(tmp_path):
    """With a log beside the file, in which the newest rows are, as a server at work has it."""
    path = tmp_path / "team.db"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE t (x)")
        writer.execute("INSERT INTO t VALUES (1)")
        writer.commit()
        writer.execute("INSERT INTO t VALUES (2)")  # not committed
        path.chmod(0o600)
        kept = [back_up(path), back_up(path)]
    assert [file.name for file in kept] == ["team.db.before-upgrade-1", "team.db.before-upgrade-2"]
    assert [rows(file, "SELECT x FROM t") for file in kept] == [[(1,)], [(1,)]]
    assert {file.stat().st_mode & 0o777 for file in kept} == {0o600}


def test_where_the_backup_has_no_room_nothing_is_converted(tmp_path):
    old = RECORDED[0].read_text()
    size = made(tmp_path / "sized.db", old).stat().st_size
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", size + 40_960):
        store = made(tmp_path / "disk" / "team.db", old)
        before = store.read_bytes()
        with pytest.raises(BackendUnavailable, match=r"could not be backed up .*full.*so it was not converted"):
            make_ready(f"sqlite:///{store}", True, pytest.fail)
        assert store.read_bytes() == before
        assert [path.name for path in store.parent.iterdir()] == ["team.db"]


@OLD
def test_a_store_of_a_newer_mlflow_is_refused(store):
    made(store, "UPDATE alembic_version SET version_num = 'f00df00df00d'")
    for told in (False, True):
        with pytest.raises(
            BackendUnavailable, match=r"schema f00df00df00d of a newer MLflow than MLflow 3.* Upgrade mlflow"
        ):
            make_ready(f"sqlite:///{store}", told, pytest.fail)


def test_another_programs_database_is_refused_and_what_is_none_is_not_there_yet(tmp_path):
    import optuna

    optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/optuna.db")
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("experiments: many\n" * 100)
    made(tmp_path / "mine.db", "CREATE TABLE notes (text)")
    made(tmp_path / "old.db", "CREATE TABLE experiments (name)")
    states = {
        name: schema_of(f"sqlite:///{tmp_path}/{name}.db").state for name in ("optuna", "none", "empty", "mine", "old")
    }
    assert states == {"optuna": "foreign", "none": "none", "empty": "none", "mine": "none", "old": "older"}
    with pytest.raises(BackendUnavailable, match=r"is another program's. Name a database of MLflow's own"):
        open_client(f"sqlite:///{tmp_path}/optuna.db")
    with pytest.raises(
        BackendUnavailable, match=r"text.db cannot be read as MLflow's database: file is not a database"
    ):
        open_client(f"sqlite:///{tmp_path}/text.db")


def test_what_a_killed_writer_left_is_rolled_back_as_it_is_read(tmp_path):
    """A hot journal: a read-only look would fail at it."""
    path, aside = made(tmp_path / "team.db", RECORDED[1].read_text()), tmp_path / "aside.db"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA cache_size = 1")
        writer.execute("BEGIN")
        for number in range(2000):
            writer.execute("INSERT INTO params VALUES (?, 'x', 'r')", (f"{number:0200}",))
        aside.write_bytes(path.read_bytes())
        aside.with_name("aside.db-journal").write_bytes(path.with_name("team.db-journal").read_bytes())
    assert schema_of(f"sqlite:///{aside}").state == "older"
    assert rows(aside, "SELECT count(*) FROM params") == [(1,)]


def test_the_users_of_a_teams_server_are_asked_about_too(tmp_path, monkeypatch):
    import sqlalchemy
    from mlflow.server.auth.db.utils import migrate

    users = tmp_path / "mlflow-users.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{users}")
    migrate(engine, "8606fa83a998")  # MLflow 3.6's
    engine.dispose()
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "the-admins-password-1")
    team = TeamServer(store=f"sqlite:///{tmp_path}/mlflow.db", artifacts=str(tmp_path))
    with pytest.raises(BackendUnavailable, match=f"{users} has the schema 8606fa83a998 of an older MLflow"):
        serve_team(team)
    said = []
    upgrade(f"sqlite:///{users}", said.append, USERS)
    assert said[0].endswith(f"Its backup is {users}.before-upgrade-1.")
    assert schema_of(f"sqlite:///{users}", USERS).state == "current"
