"""``fsg new``: a plug-in to begin with, and the test that it passes; or a study, of one's own parts or of fsg's. ``fsg init``: a
folder with both.

What is written works as it is. The texts are in ``templates``, where PART stands for the name.
Proof: ``tests/cli/test_new.py``.
"""

from __future__ import annotations

import importlib.util
import json
import keyword
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from fsg.cli.options import FOLDER
from fsg.errors import ConfigError
from fsg.files import user_path

KINDS: Mapping[str, str] = {"estimator": "gradient", "model": "model", "quantizer": "quantizer", "data": "data"}
STUDY = "study"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
IGNORED = "studies/\ndata/\nmlflow.db*\nmlartifacts/\n__pycache__/\n"  # what runs leave beside the files
_OF_A_BASE = ("model", "quantizer", "optimizer", "schedule", "data")  # a study has one of each; estimators are its arms


def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"{', '.join(KINDS)}, or {STUDY}.")],
    name: Annotated[str, typer.Argument(help="As a study will write it: lower case, as in my_net.")],
    into: Annotated[Path, typer.Option(**FOLDER, help="Where the files are written; made if it is missing.")] = Path(),
    plugin: Annotated[
        list[str],
        typer.Option("--plugin", help="Of a study: a file whose parts it compares or trains with; repeatable."),
    ] = [],
) -> None:
    """Write a part of your own to begin with and its test, or a study."""
    if kind not in KINDS and kind != STUDY:
        from fsg.nearest import did_you_mean

        allowed = (*KINDS, STUDY)
        raise ConfigError(f'KIND is "{kind}".{did_you_mean(kind, allowed)} Allowed: {", ".join(allowed)}.')
    if plugin and kind != STUDY:
        raise ConfigError(f"--plugin is for fsg new {STUDY}; a new {kind} is a plug-in itself.")
    _refuse_name(name)
    texts = study_texts(name, plugin, into) if kind == STUDY else part_texts(kind, name, into)
    _write(into, texts)
    place = shlex.quote(str(into / f"{name}.yaml" if kind == STUDY else into / f"test_{name}.py"))
    typer.echo(f"Written: {', '.join(str(into / file) for file in texts)}")
    if kind == STUDY:
        typer.echo(f"What it would take: fsg ablate {place} --dry-run\nTo run it: fsg ablate {place}")
        return
    there = "" if into == Path() else f"--into {shlex.quote(str(into))} "
    typer.echo(
        f"It works as it is. Try it: pytest {place}\n"
        f"A study with it: fsg new {STUDY} {name}_study {there}--plugin {shlex.quote(str(into / f'{name}.py'))}"
    )


def init(
    folder: Annotated[
        Path, typer.Argument(parser=user_path, metavar="FOLDER", help="Made if it is missing; . is this one.")
    ] = Path(),
) -> None:
    """Write a folder to start in: a gradient estimator of your own, its test, and a study that compares it; all of it runs."""
    part = folder / "my_estimator.py"
    texts = part_texts("estimator", part.stem, folder) | {".gitignore": IGNORED}
    _write(folder, texts)
    texts |= (study := study_texts("first", [str(part)], folder))
    _write(folder, study)
    typer.echo(f"Written into {folder}: {', '.join(texts)}")
    there = "" if folder == Path() else f"cd {shlex.quote(str(folder))}\n"
    typer.echo(f"Then:\n{there}fsg ablate first.yaml --dry-run\nfsg ablate first.yaml\npytest test_{part.stem}.py")


def part_texts(kind: str, name: str, into: Path) -> dict[str, str]:
    """The plug-in and its test, by file name. ConfigError for a name that is taken."""
    from fsg import catalogue, parts

    assert catalogue  # fsg's own names
    registered = KINDS[kind]
    if parts.has_part(registered, name) and parts.find_part(registered, name).source is None:
        raise ConfigError(f'the {registered} "{name}" is one of fsg\'s own; choose another name.')
    if not (into / f"{name}.py").exists() and importlib.util.find_spec(name) is not None:
        raise ConfigError(f"{name}.py would hide the module {name}, which is installed; choose another name.")
    folder = resources.files("fsg.cli") / "templates"
    return {
        file: (folder / template).read_text().replace("PART", name)
        for file, template in ((f"{name}.py", f"{kind}.py.txt"), (f"test_{name}.py", f"test_{kind}.py.txt"))
    }


