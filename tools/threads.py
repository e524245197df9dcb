"""Blocking calls beside the event loop, each in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


async def in_thread(call: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    """What `call` gives, made in a new thread in the context of the caller. Raises what it raises.

    No call waits until another has ended, as in a pool of threads. One that nobody waits for any more,
    because its run was stopped, goes on unheard; neither the event loop nor the process waits for its end.
    """
    context, answer = copy_context(), Future[Result]()
    answer.set_running_or_notify_cancel()

    def run() -> None:
        try:
            answer.set_result(context.run(call, *arguments))
        except StopIteration as error:  # which no future can hold
            answer.set_exception(RuntimeError(f"{call!r} raised {error!r}"))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(answer)
