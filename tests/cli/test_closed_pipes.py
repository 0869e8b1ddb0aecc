"""A pipe that is closed: by whoever reads what a command prints, or by a process that the command works with."""

import subprocess
import sys

from command_line import run_main

SAYS = "from fsg.cli import main; import sys; sys.argv = ['fsg', 'schema']; main()"


def test_a_process_that_has_gone_is_a_message_and_never_an_end_without_a_word(monkeypatch, tmp_path):
    def gone(*arguments, **named):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("fsg.cli.schema.schema_text", gone)
    said = run_main(monkeypatch, tmp_path, "schema")
    assert said.code == 1
    assert "a process that this one works with has gone" in said.err


def test_a_reader_that_has_seen_enough_is_no_error():
    with subprocess.Popen(
        [sys.executable, "-c", SAYS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()  # before a word: what fits into the pipe would be written without a complaint
        assert process.stderr.read() == ""
        assert process.wait() == 1
