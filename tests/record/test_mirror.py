"""Proof of fsg/record/mirror.py and fsg/remote.py: a real S3 server on loopback behind a proxy that misbehaves."""

import logging
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fsg.errors import BackendUnavailable, ConfigError, StudyError
from fsg.files import write_atomically
from fsg.formats import FORMAT
from fsg.record import mirror as mirror_module
from fsg.record.folder import StudyFolder
from fsg.record.ledger import Ledger
from fsg.record.mirror import FollowingMirror, Mirror, mirror_of
from fsg.remote import RemoteFolder, is_url, safe

sys.path.insert(0, str(Path(__file__).parents[1] / "tracking"))
from faulty_proxy import FaultyProxy


@pytest.fixture(scope="module")
def s3():
    """A real S3 server with a bucket; its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def proxy(s3, monkeypatch):
    """Everything goes through a proxy that misbehaves when told to."""
    proxy = FaultyProxy(s3)
    for name, value in {
        "AWS_ENDPOINT_URL": proxy.address,
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "planted-secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setattr("fsg.remote.ANSWER_SECONDS", 1)
    monkeypatch.setattr("fsg.remote.TRIES", 1)
    yield proxy
    proxy.close()


@pytest.fixture
def url(proxy, request):
    from pyarrow import fs

    fs.S3FileSystem(
        endpoint_override=proxy.address.partition("://")[2], scheme="http", allow_bucket_creation=True
    ).create_dir("bucket")
    return f"s3://bucket/{abs(hash(request.node.name))}/small"


def begun(path, trials=1):
    """A study's folder with a ledger, a checkpoint, a searcher's memory, a report."""
    folder = StudyFolder(path)
    for name in ("checkpoints/k0/last.pt", "search/optuna.journal", "reports/report.html", "ray/tune/tuner.pkl"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(name.encode())
    (path / "spec.yaml").write_text("name: small\n")
    ledger = Ledger(folder.ledger_path)
    ledger.append("study", study_id="s", name="small", kind="ablation", spec_digest="d", versions={}, git_commit=None)
    for n in range(trials):
        finish(ledger, f"k{n}")
    ledger.close()
    return folder


def finish(ledger, key):
    ledger.append("planned", key=key, arm="full", seed=0, config={"text": "x" * 300})
    ledger.append("finished", key=key, metrics={"epoch": 1, "val_accuracy": 90.0})


def files(folder):
    found = {p.relative_to(folder.path).as_posix(): p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}
    return {name: data for name, data in found.items() if not name.startswith("ray/") and name != "mirror"}


def test_another_machine_fetches_the_study_as_it_was(tmp_path, url):
    here, there = begun(tmp_path / "here"), StudyFolder(tmp_path / "there")
    Mirror(here, url).push()
    assert Mirror(there, url).fetch()
    assert files(there) == files(here)
    assert not (there.path / "ray").exists(), "Ray's snapshots are nobody's business"
    assert mirror_of(there).url == url


def test_a_ledger_of_many_blocks_replaces_only_its_last(tmp_path, url, proxy, monkeypatch):
    monkeypatch.setattr(mirror_module, "BLOCK", 1000)
    here = begun(tmp_path / "here", trials=8)
    mirror = Mirror(here, url)
    mirror.push()
    ledger = Ledger(here.ledger_path)
    finish(ledger, "k8")
    ledger.close()
    proxy.again()
    mirror.push()
    written = [path for path in proxy.seen if "ledger.jsonl" in path]
    assert len(written) <= 2 < here.ledger_path.stat().st_size / 1000
    there = StudyFolder(tmp_path / "there")
    Mirror(there, url).fetch()
    assert there.state() == here.state()


def test_a_push_again_sends_nothing(tmp_path, url, proxy):
    here = begun(tmp_path / "here")
    time.sleep(1.1)  # an object's time is in whole seconds
    Mirror(here, url).push()
    proxy.again()
    Mirror(here, url).push()
    assert not [p for p in proxy.seen if "last.pt" in p and "list-type" not in p]


def test_work_goes_from_machine_to_machine_and_back(tmp_path, url):
    a, b = begun(tmp_path / "a"), StudyFolder(tmp_path / "b")
    Mirror(a, url).push()
    Mirror(b, url).fetch()
    ledger = Ledger(b.ledger_path)
    finish(ledger, "k1")
    (b.checkpoints / "k0/last.pt").write_bytes(b"newer")
    Mirror(b, url).push()
    assert Mirror(a, url).fetch()
    assert files(a) == files(b)
    assert set(a.state().trials) == {"k0", "k1"}


def test_a_folder_that_is_ahead_of_its_copy_keeps_what_it_has(tmp_path, url):
    here = begun(tmp_path / "here")
    Mirror(here, url).push()
    ledger = Ledger(here.ledger_path)
    finish(ledger, "k1")
    before = files(here)
    assert Mirror(here, url).fetch()
    assert files(here) == before


def test_two_machines_that_went_on_separately_are_told_and_nothing_is_changed(tmp_path, url):
    a = begun(tmp_path / "a")
    Mirror(a, url).push()
    shutil.copytree(a.path, tmp_path / "b")
    b = StudyFolder(tmp_path / "b")
    finish(Ledger(a.ledger_path), "k1")
    finish(Ledger(b.ledger_path), "k2")
    Mirror(a, url).push()
    before = files(b)
    for act in (Mirror(b, url).fetch, Mirror(b, url).push):
        with pytest.raises(StudyError, match="went on separately, from line 4 of the ledger on"):
            act()
    assert files(b) == before
    there = StudyFolder(tmp_path / "there")
    Mirror(there, url).fetch()
    assert set(there.state().trials) == {"k0", "k1"}


def test_a_push_that_would_overwrite_what_another_machine_added_is_refused(tmp_path, url):
    a, b = begun(tmp_path / "a"), StudyFolder(tmp_path / "b")
    Mirror(a, url).push()
    Mirror(b, url).fetch()
    finish(Ledger(b.ledger_path), "k1")
    Mirror(b, url).push()
    with pytest.raises(StudyError, match=f"ahead of .*go on with: fsg resume {url}"):
        Mirror(a, url).push()


def test_an_empty_address_has_no_study(tmp_path, url):
    folder = StudyFolder(tmp_path / "none")
    assert not Mirror(folder, url).fetch()
    assert not folder.path.exists()


def test_a_half_written_line_is_not_copied(tmp_path, url):
    here = begun(tmp_path / "here")
    whole = here.ledger_path.read_bytes()
    here.ledger_path.write_bytes(whole + b'{"event": "half')
    Mirror(here, url).push()
    there = StudyFolder(tmp_path / "there")
    Mirror(there, url).fetch()
    assert there.ledger_path.read_bytes() == whole


@pytest.mark.parametrize("last", range(1, 9))
def test_a_push_killed_at_any_request_leaves_a_copy_that_can_be_resumed(tmp_path, url, proxy, last):
    """What the copy's ledger says is there, and the next push completes it."""
    here = begun(tmp_path / "here")
    mirror = Mirror(here, url)
    mirror.push()
    finish(Ledger(here.ledger_path), "k1")
    (here.checkpoints / "k1").mkdir()
    (here.checkpoints / "k1/last.pt").write_bytes(b"k1")
    proxy.again(lambda n, path: None if n < last else ("drop before", "drop after")[n % 2])
    with suppress(BackendUnavailable):
        mirror.push()
    proxy.again()
    there = StudyFolder(tmp_path / "there")
    assert Mirror(there, url).fetch()
    assert "k0" in there.state().trials
    if "k1" in there.state().trials:
        assert (there.checkpoints / "k1/last.pt").read_bytes() == b"k1"
    Mirror(here, url).push()
    Mirror(there, url).fetch()
    assert files(there) == files(here)


