# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that misbehaves on demand: cut, stall, delay, split every byte.

Runs in a thread of its own; every method may be called from the test's thread, and has taken
effect when it returns. Faults apply to connections that are open and to those that follow."""
import asyncio
import socket
import struct
import threading


class FaultProxy:
    def __init__(self, target_host, target_port, host="127.0.0.1", port=0):
        self._target = (target_host, target_port)
        self.host, self.port = host, port
        self._pairs = set()  # (client writer, server writer)
        self._flow = {}  # direction -> asyncio.Event, set while bytes may pass
        self._delay_s = 0.0
        self._split = 0
        self._cut_after = None
        self._rewrite = None
        self.rewritten = 0
        self.accepted = 0
        self.bytes = {"up": 0, "down": 0}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._open())

    # -- faults -------------------------------------------------------------------------------
    def split(self, size=1):
        """Passes at most `size` bytes per write, both ways; 0 ends it."""
        self._set("_split", size)

    def delay(self, seconds):
        """Holds every piece back for a while, both ways."""
        self._set("_delay_s", seconds)

    def stall(self, direction="both"):
        """Passes nothing more, connections stay open. "up" is to the server, "down" from it."""
        self._gate(direction, asyncio.Event.clear)

    def resume(self, direction="both"):
        self._gate(direction, asyncio.Event.set)

    def cut_after(self, count):
        """Resets a connection once the server has sent `count` more bytes over all of them."""
        self._set("_cut_after", None if count is None else self.bytes["down"] + count)

    def rewrite(self, before, after):
        """Bytes of the client become others, of the same length, wherever one piece holds them whole."""
        assert len(before) == len(after)
        self._set("_rewrite", (before, after))

    def cut(self):
        """Resets all open connections now."""

        async def run():
            for pair in list(self._pairs):
                self._reset(pair)

        self._call(run())

    def refuse(self):
        """Stops listening: new connections are refused; open ones live."""

        async def run():
            self._server.close()

        self._call(run())

    def accept(self):
        """Listens again on the same port."""
        self._call(self._open())

    @property
    def open_connections(self):
        return len(self._pairs)

    # -- life ---------------------------------------------------------------------------------
    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        async def run():
            self._server.close()
            for pair in list(self._pairs):
                self._reset(pair)
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for t in tasks:
                t.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._call(run())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    # -- inside -------------------------------------------------------------------------------
    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def _set(self, name, value):
        async def run():
            setattr(self, name, value)

        self._call(run())

    def _gate(self, direction, what):
        async def run():
            for d in ("up", "down") if direction == "both" else (direction,):
                what(self._flow[d])

        self._call(run())

    async def _open(self):
        if not self._flow:
            for d in ("up", "down"):
                self._flow[d] = asyncio.Event()
                self._flow[d].set()
        self._server = await asyncio.start_server(self._on_client, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _reset(self, pair):
        """Ends both sides at once with RST, as a network that is gone would."""
        for w in pair:
            sock = w.get_extra_info("socket")
            if sock is not None:
                try:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                except OSError:
                    pass
            w.transport.abort()
        self._pairs.discard(pair)

    async def _on_client(self, reader, writer):
        self.accepted += 1
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, server_writer)
        for w in pair:
            w.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._pump("up", reader, server_writer, pair),
                self._pump("down", server_reader, writer, pair),
                return_exceptions=True,
            )
        except asyncio.CancelledError:  # close(): asyncio would complain about what it asked for
            pass
        self._pairs.discard(pair)
        for w in pair:
            w.close()

    async def _pump(self, direction, reader, writer, pair):
        try:
            while True:
                data = await reader.read(65536)
                if not data:
                    await self._flow[direction].wait()
                    writer.write_eof()
                    return
                if direction == "up" and self._rewrite:
                    self.rewritten += data.count(self._rewrite[0])
                    data = data.replace(*self._rewrite)
                while data:
                    await self._flow[direction].wait()
                    if self._delay_s:
                        await asyncio.sleep(self._delay_s)
                    size = self._split or len(data)
                    if direction == "down" and self._cut_after is not None:
                        room = self._cut_after - self.bytes["down"]
                        if room <= 0:
                            self._reset(pair)
                            return
                        size = min(size, room)
                    piece, data = data[:size], data[size:]
                    self.bytes[direction] += len(piece)
                    writer.write(piece)
                    await writer.drain()
                    if self._split:
                        await asyncio.sleep(0)
        except (ConnectionError, OSError):
            self._reset(pair)
