"""Whatever bytes stand in a study's file: a study, or one refusal that names the file. Never anything else.

Shipped studies are mutated (a value replaced, a key renamed, lines shuffled, bytes flipped), because random text
is refused by the parser and never reaches the design, the space or the statistics. ``FSG_FUZZ=100`` looks longer.
"""

import copy
import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import yaml
from fuzzing import looking
from hypothesis import given
from hypothesis import strategies as st

from fsg.cli import main
from fsg.errors import ConfigError
from fsg.study.spec import AblationSpec, SweepSpec, load_study, to_yaml

ROOT = Path(__file__).parents[2]
SHIPPED = [p.read_bytes() for folder in ("ablations", "search_spaces") for p in sorted((ROOT / folder).glob("*.yaml"))]
HUGE = [10**400, -(10**30), 2**63, 1e308, -1e308, 5e-324, float("inf"), float("nan"), 0, -1, 1, 2, True, False, None]
WORDS = ["", " ", "a", "fsg", "ste", "full", "..", "../../x", "/etc/passwd", "a/b", "a#b", "a\nb", "a\0b", "1e3", "é", "$HOME",
         "x" * 300, "val_accuracy", "max", "gradient.fsg", "a <= b", "optimizer.lr", "{}", "[]", "[bold]", "%s"]  # fmt: skip
LEAVES = st.sampled_from(HUGE + WORDS) | st.integers() | st.floats() | st.text(max_size=6)
JUNK = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
)


def places(tree, place=()):
    """Every location of a tree."""
    yield place
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places(value, (*place, key))


@st.composite
def mutated_trees(draw):
    """A shipped study with a few values replaced, keys removed, renamed or moved in from elsewhere."""
    tree = copy.deepcopy(yaml.safe_load(draw(st.sampled_from(SHIPPED))))
    for _ in range(draw(st.integers(1, 3))):
        found = [place for place in places(tree) if place]
        if not found:
            break
        *parents, key = draw(st.sampled_from(found))
        holder = tree
        for part in parents:
            holder = holder[part]
        match draw(st.integers(0, 4)):
            case 0 | 1:
                holder[key] = draw(JUNK)
            case 2:
                del holder[key]
            case 3 if isinstance(holder, dict):
                holder[draw(st.sampled_from(WORDS))] = holder.pop(key)
            case _:
                other = tree
                for part in draw(st.sampled_from(found)):
                    other = other[part] if isinstance(other, dict | list) and part in _keys(other) else other
                holder[key] = copy.deepcopy(other)
    return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")


def _keys(tree):
    return tree if isinstance(tree, dict) else range(len(tree))


@st.composite
def mutated_bytes(draw):
    """A shipped study with bytes flipped, a piece cut out, doubled, or written over."""
    data = bytearray(draw(st.sampled_from(SHIPPED)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        until = draw(st.integers(at, min(len(data), at + 40)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 1:
                del data[at:until]
            case 2:
                data[at:at] = data[at:until]
            case _:
                data[at:until] = draw(
                    st.binary(max_size=6) | st.sampled_from([b"&a ", b"*a", b"!!set", b"<<: ", b"{", b"- "])
                )
        data = data or bytearray(b"\n")
    return bytes(data)


BYTES = st.binary(max_size=120) | mutated_trees() | mutated_bytes()


@given(data=BYTES)
@looking(120)
def test_any_bytes_give_a_study_or_one_refusal(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    try:
        spec = load_study(path)
    except ConfigError as error:
        message = str(error)
        assert str(path) in message
        assert message.encode().strip()
        assert len(message) < 20_000
    else:
        assert isinstance(spec, AblationSpec | SweepSpec)
        again = path.with_name("again.yaml")
        again.write_bytes(to_yaml(spec))
        assert load_study(again) == spec, "what was resolved is another study"


@given(data=BYTES)
@looking(12)
def test_any_bytes_give_the_command_line_one_message_and_no_traceback(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr("fsg.report.dry_run.describe_plan", lambda *_: "planned")  # times steps, which takes seconds
        patch.setattr(sys, "argv", ["fsg", "ablate", str(path), "--dry-run"])
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    assert code in (0, 2)
    assert "Traceback" not in err.getvalue()
    assert code == 0 or err.getvalue().startswith("fsg: ")