FAULTS = {"full": 507, "read-only": 403, "broken": 500, "dropping": "drop before", "hanging": "hang"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_store_that_fails_costs_the_study_nothing_and_is_caught_up_with(tmp_path, url, proxy, name, monkeypatch):
    monkeypatch.setattr(mirror_module, "FIRST_WAIT", 0.1)
    here = begun(tmp_path / "here")
    proxy.again(lambda n, path: FAULTS[name])
    began = time.monotonic()
    following = FollowingMirror(Mirror(here, url), interval=0.05)
    finish(Ledger(here.ledger_path), "k1")
    assert time.monotonic() - began < 1, "the study waited"
    end = time.monotonic() + 20
    while "copy behind" not in following.status:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "planted-secret" not in following.status
    proxy.again()
    assert following.close(60) is None
    there = StudyFolder(tmp_path / "there")
    Mirror(there, url).fetch()
    assert set(there.state().trials) == {"k0", "k1"}


def test_a_store_that_stays_away_is_told_at_the_end_with_what_to_do(tmp_path, url, proxy):
    here = begun(tmp_path / "here")
    proxy.refuse()
    told = FollowingMirror(Mirror(here, url), interval=0.05).close(60)
    assert "is behind" in told and "Nothing is lost" in told and f"fsg resume {here.path}" in told


# Names and addresses --------------------------------------------------------------------------------------------------
def test_a_name_in_the_store_cannot_leave_the_folder(tmp_path, url):
    here = begun(tmp_path / "here")
    Mirror(here, url).push()
    remote = RemoteFolder(url)
    remote.put("checkpoints/../../../escaped", b"x")
    there = StudyFolder(tmp_path / "deep" / "er" / "there")
    Mirror(there, url).fetch()
    assert not [p for p in tmp_path.rglob("escaped")]


@pytest.mark.parametrize("name", ["../x", "a/../x", "/etc/passwd", "a//b", "a\nb", ".", "", "a/./b"])
def test_unsafe_names(name):
    assert not safe(name)


@pytest.mark.parametrize(
    "address", ["s3://me:planted@bucket/x", "s3://bucket?secret_key=planted", "s3://", "ftp://x/y"]
)
def test_an_address_with_a_login_is_refused_without_showing_it(address):
    with pytest.raises(ConfigError) as refused:
        RemoteFolder(address)
    assert "planted" not in str(refused.value)


def test_a_url_is_told_from_a_path():
    assert is_url("s3://bucket/x") and not is_url("studies/s3") and not is_url("/a/b") and not is_url("s3:/x")


# File systems with less than a local disk has -------------------------------------------------------------------------
def test_a_folder_needs_no_hard_links_no_symlinks_and_no_locks(tmp_path, monkeypatch):
    """What NFS or a cloud's file system may lack is refused here; the folder, its ledger and its files work without."""
    import fcntl
    import os

    from fsg.train.checkpoint import CheckpointStore

    def lacking(*_, **__):
        raise OSError(95, "Operation not supported")

    for module, name in ((os, "link"), (os, "symlink"), (fcntl, "flock"), (fcntl, "lockf")):
        monkeypatch.setattr(module, name, lacking)
    folder = begun(tmp_path / "nfs")
    write_atomically(folder.path / "spec.1.yaml", b"x")
    store = CheckpointStore(folder.checkpoints / "k0" / "last.pt")
    store.save({"epoch": 1})
    store.save({"epoch": 2})
    assert store.load() == {"format": FORMAT, "epoch": 2}
    assert set(folder.state().trials) == {"k0"}
