"""The commands of the command line: where each one is, and what its line in ``--help`` says.

A command is imported only when it is called: all of them take a second of CPU, and one takes half of it.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.main import get_command

from handler.commands.command import Command
from handler.commands.help import examples
from handler.streams import ending_at_interrupt


class Listed(NamedTuple):
    """A command, or a group of commands, that is not imported yet.

    ``target`` is ``module:name`` of a function, or of the Typer app of a group. ``summary`` is the first
    paragraph of its help. ``calls`` are the examples at the end of its help.
    """

    name: str
    target: str
    summary: str
    calls: Sequence[str] = ()

    def load(self) -> Any:
        """Import the command."""
        module, _, name = self.target.partition(":")
        with ending_at_interrupt():
            found = getattr(import_module(module), name)
        if isinstance(found, typer.Typer):
            return get_command(found)
        app = typer.Typer(add_completion=False)
        app.command(self.name, cls=Command, epilog=examples(*self.calls))(found)
        return get_command(app)


COMMANDS = (
    Listed(
        "worker",
        "handler.commands.worker:worker",
        "Consume snapshot events until SIGTERM.",
        ("worker", "worker --processes 2 2>worker.log"),
    ),
    Listed(
        "status",
        "handler.commands.status:status",
        "Show where snapshots stand: whether each is backed up, and if not, why.",
        (
            """status \\
    b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8""",
            """status --json \\
    b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8""",
        ),
    ),
    Listed(
        "report",
        "handler.commands.report:report",
        "Show what was backed up, and what was not.",
        ("report --since 24h", "report --by category --format csv"),
    ),
    Listed(
        "publish",
        "handler.commands.publish:publish",
        "Publish snapshot events to SNAPSHOT_EXCHANGE; the broker confirms each.",
        (
            """publish \\
    --volume-id 0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40 \\
    --snapshot-id b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8 \\
    --project-id 8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5""",
            "publish --file events.jsonl",
        ),
    ),
    Listed(
        "package",
        "handler.commands.package:package",
        "Build the ZIP bundle for FunctionGraph.",
        ("package --out function.zip", "package --out function.zip \\\n    --with postgres"),
    ),
    Listed(
        "doctor",
        "handler.commands.doctor:doctor",
        "Check settings, broker, API, sign-in, ledger and clock; show what is wrong and how to fix it.",
        ("doctor", "doctor --json"),
    ),
    Listed(
        "settings",
        "handler.commands.settings:settings",
        "Show each setting: its value, where it is from, its default, and its meaning.",
        ("settings", "settings --json"),
    ),
    Listed(
        "watch",
        "handler.commands.watch:watch",
        "Show outcome events as they are published, until Ctrl-C.",
        ("watch", "watch --json --count 10"),
    ),
    Listed(
        "schemas",
        "handler.commands.schemas:schemas",
        "Write the JSON Schemas of all events, and the AsyncAPI 3 document.",
        ("schemas --out schemas",),
    ),
    Listed(
        "console",
        "handler.commands.console_page:console",
        "Serve the operator's page and its HTTP API, until SIGTERM.",
        ("console", "console 2>console.log"),
    ),
    Listed(
        "waiting",
        "handler.commands.waiting:app",
        "Show the messages that wait, bring them back, or cancel them.",
    ),
    Listed(
        "pause",
        "handler.commands.control:pause",
        "Pause all workers and functions of the queue, or one project.",
        (
            'pause --reason "storage is upgraded"',
            "pause \\\n    --project 8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5",
        ),
    ),
    Listed(
        "resume",
        "handler.commands.control:resume",
        "End the pause of the queue, or of one project, and bring back what waits.",
        ("resume", "resume \\\n    --project 8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"),
    ),
    Listed(
        "concurrency",
        "handler.commands.control:concurrency",
        "Set how many messages each worker of the queue has in hand at once.",
        ("concurrency 8", "concurrency default"),
    ),
    Listed(
        "topology",
        "handler.commands.topology:app",
        "Declare or show the exchanges, queues and bindings at the broker. Never deletes.",
    ),
    Listed(
        "dead-letters",
        "handler.commands.dead_letters.app:app",
        "Dead letters are messages that could not be handled: list, replay, export or drop them.",
    ),
    Listed(
        "ledger",
        "handler.commands.ledger:app",
        "Maintain the ledger, the store of which snapshots have their backup.",
    ),
)
"""In the order of ``--help``."""
