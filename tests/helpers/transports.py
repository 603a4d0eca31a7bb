"""Transports that stand between a reader and its chain."""

from __future__ import annotations

import json


class Altered:
    """A node that changes another node's answers."""

    def __init__(self, reader, change):
        self._inner, self._change = reader._transport, change

    def request(self, method, params):
        answer = json.loads(json.dumps(self._inner.request(method, params)))
        return self._change(method, answer)


class Counting:
    """Records the requests."""

    def __init__(self, transport):
        self.transport = transport
        self.methods = []

    def request(self, method, params):
        self.methods.append(method)
        return self.transport.request(method, params)
