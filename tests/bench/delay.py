"""A way to a host that takes its time, since this kernel may have no netem.

Every chunk is held for half a round trip, and the next one isn't held for it: throughput is what it
is without. A new connection takes a round trip before anything passes, as TCP's handshake does;
that a window grows by round trips isn't there.
"""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress

_CHUNK = 1 << 16

# What ends it from another thread, and the port.
Started = Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]]


@contextmanager
def round_trip(seconds: float, address: str, port: int) -> Iterator[int]:
    """The port on the same address by which a host is so far away, as long as the context lasts."""
    started: Started = Future()
    serving = _serve(seconds, address, port, started)
    thread = threading.Thread(target=asyncio.run, args=(serving,), daemon=True)
    thread.start()
    loop, ended, near = started.result()
    try:
        yield near
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


async def _serve(seconds: float, address: str, port: int, started: Started) -> None:
    async def connected(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        # Of one that is ended with the context, asyncio would complain.
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(seconds)
            far, to = await asyncio.open_connection(address, port)
            with closing(to), closing(back):
                async with asyncio.TaskGroup() as both:
                    both.create_task(_carry(near, to, seconds / 2))
                    both.create_task(_carry(far, back, seconds / 2))

    ended = asyncio.Event()
    server = await asyncio.start_server(connected, address, 0)
    started.set_result((asyncio.get_running_loop(), ended, server.sockets[0].getsockname()[1]))
    await ended.wait()
    server.close()


async def _carry(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, seconds: float
) -> None:
    loop = asyncio.get_running_loop()
    held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def take() -> None:
        chunk = b"more"
        while chunk:
            try:
                chunk = await source.read(_CHUNK)
            except OSError:
                chunk = b""
            held.put_nowait((loop.time() + seconds, chunk))

    async with asyncio.TaskGroup() as taking:
        taking.create_task(take())
        # One end may have said all, and hear the other out.
        with suppress(OSError):
            chunk = b"more"
            while chunk:
                due, chunk = await held.get()
                await asyncio.sleep(due - loop.time())
                target.write(chunk)
                await target.drain()
            target.write_eof()
