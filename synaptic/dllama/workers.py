"""
The workers of a root: all proved free before the first of them is greeted, for one whose session never gets going ends;
and every session ended politely, whatever happens.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from synaptic.dllama.link import LostError
from synaptic.dllama.running import Loading, Tell, Traffic
from synaptic.dllama.to_worker import PATIENCE, CallOff, LostWorkerError, ToWorker, address, connect, prove
from synaptic.dllama.wire import Peer

_PROBING = 5.0  # seconds for a worker to say that it lives


class Workers:
    """`links`: to each of them, in their order, while there are sessions. `patience`: seconds without a byte."""

    def __init__(self, peers: Sequence[Peer], patience: float = PATIENCE) -> None:
        self.patience = patience
        self.links: list[ToWorker] = []
        self._peers = tuple(peers)

    @contextlib.contextmanager
    def meeting(self, call_off: CallOff) -> Iterator[None]:
        """Should it not come to a session with all of them, those there are end, each as far as it is. LostWorkerError."""
        for peer in self._peers:
            prove(peer, self.patience)
        try:
            for peer in self._peers:
                call_off.check()
                self.links.append(connect(peer, self.patience))
            yield
        except BaseException:
            self.finish()
            raise

    def settle(self, done: int, total: int, call_off: CallOff, tell: Tell) -> None:
        """Until all have their weights; those that read them from a file of theirs say how far they are."""
        for link in self.links:
            read = 0
            while (now := link.weights_read()) is not None:
                call_off.check()
                read = now
                tell(Loading(min(done + read, total), total))
            done += read
        tell(Loading(total, total))

    def traffic(self) -> tuple[Traffic, ...]:
        return tuple(Traffic(link.name, link.sent, link.received, link.waited) for link in self.links)

    def cut(self) -> None:
        """From any thread."""
        for link in self.links:
            link.cut()

    def finish(self) -> None:
        """As often as you like. All at once: they may be waiting for each other."""
        ending = [threading.Thread(target=link.finish) for link in self.links]
        self.links.clear()
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join()

    def blamed(self, error: LostError) -> LostError:
        """
        Workers that miss one of theirs close their connections too, so who was noticed first may be alive: ask them. But
        those that wait for one that hangs cannot answer, and have sent their part before.

        Only when the sessions are over.
        """
        if isinstance(error, LostWorkerError) and error.is_silent:
            return error
        for peer in self._peers:
            try:
                prove(peer, _PROBING)
            except LostWorkerError as found:
                why = error.why if isinstance(error, LostWorkerError) and error.worker == peer else f"was lost: it {found.why}"
                return LostWorkerError(peer, why)
        if isinstance(error, LostWorkerError):
            return error
        named = [peer for peer in self._peers if address(peer) in str(error)] or list(self._peers)
        return LostWorkerError(named[0], str(error).removeprefix(address(named[0])).strip())
