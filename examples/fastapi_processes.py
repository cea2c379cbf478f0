"""fastapi_app.py from several processes, one for each core.

    python examples/fastapi_processes.py --processes 2 --port 8000

As `uvicorn --workers 2`, but for the socket: that of uvicorn 0.54 leaves Nagle's algorithm on, so that the second part
of each answer waits for the client's acknowledgement of the first: 44 ms in place of 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys

import uvicorn


def open_listening_socket(host: str, port: int) -> socket.socket:
    """The socket that all processes accept connections from."""
    # asyncio turns Nagle's algorithm off where a socket says that it is TCP's, which the default of 0 does not.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    bound.listen(2048)
    return bound


def serve(bound: socket.socket) -> None:
    """Run one process until it is told to end."""
    from fastapi_app import app

    uvicorn.Server(uvicorn.Config(app, access_log=False)).run(sockets=[bound])


def main() -> None:
    """Serve until one of the processes ends, or this one is told to."""
    parser = argparse.ArgumentParser(description="Serve fastapi_app.py from several processes.")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one for each core")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    bound = open_listening_socket(options.host, options.port)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=serve, args=(bound,)) for _ in range(options.processes)]
    print(f"Running on http://{options.host}:{bound.getsockname()[1]}", file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for process in processes:
            process.start()
        multiprocessing.connection.wait([process.sentinel for process in processes])
    except KeyboardInterrupt:
        pass
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


if __name__ == "__main__":
    main()
