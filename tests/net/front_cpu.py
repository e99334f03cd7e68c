"""CPU of the front for one request, with a door that does nothing: `python tests/net/front_cpu.py [REQUESTS]`.

A client in a process of its own sends usual requests of 120 bytes, one after the other and sixteen at once, over one connection;
beside it, the same bytes through a bare `asyncio.Protocol` that reads nothing. The difference is ours. The least of five runs.
"""

import asyncio
import multiprocessing
import socket
import sys
import time

from helm_ai_kernel.net.listener import Bounds, Head, Listener, Peer, Reply
from helm_ai_kernel.tcb.codes import Reason

RUNS = 5
DEPTHS = (1, 16)
FIELDS = (("Content-Type", "application/json"),)
ANSWERED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Nothing:
    def admit(self, head: Head, peer: Peer) -> Reply | None:
        return None

    async def answer(self, head: Head, body: bytes, peer: Peer) -> Reply:
        return Reply(200, FIELDS, body)

    def refused(self, reason: Reason, peer: Peer) -> None:
        raise AssertionError(reason)


class Bare(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"POST ")):
            self._transport.write(ANSWERED)


def ask(port: int, requests: int, depth: int) -> None:
    lines = ["POST /mcp/v1/execute HTTP/1.1", f"Host: 127.0.0.1:{port}", "User-Agent: python-httpx/0.28", "Accept: */*"]
    lines += ["Accept-Encoding: gzip", "Connection: keep-alive", "Authorization: Bearer 0123456789abcdef0123456789abcdef"]
    lines += ["Content-Type: application/json", "Content-Length: 120", "", ""]
    data = ("\r\n".join(lines) + "x" * 120).encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(requests // depth):
            connection.sendall(data * depth)
            answer = b""
            while answer.count(b"HTTP/1.1 200") < depth:
                answer += connection.recv(1 << 18)


async def spent(port: int, requests: int, depth: int) -> float:
    """Microseconds of this process for one request."""
    client = multiprocessing.get_context("fork").Process(target=ask, args=(port, requests, depth))
    client.start()
    before = time.process_time()
    await asyncio.to_thread(client.join)
    return (time.process_time() - before) / requests * 1e6


async def measured(requests: int) -> None:
    listener = Listener(Nothing(), Bounds())
    _, ours = await listener.start_tcp("127.0.0.1", 0)
    bare = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0)
    theirs = bare.sockets[0].getsockname()[1]
    for depth in DEPTHS:
        least = {port: min([await spent(port, requests, depth) for _ in range(RUNS)]) for port in (ours, theirs)}
        print(f"{depth:2} at once: {least[ours]:5.1f} µs with the front, {least[theirs]:5.1f} µs without")
    bare.close()
    await listener.close(within_s=1)


if __name__ == "__main__":
    asyncio.run(measured(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
