"""``fsg mcp`` through the official client: its tools, what they answer, what they refuse; nothing but the protocol on stdout."""

import json
import shutil
import sys
from pathlib import Path

import anyio
import pytest
import yaml
from command_line import python_environment, run_main
from tiny_studies import ABLATION, SWEEP

pytest.importorskip("mcp")

from mcp import Client, StdioServerParameters, stdio_client

from fsg.cli import mcp_server
from fsg.record.ledger import finite

READING = ["curves", "plan", "studies", "table", "verdict"]


@pytest.fixture
def storage(finished):
    return finished.folder.path.parent


@pytest.fixture
def file(tmp_path):
    """A study's file that is written anew from data."""

    def write(data, name="study.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump(data))
        return tmp_path / name

    return write


def talk(server, words):
    """What ``words``, a function of a client, gives once the client has met the server."""

    async def meet():
        async with Client(server) as client:
            return await words(client)

    return anyio.run(meet)


def call(storage, tool, allow_run=False, **arguments):
    """The tool's result, through the client, in this process."""
    server = mcp_server.make_server(Path(storage), allow_run)
    return talk(server, lambda client: client.call_tool(tool, {k: str(v) for k, v in arguments.items()}))


def answer(storage, tool, **arguments):
    found = call(storage, tool, **arguments)
    assert not found.is_error, found.content
    return found.structured_content


def refusal(storage, tool, **arguments):
    found = call(storage, tool, **arguments)
    assert found.is_error
    return found.content[0].text.removeprefix(f"Error executing tool {tool}: ")


def printed(monkeypatch, tmp_path, storage, *words):
    return json.loads(run_main(monkeypatch, tmp_path, *words, "--json", "--storage", storage).out)


@pytest.mark.parametrize(("allow_run", "names"), [(False, READING), (True, sorted([*READING, "run"]))])
def test_it_reads_alone_unless_it_was_allowed_to_run(storage, allow_run, names):
    server = mcp_server.make_server(storage, allow_run)
    found = talk(server, lambda client: client.list_tools()).tools
    assert sorted(tool.name for tool in found) == names
    assert {tool.name for tool in found if not tool.annotations.read_only_hint} == set(names) - set(READING)
    for tool in found:
        assert tool.description and tool.output_schema["description"], tool.name


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("studies", {}, ("studies",)),
        ("table", {"study": "small"}, ("compare", "small", "--no-figures")),
        ("verdict", {"study": "small", "arm": "slow_rate"}, ("verdict", "small", "slow_rate")),
        ("verdict", {"study": "small", "arm": "ste", "against": "slow_rate"},
         ("verdict", "small", "ste", "--against", "slow_rate")),
    ],
)  # fmt: skip
def test_a_tool_answers_what_its_command_prints(storage, tmp_path, monkeypatch, tool, arguments, words):
    assert answer(storage, tool, **arguments) == printed(monkeypatch, tmp_path, storage, *words)


def test_curves_are_those_of_the_ledger_by_seed(finished, storage):
    found = answer(storage, "curves", study="small", arm="ste")
    assert (found["study"], found["arm"], found["metric"]) == ("small", "ste", "val_accuracy")
    for part in found["seeds"]:
        record = finished.trials["ste", part["seed"]]
        assert part["status"] == "finished"
        assert part["values"] == [finite(value) for value in record.curve("val_accuracy")]
        assert len(part["values"]) == ABLATION["base"]["epochs"]
    assert [part["seed"] for part in found["seeds"]] == [0, 1]
    assert answer(storage, "curves", study="small", arm="ste", metric="train_loss")["metric"] == "train_loss"


def test_the_plan_of_a_file_knows_what_has_run_and_how_long_it_took(storage, file):
    found = answer(storage, "plan", file=file(ABLATION | {"seeds": [0, 1, 2]}))
    assert (found["study"], found["kind"], found["trials"], found["over"]) == ("small", "ablation", 6, 4)
    rows = {row["arm"]: row for row in found["arms"]}
    assert found["hours"] == pytest.approx(rows["ste"]["hours"] + rows["slow_rate"]["hours"]) and found["hours"] > 0
    found = answer(storage, "plan", file=file(SWEEP))
    assert (found["kind"], found["trials"], found["over"], found["hours"]) == ("sweep", 6, 0, None)


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("table", {"study": "smal"}, 'no study "smal". Did you mean "small"? Studies in {storage}: small.'),
        ("table", {"study": "{storage}/small"}, 'no study "{storage}/small". Did you mean "small"?'),
        ("verdict", {"study": "small", "arm": "slow"}, 'small has no arm "slow".'),
        ("curves", {"study": "small", "arm": "stee"}, 'small has no arm "stee". Did you mean "ste"?'),
        ("curves", {"study": "small", "arm": "ste", "metric": "acc"}, 'no trial reports "acc".'),
        ("plan", {"file": "nowhere.yaml"}, "nowhere.yaml: no such file"),
    ],
)
def test_what_a_user_can_mend_is_said_in_the_words_of_the_command(storage, tool, arguments, words):
    arguments = {name: text.format(storage=storage) for name, text in arguments.items()}
    said = refusal(storage, tool, **arguments)
    assert said.startswith(words.format(storage=storage)) and "Traceback" not in said


