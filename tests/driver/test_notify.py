"""``--notify``: what a command or an address is told at the end of a run, and that a failure of it is one line."""

import io
import json
import sys
from types import SimpleNamespace

import pytest
import typer

from fsg.cli import running
from fsg.driver.notify import notice_of, notify
from fsg.driver.run import Outcome
from fsg.errors import StudyError


@pytest.fixture
def told(finished, tmp_path, monkeypatch, capsys):
    """Runs the end of a command whose study ended like this: (what the command was told, stderr)."""
    kept = tmp_path / "kept.json"
    command = f"{sys.executable} -c \"import sys; open('{kept}', 'w').write(sys.stdin.read())\""

    def run(outcome, target=command):
        def ended(*_):
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr("fsg.driver.run.run_and_report", ended)
        monkeypatch.setattr("fsg.ray_engine.engine.RayEngine", lambda _: None)
        try:
            running.run(finished.folder, finished.spec, "", None, "json", None, False, target)
        except (StudyError, typer.Exit, KeyboardInterrupt):
            pass
        except Exception as error:  # trials that failed
            assert "--allow-failed" in str(error)
        return json.loads(kept.read_text()) if kept.exists() else None, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("outcome", "state", "text"),
    [
        (Outcome(True), "complete", "fsg: small is complete: 4 finished."),
        (Outcome(True, ("2 of 4 trials failed.",)), "failed", "fsg: small is complete, but trials failed: 4 finished. 2 of 4"),
        (Outcome(False), "interrupted", "fsg: small was stopped: 4 finished."),
        (StudyError("the ledger is gone."), "error", "fsg: small broke off: 4 finished. the ledger is gone."),
        (KeyboardInterrupt(), "error", "fsg: small broke off: 4 finished. KeyboardInterrupt"),
    ],
    ids=["complete", "failed", "interrupted", "error", "Ctrl-C twice"],
)  # fmt: skip
def test_a_command_is_told_how_it_ended(outcome, state, text, told, finished):
    notice, said = told(outcome)
    assert said == ""
    assert (notice["study"], notice["state"], notice["trials"]) == ("small", state, {"finished": 4})
    assert notice["path"] == str(finished.folder.path.resolve()) and notice["seconds"] >= 0
    assert notice["text"].startswith(text)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (f"{sys.executable} -c 'raise SystemExit(3)'", f"--notify: {sys.executable} exited with 3.\n"),
        ("no-such-program --x", "--notify: no-such-program could not be told (No such file or directory).\n"),
        ("'unclosed", "--notify: 'unclosed could not be told (No closing quotation).\n"),
    ],
)
def test_a_failure_of_it_is_one_line_and_changes_nothing_else(target, said, told):
    assert told(Outcome(True), target) == (None, said)


def test_nobody_is_told_without_it(told):
    assert told(Outcome(True), None) == (None, "")


def test_an_address_gets_the_notice_by_post_and_is_named_by_its_host_alone(monkeypatch, finished):
    sent = []

    def answer(request, timeout):
        sent.append((request.get_method(), request.get_header("Content-type"), json.loads(request.data)))
        if "bad" in request.full_url:
            raise OSError("refused")
        return io.BytesIO()

    monkeypatch.setattr("urllib.request.urlopen", answer)
    notice = notice_of(finished.folder, "complete", 1.25)
    assert notify("https://chat.example/hooks/s3cret", notice) is None
    assert sent == [("POST", "application/json", notice)]
    assert notify("https://chat.example/bad/s3cret", notice) == "--notify: chat.example could not be told (refused)."


def test_a_notice_of_a_ledger_that_cannot_be_read_says_so_without_counts():
    def broken():
        raise StudyError("damaged.")

    folder = SimpleNamespace(state=broken, path=SimpleNamespace(name="x", resolve=lambda: "/x"))
    assert notice_of(folder, "error", 0, ("damaged.",))["text"] == "fsg: x broke off. damaged."
