"""Hugging Face's package `spaces` as far as the program meets it: on ZeroGPU a function that `GPU` was put around runs in a forked process, to which
what it takes and gives is copied, and an error keeps its class's name only; elsewhere `GPU` does nothing."""

import inspect
import io
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from functools import wraps
from multiprocessing.reduction import ForkingPickler
from types import ModuleType
from typing import Any


class StandInSpaces(ModuleType):
    """Attributes: asked: (function, seconds) of every call. inside: whether this process is one that has the GPU."""

    def __init__(self, zero: bool) -> None:
        super().__init__("spaces")
        self.zero, self.asked, self.inside = zero, [], False

    def GPU(self, task: Callable[..., Any] | None = None, *, duration: Any = None) -> Any:
        if task is None:
            return lambda task: self.GPU(task, duration=duration)
        if not self.zero:
            return task
        made = self._stream(task, duration) if inspect.isgeneratorfunction(task) else self._call(task, duration)
        return wraps(task)(made)

    def _stream(self, task: Callable[..., Any], duration: Any) -> Callable[..., Iterator[Any]]:
        def gpu(*args: Any) -> Iterator[Any]:
            yield from self._forked(task, args, duration)
        return gpu

    def _call(self, task: Callable[..., Any], duration: Any) -> Callable[..., Any]:
        def gpu(*args: Any) -> Any:
            (value,) = self._forked(lambda *given: iter([task(*given)]), args, duration)
            return value
        return gpu

    def _forked(self, task: Callable[..., Any], args: tuple, duration: Any) -> Iterator[Any]:
        self.asked.append((getattr(task, "__qualname__", ""), duration(*args) if callable(duration) else duration))
        buffer = io.BytesIO()
        ForkingPickler(buffer).dump(args)  # raises where something cannot be copied
        receiver, sender = multiprocessing.Pipe()
        child = os.fork()
        if child == 0:
            code = 0
            try:
                self.inside = True
                receiver.close()
                for value in task(*ForkingPickler.loads(buffer.getvalue())):
                    sender.send(("value", value))
                sender.send(("end", None))
                sender.recv()  # tensors are taken over from a process that is there
            except BaseException as error:
                traceback.print_exc()
                sender.send(("error", type(error).__name__))
                code = 1
            finally:
                os._exit(code)
        sender.close()
        try:
            while True:
                kind, value = receiver.recv()
                if kind == "end":
                    receiver.send("taken")
                    return
                if kind == "error":
                    raise RuntimeError(f"ZeroGPU worker error: {value}")
                yield value
        finally:
            receiver.close()
            os.waitpid(child, 0)