@pytest.mark.parametrize("where", ["the study", "its base"])
def test_a_plan_executes_no_python_that_a_file_names_unless_it_may_run(storage, file, tmp_path, where):
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    named = {"plugins": ["mine.py"]}
    study = file(ABLATION | (named if where == "the study" else {"base": ABLATION["base"] | named}))
    assert refusal(storage, "plan", file=study).startswith(f"{study}: names plug-ins")
    assert not (tmp_path / "ran").exists()
    if where == "the study":
        assert not call(storage, "plan", allow_run=True, file=study).is_error
        assert (tmp_path / "ran").exists()


def ablating(monkeypatch, code):
    """``fsg ablate`` is this Python instead, of the words that it was given."""
    monkeypatch.setattr(mcp_server, "ABLATE", (sys.executable, "-c", code))


def test_a_run_reports_each_trial_and_ends_with_the_table(storage, file, monkeypatch):
    ablating(monkeypatch, """
import json, sys
print("anything", file=sys.stderr)
for done in (1, 2):
    print(json.dumps({"event": "finished", "done": done, "trials": 2, "words": sys.argv[1:]}), flush=True)
""")  # fmt: skip
    seen = []

    async def words(client):
        async def progress(done, total, message):
            seen.append((done, total))

        return await client.call_tool("run", {"file": str(file(ABLATION))}, progress_callback=progress)

    found = talk(mcp_server.make_server(storage, True), words)
    assert not found.is_error, found.content
    assert found.structured_content == answer(storage, "table", study="small")
    assert seen == [(1, 2), (2, 2)]


def test_a_run_that_fails_says_why(storage, file, monkeypatch):
    ablating(monkeypatch, "import sys; print('fsg: the disk is full.', file=sys.stderr); sys.exit(2)")
    assert refusal(storage, "run", allow_run=True, file=file(ABLATION)) == "the disk is full."


def test_a_run_that_is_cancelled_is_interrupted_as_by_ctrl_c(storage, file, monkeypatch, tmp_path):
    ablating(monkeypatch, f"""
import json, time
try:
    print(json.dumps({{"event": "started", "done": 0, "trials": 2}}), flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    open({str(tmp_path / "interrupted")!r}, "w").close()
""")  # fmt: skip

    async def words(client):
        async with anyio.create_task_group() as group:

            async def progress(done, total, message):
                group.cancel_scope.cancel()

            await client.call_tool("run", {"file": str(file(ABLATION))}, progress_callback=progress)

    talk(mcp_server.make_server(storage, True), words)
    assert (tmp_path / "interrupted").exists()


def test_stdout_has_the_protocol_alone_and_nothing_is_written(finished, tmp_path):
    storage = tmp_path / "studies"
    shutil.copytree(finished.folder.path, storage / "small")
    before = {path: path.stat().st_mtime_ns for path in storage.rglob("*")}
    words = ["-m", "fsg.cli", "mcp", "--storage", str(storage)]
    server = StdioServerParameters(command=sys.executable, args=words, env=python_environment(), cwd=tmp_path)

    stray = []

    async def hear(message):
        stray.append(message)  # a line that is no message of the protocol comes as an exception

    async def meet():
        async with Client(stdio_client(server), message_handler=hear) as client:
            return await client.call_tool("table", {"study": "small"})

    found = anyio.run(meet)
    assert stray == []
    assert found.structured_content["blocks"][0]["reference"] == "slow_rate"
    assert {path: path.stat().st_mtime_ns for path in storage.rglob("*")} == before
    assert list(tmp_path.iterdir()) == [storage]


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "fsg.cli.mcp_server")
    for name in [name for name in sys.modules if name.partition(".")[0] == "mcp"]:
        monkeypatch.setitem(sys.modules, name, None)
    said = run_main(monkeypatch, tmp_path, "mcp")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "fsg: the package mcp is not installed in version 2.3 or newer, which fsg mcp needs; run: pip install 'fsg[mcp]'\n"
    )
