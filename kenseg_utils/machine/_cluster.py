"""A Dask cluster by its scheduler's address: connect, or say soon and clearly why not."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client

PATIENCE_SECONDS = 8  # that a scheduler may take to answer, so that a reader waits 10 s at most


def connect(address: str) -> Client:
    """A `distributed.Client` of the scheduler at `address`, such as "tcp://192.168.0.7:8786".

    Close it, or use it in a `with`. Dask sends functions and their arguments by cloudpickle, which
    can run any code: connect only to a scheduler that you trust, and whose workers trust you.
    Raises ValueError within 10 s where no scheduler answers, where the address cannot be read,
    or where Dask is not installed.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(
            "A cluster needs Dask, which is not installed here: pip install distributed."
        ) from error
    try:
        # In a thread of its own, because a notebook has an event loop running in this one.
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _greet(address, PATIENCE_SECONDS)).result()
        return Client(address, timeout="10s")
    except OSError as error:  # a TimeoutError is one, too
        raise ValueError(
            f"No Dask scheduler answered at {address!r} within 10 s: start one, or "
            "leave scheduler out to work on this machine."
        ) from error
    except Exception as error:  # whatever another kind of server's answer leads to
        raise ValueError(
            f"{address!r} is no address of a Dask scheduler ({error}): it looks like "
            "tcp://192.168.0.7:8786."
        ) from error


async def _greet(address: str, seconds: float) -> None:
    """Shake hands and leave. Client alone waits for ever where a port is open and says nothing."""
    from distributed.comm import connect as shake_hands
    from distributed.security import Security

    async def greet() -> None:
        arguments = Security().get_connection_args("client")
        comm = await shake_hands(address, timeout=seconds, **arguments)
        await comm.close()

    await asyncio.wait_for(greet(), seconds)
