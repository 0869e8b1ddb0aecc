#!/usr/bin/env bash
# A job's working folder is sent uncompressed, refused from 100 MiB on, and warned of from 256 MiB on.
#
# Date: 2026-11-28
# Packages: ray 2.60.0
# Guess: `ray job submit --working-dir .` sends a zip, so text and zeros shrink; Ray warns before a package is too
#   large, and the limit is the 512 MiB that its own message names.
# Seen: the zip stores files as they are: 20 MiB of zeros make a package of 20 MiB. The job server takes requests of
#   100 MiB and answers 413 beyond; the warning about size comes at 256 MiB, of a limit (512 MiB) that no job can
#   reach.
# Means: a working folder with one network's weights in it is refused after it was packed and sent, with a number
#   that says nothing of which file. Count before, and leave out what the job does not import.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'ray[default]==2.60.0'
cd "$work"
export RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 RAY_USAGE_STATS_ENABLED=0 PYTHONWARNINGS=ignore
"$work/venv/bin/python" - 2>"$work/log" <<'PY' || { tail -n 5 "$work/log" >&2; exit 1; }
import asyncio
import sys
from pathlib import Path

import ray
from aiohttp import ClientSession, web
from ray._private import ray_constants
from ray._private.runtime_env import packaging
from yarl import URL

MIB = 2**20
print(f"ray {ray.__version__}", flush=True)
tree = Path("tree")
tree.mkdir()
(tree / "zeros.bin").write_bytes(bytes(20 * MIB))
packaging.create_package(str(tree), Path("package.zip"), include_gitignore=True)
packed = Path("package.zip").stat().st_size
limit, warned = ray_constants.DASHBOARD_CLIENT_MAX_SIZE, packaging.PACKAGE_SIZE_WARNING
print(f"20 MiB of zeros make a package of {packed / MIB:.1f} MiB")
print(f"the job server takes {limit / MIB:.0f} MiB, the warning comes at {warned / MIB:.0f} MiB")


async def status(size):
    """What a server with the job server's limit, read as it reads a package, answers to a request of that size."""

    async def take(request):
        await request.read()
        return web.Response()

    application = web.Application(client_max_size=limit)
    application.router.add_put("/package", take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    place = URL.build(scheme="http", host=host, port=port, path="/package")
    async with ClientSession() as session, session.put(place, data=bytes(size)) as answer:
        found = answer.status
    await runner.cleanup()
    return found


answers = [asyncio.run(status(size)) for size in (99 * MIB, 101 * MIB)]
print(f"99 and 101 MiB are answered {answers}")
if packed < 20 * MIB or limit != 100 * MIB or warned <= limit or answers != [200, 413]:
    sys.exit("changed: packages shrink, or the limit and the warning about it agree")
PY
