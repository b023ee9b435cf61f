"""The way to a host that takes its time."""

import hashlib
import os
import socket
import threading
import time

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


def _answer(listener: socket.socket, text: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        assert connection.recv(100) == b"question"
        connection.sendall(text)
