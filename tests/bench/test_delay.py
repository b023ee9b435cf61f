"""The way to a host that takes its time."""

import gc
import hashlib
import os
import socket
import threading
import time

import pytest

from tests.bench import delay

SECONDS = 0.2
ADDRESS = "127.0.0.1"


def test_an_answer_comes_whole_and_two_round_trips_after_the_beginning() -> None:
    sent = os.urandom(1 << 22)
    with socket.create_server((ADDRESS, 0)) as listener:
        threading.Thread(target=_answer, args=(listener, sent), daemon=True).start()
        with delay.round_trip(SECONDS, ADDRESS, listener.getsockname()[1]) as port:
            began = time.monotonic()
            with socket.create_connection((ADDRESS, port)) as connection:
                connection.sendall(b"question")
                connection.shutdown(socket.SHUT_WR)
                got = bytearray()
                late = 0.0
                while part := connection.recv(1 << 16):
                    late = late or time.monotonic() - began
                    got += part
    assert late >= 2 * SECONDS
    assert hashlib.sha256(got).digest() == hashlib.sha256(sent).digest()


def test_who_is_still_connected_at_its_end_is_cut_off_without_a_word(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server((ADDRESS, 0)) as listener:
        with (
            delay.round_trip(0.01, ADDRESS, listener.getsockname()[1]) as port,
            socket.create_connection((ADDRESS, port)) as connection,
        ):
            connection.sendall(b"question")
            far, _ = listener.accept()
            far.settimeout(10)
            assert far.recv(100) == b"question"
        assert far.recv(100) == b""
        far.close()
    gc.collect()
    assert capfd.readouterr() == ("", "")


def _answer(listener: socket.socket, text: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        assert connection.recv(100) == b"question"
        connection.sendall(text)
