"""What is done to pyinfra's and paramiko's connection to a host."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from paramiko import ChannelException, MissingHostKeyPolicy, SSHException
from paramiko.file import BufferedFile
from pyinfra.connectors import ssh, util
from pyinfra.connectors.sshuserclient import client

from tasks.running import connection
from tests import runs
from tests.samples import bare
from tests.ssh_hosts import SshHost, SshHosts


class Transport:
    """Of an sshd that refuses a number of times to open a session."""

    def __init__(self, refusals: int) -> None:
        self.sock = None
        self.refusals = refusals

    def open_channel(self, kind: str) -> str:
        if self.refusals:
            self.refusals -= 1
            raise ChannelException(2, "Connect failed")
        return f"a {kind}"


def prepared(transport: Transport) -> Any:
    client = SimpleNamespace(get_transport=lambda: transport)
    host: Any = SimpleNamespace(connector=SimpleNamespace(client=client))
    connection.prepare(host)
    connection.prepare(host)
    return transport


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSE", 0)


def test_a_session_that_is_refused_for_a_moment_is_asked_for_again() -> None:
    transport = prepared(Transport(connection.ATTEMPTS - 1))
    assert transport.open_channel("session") == "a session"


def test_a_session_that_stays_refused_is_asked_for_a_number_of_times() -> None:
    transport = prepared(Transport(connection.ATTEMPTS + 1))
    with pytest.raises(ChannelException):
        transport.open_channel("session")
    assert transport.refusals == 1


@pytest.fixture
def unpatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pyinfra as it was when the test is over."""
    meta = ssh.connector_data_meta["ssh_strict_host_key_checking"]
    monkeypatch.setattr(meta, "default", meta.default)
    monkeypatch.setattr(client, "get_missing_host_key_policy", client.get_missing_host_key_policy)
    monkeypatch.setattr(client, "input", input, raising=False)
    monkeypatch.setattr(util, "read_buffer", util.read_buffer)


# What ~/.ssh/config says, what the host's data says, and what becomes of an unknown key.
KEYS = [
    ("", None, client.AcceptNewPolicy),
    ("StrictHostKeyChecking yes", None, client.StrictPolicy),
    ("StrictHostKeyChecking ask", None, client.AskPolicy),
    ("StrictHostKeyChecking accept-new", None, client.AcceptNewPolicy),
    ("StrictHostKeyChecking yes", "accept-new", client.AcceptNewPolicy),
    ("", "yes", client.StrictPolicy),
]


@pytest.mark.usefixtures("unpatched")
@pytest.mark.parametrize(("configured", "data", "policy"), KEYS)
def test_an_unknown_key_is_treated_as_ssh_does(
    tmp_path: Path, configured: str, data: str | None, policy: type[MissingHostKeyPolicy]
) -> None:
    connection.check_keys_as_ssh_does()
    config = tmp_path / "config"
    config.write_text(f"Host web1\n    {configured}\n")
    setting = data or ssh.connector_data_meta["ssh_strict_host_key_checking"].default
    found = client.SSHClient().parse_config(
        "web1", ssh_config_file=str(config), strict_host_key_checking=setting
    )
    assert any(type(each) is policy for each in found)


@pytest.mark.usefixtures("unpatched")
def test_who_is_not_there_to_judge_a_key_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection.check_keys_as_ssh_does()
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(SSHException, match="connect to it once with `ssh`"):
        client.AskPolicy().missing_host_key(None, "web1", None)


@pytest.mark.usefixtures("unpatched")
def test_lines_that_are_no_text_are_read_and_shown_harmless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(util, "echo", lambda line, **_: shown.append(line))
    connection.read_any_bytes()
    told = util.run_local_process(
        r"printf 'Gr\303\266\303\237e\n\377\033[2J\nlast\n'", print_output=True
    )
    status, output = told
    assert status == 0
    assert output.stdout_lines == ["Größe", "\ufffd\x1b[2J", "last"]
    assert shown == ["Größe", "\ufffd\\x1b[2J", "last"]


def test_paramikos_files_are_read_so_too() -> None:
    class Said(BufferedFile):  # type: ignore[type-arg]
        def __init__(self, said: bytes) -> None:
            super().__init__()
            self.said = io.BytesIO(said)
            self._set_mode("r")  # type: ignore[attr-defined]

        def _read(self, size: int) -> bytes:
            return self.said.read(size)

    assert [*connection._decoded(Said(b"\xff\n\xc3\xb6\n"))] == ["\ufffd", "ö"]
    # However it comes.
    long = "o" * 100_000
    assert [*connection._decoded(Said(f"one\n\ntw{long}".encode()))] == ["one", "", f"tw{long}"]


def test_a_session_that_was_given_up_ends_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BufferedFile, "__del__", BufferedFile.__del__)
    file: Any = BufferedFile()
    file._set_mode("w")
    file._wbuffer.close()
    with pytest.raises(ValueError, match="closed file"):
        file.__del__()
    connection.forget_hung_sessions()
    file.__del__()


def test_what_is_sent_and_answered_is_compressed(tmp_path: Path) -> None:
    state = bare("ifupdown", "client")
    host = SshHost(state, state)
    with SshHosts({"web1.example.net": host}) as listening:
        done = runs.run(
            tmp_path, [listening.data("web1.example.net", tunnel=[])], "deploy.py", "-y"
        )
    assert done.status == 0, done.output
    assert host.compression == "zlib@openssh.com"
