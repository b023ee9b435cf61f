"""A monitor that tells of an event before it greets, or before it agrees, is asked anew."""

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.places import Place
from tests.lab.qemu import Qemu

Message = Mapping[str, object]

GREETING: Message = {"QMP": {"version": {}, "capabilities": []}}
EVENT: Message = {"event": "STOP", "timestamp": {"seconds": 0, "microseconds": 0}}
DONE: Message = {"return": {}}
REFUSED: Message = {"error": {"class": "GenericError", "desc": "no"}}


@pytest.fixture
def qemu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Qemu]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # A test's own folder has its name, and workers' in it: too long for a socket's 107 bytes.
    with TemporaryDirectory() as short:
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        yield Lab().machine("server-netplan").qemu


@contextmanager
def monitor(qemu: Qemu, *talks: Sequence[Message]) -> Iterator[list[str]]:
    """Serve a client with each of the talks, and yield what they ask: messages to answer with.

    The first message of a talk waits for no question.
    """
    path = Place.from_environment().sockets / f"{qemu.machine.name}.qmp"
    path.parent.mkdir(parents=True)
    asked: list[str] = []
    with (
        socket.socket(socket.AF_UNIX) as listener,
        ThreadPoolExecutor(max_workers=1) as others,
    ):
        listener.bind(str(path))
        listener.listen()
        served = others.submit(_serve, listener, talks, asked)
        yield asked
        served.result(timeout=10)


def _serve(listener: socket.socket, talks: Sequence[Sequence[Message]], asked: list[str]) -> None:
    for first, *answers in talks:
        client, _address = listener.accept()
        with client:
            client.sendall(_line(first))
            # The library ends no line, asks one thing at a time, and minds who hangs up first.
            while question := client.recv(4096):
                asked.append(json.loads(question)["execute"])
                answer = {**answers.pop(0), "id": json.loads(question).get("id")}
                client.sendall(_line(answer))


def _line(message: Message) -> bytes:
    return json.dumps(message).encode() + b"\n"


@pytest.mark.parametrize("disturbed", [[EVENT], [GREETING, EVENT]], ids=["greets", "agrees"])
def test_an_event_before_a_talk_has_begun_is_no_answer(
    qemu: Qemu, disturbed: Sequence[Message]
) -> None:
    with monitor(qemu, disturbed, disturbed, [GREETING, DONE, DONE]) as asked:
        qemu.pause()
    assert asked[-2:] == ["qmp_capabilities", "stop"]
    assert asked.count("stop") == 1


def test_what_was_asked_once_is_not_asked_again(qemu: Qemu) -> None:
    with (
        monitor(qemu, [GREETING, DONE, REFUSED]) as asked,
        pytest.raises(LabError, match="its monitor does not answer: no"),
    ):
        qemu.pause()
    assert asked == ["qmp_capabilities", "stop"]


def test_a_machine_without_a_monitor_is_not_waited_for(qemu: Qemu) -> None:
    with pytest.raises(LabError, match=r"server-netplan: its monitor does not answer: .*No such"):
        qemu.pause()
