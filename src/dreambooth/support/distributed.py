"""One run on several processes, as torchrun and accelerate launch start them: they share the rows of every step.

Process 0 does all else alone and alone writes; the others wait until it calls them to train along. It says every few
seconds that it lives, in the store that the launcher or itself keeps, so nobody waits for one that is gone; and the
system closes a dead process's connections, which ends whatever the others were adding up with it.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, final

from dreambooth.errors import ConfigError, RunError
from dreambooth.support.device import device

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T", bool, int, str)

PATIENCE = 300.0
"""Seconds within which all processes must have come."""

LOADING = 1800.0
"""Seconds that one may wait for another to add up with it, which may be opening a large model."""

BEAT, LOST = 2.0, 60.0
"""Seconds between two signs of life, and without one after which a process is given up."""

BUCKET = 2**25
"""Numbers that are added up together: 128 MiB of float32."""


@final
class World:
    """The processes of a run. rank: of this one, from 0.  size: how many; one asks nothing of anybody."""

    def __init__(self, rank: int = 0, size: int = 1, store: Any = None) -> None:
        self.rank, self.size, self._store = rank, size, store
        self._said, self._calls, self._ended = 0, 0, threading.Event()
        if store is not None and rank == 0:
            store.set("beat", "0")
            threading.Thread(target=self._live, name="sign of life", daemon=True).start()

    def rows(self, count: int, before: int = 0) -> tuple[int, ...]:
        """Which of `count` rows this process computes, dealt out in turn after `before` others."""
        return tuple(row for row in range(count) if (before + row) % self.size == self.rank)

    def first(self, do: Callable[[], T]) -> T:
        """What process 0 does alone while the others wait for it; its answer, in all of them."""
        if self.size == 1:
            return do()
        self._said += 1
        if self.rank == 0:
            self._store.set(f"said {self._said}", json.dumps(do()))
        answer: T = json.loads(self._heard(f"said {self._said}") or "null")
        return answer

    def agree(self, mine: bool) -> bool:
        """Whether any process says yes."""
        if self.size == 1:
            return mine
        import torch

        yes = torch.tensor([float(mine)])
        self.add([yes])
        return bool(yes > 0)

    def add(self, tensors: "Sequence[Tensor]") -> None:
        """Put the sum over all processes in place of each tensor; of one kind and on one device."""
        if self.size == 1:
            return
        import torch
        from torch import distributed as dist

        while tensors:
            count, numbers = 1, tensors[0].numel()
            while count < len(tensors) and numbers + tensors[count].numel() <= BUCKET:
                numbers += tensors[count].numel()
                count += 1
            bucket, tensors = tensors[:count], tensors[count:]
            together = torch.cat([tensor.flatten() for tensor in bucket])
            with self._others():
                dist.all_reduce(together)
            parts = together.split([tensor.numel() for tensor in bucket])
            torch._foreach_copy_(
                list(bucket), [part.view_as(tensor) for part, tensor in zip(parts, bucket, strict=True)]
            )

    def share(self, tensors: "Sequence[Tensor]") -> None:
        """Put those of process 0 in place of each tensor."""
        if self.size == 1:
            return
        import torch

        with torch.no_grad():
            for tensor in tensors if self.rank else ():
                tensor.zero_()
            self.add(tensors)

    def require_same(self, what: str, mine: str) -> None:
        """Raise RunError where `mine` is another in process 0."""
        theirs = self.first(lambda: mine)
        if self.agree(theirs != mine):
            raise RunError(
                f"the processes of this run have other {what}: give every machine the same command, the same base "
                "model and photos, and one disk for run folder and class images."
            )

    def call(self, where: str) -> None:
        """Have the others train along in the run of this folder."""
        if self.size > 1:
            self._calls += 1
            self._store.set(f"call {self._calls}", where)

    def called(self) -> str | None:
        """The folder that process 0 calls to; None where it ends without a call."""
        self._calls += 1
        return self._heard(f"call {self._calls}")

    def end(self, failed: bool) -> None:
        """Tell the others how process 0 ends; well: wait for them, as it may keep the store that they read it in."""
        if self.rank == 0:
            self._store.set("ended", "failed" if failed else "done")
        if not failed:
            self.agree(False)
        self._ended.set()

    def _heard(self, key: str) -> str | None:
        """What process 0 says, as long as it lives; None where it has ended well before."""
        beat, since = "", time.monotonic()
        with self._others():
            while not self._store.check([key]):
                now = self._store.get("beat").decode()
                if now != beat:
                    beat, since = now, time.monotonic()
                ended = self._store.get("ended").decode() if self._store.check(["ended"]) else ""
                if ended == "done" and not self._store.check([key]):
                    return None
                if ended == "failed" or time.monotonic() - since > LOST:
                    why = "has failed, and says why" if ended else f"gave no sign of life for {LOST:.0f} seconds"
                    raise RunError(f"process 0 of {self.size} {why}: process {self.rank} ends too.")
                time.sleep(0.02)
            return str(self._store.get(key).decode())

    @contextmanager
    def _others(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # of torch, whose own kinds are all of this one
            raise RunError(
                f"process {self.rank} of {self.size} cannot reach the others any more: one of them has ended, and may "
                f"say why. Run the same command again to resume. ({str(error).partition(chr(10))[0][:200]})"
            ) from error

    def _live(self) -> None:
        beats = 0
        while not self._ended.wait(BEAT):
            beats += 1
            try:
                self._store.set("beat", str(beats))
            except RuntimeError:  # the store is gone: whoever works notices
                return


_NOW = [World()]


def world() -> World:
    """The processes of the run that is under way: this one alone, outside of `joined`."""
    return _NOW[-1]


def asked_for() -> int:
    """How many processes the launcher says there are; 1 without one. Raises ConfigError for what is no number."""
    said = os.environ.get("WORLD_SIZE", "1")
    if not said.isdecimal() or int(said) < 1:
        raise ConfigError([f"WORLD_SIZE is {said!r}: it must be the number of processes, and torchrun sets it."])
    return int(said)


@contextmanager
def joined() -> Iterator[World]:
    """Inside, `world` is all processes that the launcher started; raises RunError where they do not come."""
    if asked_for() == 1:
        yield world()
        return
    mine = _meet()
    _NOW.append(mine)
    try:
        yield mine
    except BaseException:
        with suppress(RuntimeError):  # what the store says when it is gone
            mine.end(failed=True)
        raise
    else:
        mine.end(failed=False)
    finally:
        _NOW.remove(mine)


def _meet() -> World:
    import torch
    from torch import distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    patience = timedelta(seconds=PATIENCE)
    gpu = device().type == "cuda"
    try:
        if gpu:
            own = int(os.environ["LOCAL_RANK"])
            if own >= torch.cuda.device_count():
                raise ConfigError(
                    [f"this machine has {torch.cuda.device_count()} GPUs, too few for process {own}: start fewer."]
                )
            torch.cuda.set_device(own)
        store, rank, size = next(iter(rendezvous("env://", timeout=patience)))
        backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
        groups = PrefixStore("groups", store)
        dist.init_process_group(backend, store=groups, rank=rank, world_size=size, timeout=timedelta(seconds=LOADING))
    except (RuntimeError, ValueError, KeyError) as error:
        raise RunError(
            f"WORLD_SIZE is {asked_for()}, and so many processes did not come together within {PATIENCE:.0f} seconds: "
            "start them all, by torchrun on every machine, or unset WORLD_SIZE. "
            f"({str(error).partition(chr(10))[0][:200]})"
        ) from error
    return World(rank, size, PrefixStore("run", store))