def study_texts(name: str, plugins: Sequence[str], into: Path) -> dict[str, str]:
    """The study and the schema by which an editor knows its keys, by file name."""
    from fsg.cli.schema import modeline, schema_text

    text, schema = study_text(name, plugins, into), f"{name}.schema.json"
    return {f"{name}.yaml": f"{text}{modeline(schema)}\n", schema: schema_text(plugins)}


def study_text(name: str, plugins: Sequence[str], into: Path) -> str:
    """The YAML of an ablation: of the plug-ins' estimators where they have any, on their other parts."""
    own: dict[str, list[str]] = {}
    for path in plugins:
        for kind, part in _parts_of(path):
            own.setdefault(kind, []).append(part)
    base = {"model": "digits_cnn", "quantizer": "dorefa", "gradient": "ste", "data": "digits"}
    base |= {kind: own[kind][0] for kind in _OF_A_BASE if kind in own}
    arms = own.get("gradient") or ["multi_fc", "ema"]
    lines = [
        f"# What is asked: does {' or '.join(arms)} serve this network better than the straight-through estimator, ste?",
        f"# {len(arms) + 1} arms x 3 seeds = {3 * (len(arms) + 1)} trials.",
        f"name: {name}",
    ]
    if plugins:
        files = (os.path.relpath(user_path(path), into) for path in plugins)
        lines.append(f"plugins: [{', '.join(map(_scalar, files))}]  # relative to this file")
    lines += ["base:", *(f"  {kind}: {_scalar(part)}" for kind, part in base.items()), "  epochs: 5"]
    lines += ["seeds: [0, 1, 2]  # the same in every arm: differences are paired"]
    lines += [f"# also: val_{metric}, with the mode that is better" for metric in own.get("metric", ())]
    lines += ['metric: {name: val_accuracy, mode: max, unit: "%"}', "arms:"]
    lines += [f"  {_scalar(arm)}: {{gradient: {_scalar(arm)}}}" for arm in arms]
    lines += [
        "baselines: [ste]",
        f"analysis: {{reference: {_scalar(arms[0])}, baseline: ste, smallest_effect_of_interest: 0.5}}",
    ]
    left = [f"{kind} {part}" for kind in _OF_A_BASE for part in own.get(kind, ())[1:]]
    lines += [f"# registered too: {', '.join(left)}"] if left else []
    return "\n".join(lines) + "\n"


def _parts_of(path: str) -> list[tuple[str, str]]:
    """(kind, name) of what a plug-in registers. ConfigError where it cannot be loaded."""
    from fsg import catalogue
    from fsg.parts import guests
    from fsg.plugins import load_plugin

    assert catalogue
    ref = load_plugin(path)
    return [(each.kind, each.name) for each in guests() if each.source is not None and each.source.name == ref.file]


def _scalar(text: str) -> str:
    """A text as YAML reads it back."""
    return (
        text if re.fullmatch(r"[A-Za-z_][\w./-]*", text) and text not in ("null", "true", "false") else json.dumps(text)
    )


def _refuse_name(name: str) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        why = f"a word of Python's own, {name}" if keyword.iskeyword(name) else f"{name!r}"
        raise ConfigError(
            f"NAME is {why}; allowed are lower-case letters, digits and underscores after a first letter, as in my_net."
        )


def _write(into: Path, texts: Mapping[str, str]) -> None:
    """All of them, or none: ConfigError where one is there already."""
    if there := [str(into / file) for file in texts if (into / file).exists()]:
        raise ConfigError(
            f"{', '.join(there)}: there already, and nothing was written; choose another name, or --into."
        )
    into.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        with (into / file).open("x") as new_file:
            new_file.write(text)
