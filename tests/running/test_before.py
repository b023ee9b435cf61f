"""What people ask of pyinfra, from where, and what becomes of it before any host is touched."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tasks.running import before
from tests import runs
from tests.running.conftest import CLIENT_HOST, SERVER_HOST, Start, declared
from tests.samples import CLIENT

MISTAKEN = {"tunnel": {**CLIENT, "server": SERVER_HOST, "number": 0}}


def test_an_option_that_cannot_be_had_ends_the_run(run: Start) -> None:
    done = run("deploy.py", "-y", "--no-wait")
    assert (done.status, done.execs) == (1, [])
    assert done.output.endswith("and hides what fails: leave it out\n")


def test_a_task_is_no_file(run: Start) -> None:
    done = run("tasks/verify.py", "-y")
    assert (done.status, done.execs) == (1, [])


def test_mistakes_are_told_before_any_host_is_connected_to(run: Start) -> None:
    done = run(client=MISTAKEN)
    assert done.status == 1
    assert done.execs == []
    assert (
        "1 mistake in the inventory; no host was touched:\n"
        f"    {CLIENT_HOST}: tunnel.number = 0: expected a whole number from 1\n"
    ) in done.output


@pytest.mark.parametrize("command", [("exec", "--", "uptime"), ("debug-inventory",)])
def test_what_is_no_deploy_is_nobody_elses_business(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = runs.run(tmp_path, declared(client=MISTAKEN), *command)
    assert done.status == 0, done.output


def test_the_plan_of_addresses_asks_nobody(run: Start) -> None:
    done = run("tasks.addresses.addresses")
    assert done.status == 0, done.output
    assert done.stdout.count("number  client") == 1
    assert done.execs == []


def test_no_host_left_is_a_mistake(run: Start) -> None:
    done = run("deploy.py", "-y", "--limit", "fra2")
    assert (done.status, done.execs) == (1, [])
    assert "no host of the inventory is left by `--limit` and `--exclude`" in done.output


@pytest.mark.parametrize("error", [EOFError(), RuntimeError("input(): lost sys.stdin")])
def test_who_is_not_there_ends_the_run(error: Exception) -> None:
    def ask(_: str) -> str:
        raise error

    with pytest.raises(SystemExit, match="nobody answers"):
        before.answered(ask, "nobody answers here")("sudo password: ")


def test_a_question_that_nobody_answers_ends_the_run(run: Start) -> None:
    done = run("deploy.py")
    assert done.status == 1
    assert {kind for _, kind in done.execs} == {"connect", "read", "rehearse"}
    # One line, and the table.
    said = [line for line in done.stderr.splitlines() if "nobody answers here" in line]
    assert said == [
        "nobody answers here: add `-y` to go on without a question, or `--dry` to look only"
    ]
    assert [row[1] for row in done.table] == ["would change", "would change"]


@pytest.mark.parametrize("mode", ["-y", "--dry"])
def test_json_is_all_that_is_printed_there(run: Start, mode: str) -> None:
    done = run("deploy.py", "--json", "--diff", mode)
    assert done.status == 0, done.output
    assert json.loads(done.stdout)
    assert f"+++ {CLIENT_HOST}:" in done.stderr


def test_one_host_after_the_other_in_each_step(run: Start) -> None:
    done = run("deploy.py", "-y", "--parallel", "1")
    assert done.status == 0, done.output
    changed = [host for host, kind in done.execs if kind == "change"]
    assert changed == [SERVER_HOST, CLIENT_HOST]


def test_groups_may_have_the_data(run: Start, tmp_path: Path) -> None:
    def write(hosts: runs.Hosts) -> str:
        (server, of_server), (client, of_client) = hosts
        (tmp_path / "group_data").mkdir()
        data = "".join(f"{key} = {value!r}\n" for key, value in of_client.items())
        (tmp_path / "group_data" / "clients.py").write_text(data)
        return f"servers = ([{server!r}], {of_server!r})\nclients = [{client!r}]\n"

    done = run("deploy.py", "--dry", "--limit", "clients", write=write)
    assert done.status == 0, done.output
    assert {host for host, _ in done.execs} == {CLIENT_HOST}
    assert done.on(CLIENT_HOST) == ["read", "rehearse"]


def test_a_host_that_is_written_twice_has_one_tunnel_or_a_list(run: Start) -> None:
    def write(hosts: runs.Hosts) -> runs.Hosts:
        (client, data) = hosts[1]
        other = {**data["tunnel"], "number": 7}
        return [*hosts, (client, {**data, "tunnel": other})]

    done = run("deploy.py", "--dry", write=write)
    assert (done.status, done.execs) == (1, [])
    assert done.stderr.endswith(
        f"{CLIENT_HOST} is written twice in the inventory, with different `tunnel`: write it once, "
        "with a list of tunnels\n"
    )
    same = run("deploy.py", "--dry", write=lambda hosts: [*hosts, hosts[1]])
    assert same.status == 0, same.output


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [("ssh_port", "22", "str is not an instance of int"), ("ssh_user", 0, "int is not ")],
)
def test_what_pyinfra_cannot_connect_by_is_told_of_its_host(
    tmp_path: Path, key: str, value: object, why: str
) -> None:
    hosts: runs.Hosts = [("web1", {"tunnel": []}), ("web2", {"tunnel": [], key: value})]
    done = runs.run(tmp_path, hosts, "deploy.py", "--dry")
    assert done.status == 1
    assert done.stderr.splitlines()[-1].startswith(f"web2: `{key}`: {why}")


def test_what_is_no_name_of_a_host_fails_alone(tmp_path: Path) -> None:
    done = runs.run(tmp_path, [("web1..example.net", {"tunnel": []})], "deploy.py", "--dry")
    assert done.status == 1
    assert [row[:2] for row in done.table] == [["web1..example.net", "unreachable"]]


def test_from_elsewhere_the_settings_are_asked_for(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for name in ("tasks", "templates"):
        shutil.copytree(runs.REPOSITORY / name, clone / name)
    for name in ("config.py", "deploy.py"):
        shutil.copy(runs.REPOSITORY / name, clone)
    deploy = str(clone / "deploy.py")
    done = runs.run(tmp_path, declared(), deploy, "--dry", cwd=tmp_path)
    assert done.status == 1
    settings = f"--config {clone}/config.py"
    assert f"were not read: run it in {clone}, or add `{settings}`\n" in done.output
    again = runs.run(tmp_path, declared(), deploy, "--dry", *settings.split(), cwd=tmp_path)
    # So far came the run: this host says nothing.
    assert f"[{CLIENT_HOST}] the script that reads the host didn't run to its end" in again.output


@pytest.mark.parametrize("operation", ["deploy.py", "tasks.verify.verify"])
def test_a_pyinfra_without_the_packages_is_told_apart(tmp_path: Path, operation: str) -> None:
    start = "import sys; sys.modules['netaddr'] = None; from pyinfra_cli.main import main; main()"
    done = runs.run(tmp_path, declared(), operation, "--dry", program=(sys.executable, "-c", start))
    assert done.status == 1
    assert done.output.endswith(
        f"{sys.executable}, which runs pyinfra, lacks netaddr: "
        "`make setup && . .venv/bin/activate`, or `pipx inject pyinfra netaddr`\n"
    )
