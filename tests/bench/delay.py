"""A way to a host that takes its time, since this kernel may have no netem.

Every chunk is held for half a round trip, and the next one isn't held for it: throughput is what it
is without. A new connection takes a round trip before anything passes, as TCP's handshake does;
that a window grows by round trips isn't there.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 1 << 16


@contextmanager
def round_trip(seconds: float, address: str, port: int) -> Iterator[int]:
    """The port on the same address by which a host is so far away, as long as the context lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def connected(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        far, to = await asyncio.open_connection(address, port)
        await asyncio.gather(_carry(near, to, seconds / 2), _carry(far, back, seconds / 2))
        to.close()
        back.close()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(connected, address, 0)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result()

    async def end() -> None:
        server.close()
        going = asyncio.all_tasks() - {asyncio.current_task()}
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)

    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


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

    taking = asyncio.ensure_future(take())
    # One end may have said all, and hear the other out.
    with suppress(OSError):
        chunk = b"more"
        while chunk:
            due, chunk = await held.get()
            await asyncio.sleep(due - loop.time())
            target.write(chunk)
            await target.drain()
        target.write_eof()
    await taking
