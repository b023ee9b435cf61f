"""The lab's command line: `python -m tests.lab COMMAND`, from the repository's root."""

import argparse
import os
import sys

from tests.lab.access import port, ssh_command
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.progress import say
from tests.lab.topologies import BROKER, TOPOLOGIES, table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab", description="Virtual machines for trying Culvert out."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start the machines, building what is missing")
    up.add_argument("topology", nargs="?", choices=TOPOLOGIES, default=BROKER.name)
    commands.add_parser("status", help="list the machines and how to reach them")
    commands.add_parser("reset", help="put the machines back to where `up` left them")
    save = commands.add_parser("save", help="keep the machines' state under a name")
    save.add_argument("name")
    restore = commands.add_parser("restore", help="put the machines back to a state kept by `save`")
    restore.add_argument("name")
    ssh = commands.add_parser("ssh", help="open a shell, or run a command, as root on a machine")
    ssh.add_argument("machine")
    ssh.add_argument("words", nargs=argparse.REMAINDER, metavar="…")
    commands.add_parser("support", help="print the table of what is supported, for docs/hosts.md")
    commands.add_parser("down", help="end the machines; images and first boots stay cached")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    lab = Lab(TOPOLOGIES[arguments.topology]) if arguments.command == "up" else Lab.that_runs()
    match arguments.command:
        case "up":
            lab.up()
            _print_status(lab)
        case "status":
            _print_status(lab)
        case "support":
            print(table())
        case "reset":
            lab.reset()
        case "save":
            lab.save(arguments.name)
        case "restore":
            lab.restore(arguments.name)
        case "down":
            lab.down()
        case "ssh":
            machine = lab.machine(arguments.machine).machine
            command = ssh_command(machine, lab.place, *arguments.words)
            os.execvp(command[0], command)


def _print_status(lab: Lab) -> None:
    for name, each in lab.machines.items():
        state = f"127.0.0.1 port {port(lab.place, each.machine)}" if each.qemu.runs() else "down"
        print(f"{name:16} {state}")


if __name__ == "__main__":
    try:
        _run(_parser().parse_args())
    except LabError as error:
        say(f"{error}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("Interrupted; what is half built is built again next time.")
        sys.exit(130)
