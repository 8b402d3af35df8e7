# SPDX-License-Identifier: Apache-2.0
"""An event simulation of one replica under continuous batching.

It knows no physics: a `StepTime` says how long a step lasts. Steps that only decode are
taken many at once, up to the next event (a sequence ends, a request arrives).
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable

import numpy as np

from roofline.serving.arrivals import Traffic
from roofline.serving.metrics import Outcome
from roofline.serving.policies import UNLIMITED, Limits, get_policy
from specs.errors import InvalidInputError

StepTime = Callable[[float, float, float, float], float]
"""``step_time_s(prefill_tokens, prefill_context, decode_sequences, mean_context)``.

Seconds of one step that carries `prefill_tokens` of prompts, each of which attends to
`prefill_context` earlier tokens on average, and one token for each of `decode_sequences`
sequences that have `mean_context` tokens cached on average. Either may be 0.
"""


def simulate(traffic: Traffic, limits: Limits, step_time_s: StepTime) -> Outcome:
    """Serve `traffic` on one replica and time every request.

    Raises
    ------
    InvalidInputError
        A request that the KV cache cannot hold even alone.
    UnknownNameError
        No such policy.
    """
    replica = _Replica(traffic, limits, step_time_s)
    replica.run()
    return replica.outcome()


class _Replica:
    """State of one run; `run` advances it step by step."""

    def __init__(self, traffic: Traffic, limits: Limits, step_time_s: StepTime) -> None:
        self.traffic, self.limits, self.step_time_s = traffic, limits, step_time_s
        self.policy = get_policy(limits.policy)
        self.chunk = limits.chunk_tokens or UNLIMITED
        self.places = limits.max_sequences or UNLIMITED
        self.prompt = traffic.input_tokens.tolist()
        self.output = traffic.output_tokens.tolist()
        count = self.count = len(self.prompt)
        reserved = traffic.input_tokens + limits.reserved_output_frac * traffic.output_tokens
        held: list[float] = reserved.tolist()
        if max(held) > limits.kv_tokens:
            raise InvalidInputError(
                f"a request of {max(held):.0f} tokens does not fit the {limits.kv_tokens:.0f} "
                "of the KV cache; shorten it, or use more or larger devices."
            )
        self.held = held
        self.sent, self.first, self.end = [0.0] * count, [0.0] * count, [0.0] * count
        self.now, self.busy, self.done, self.next = 0.0, 0.0, 0, 0
        self.decode_s, self.decode_steps, self.decode_tokens = 0.0, 0, 0
        self.arriving: list[tuple[float, int]] = []
        self.waiting: deque[int] = deque()  # not admitted yet
        self.came = [0] * count  # step in which a request came to wait
        self.prefilling: deque[list[int]] = deque()  # admitted: [request, tokens done]
        self.decoding: list[tuple[int, int]] = []  # heap of (step at which it ends, request)
        self.steps, self.context, self.used, self.admitted = 0, 0, 0.0, 0
        if traffic.concurrency:
            for _ in range(min(traffic.concurrency, count)):
                self._send(0.0)
        else:
            for at in traffic.sent_s.tolist():
                self._send(at)

    def _send(self, at_s: float) -> None:
        if self.next < self.count:
            self.sent[self.next] = at_s
            heapq.heappush(self.arriving, (at_s + self.limits.request_s, self.next))
            self.next += 1

    def run(self) -> None:
        """Step until every request has ended."""
        while self.done < self.count:
            while self.arriving and self.arriving[0][0] <= self.now:
                self.waiting.append(heapq.heappop(self.arriving)[1])
                self.came[self.waiting[-1]] = self.steps
            self._admit()
            if self.prefilling:
                self._step_with_prompts()
            elif self.decoding:
                self._decode()
            else:
                self.now = self.arriving[0][0]

    def _admit(self) -> None:
        """Give room in the cache to those that wait, first come first served."""
        waiting, room = self.waiting, self.limits.kv_tokens
        while waiting and self.admitted < self.places and not self._held():
            needed = self.held[waiting[0]]
            if self.used + needed > room:
                return
            self.used += needed
            self.admitted += 1
            self.prefilling.append([waiting.popleft(), 0])

    def _held(self) -> int:
        """Steps for which the first that waits is held back."""
        if not self.decoding:
            return 0
        return max(self.limits.held_steps - (self.steps - self.came[self.waiting[0]]), 0)

    def _step_with_prompts(self) -> None:
        """One step that carries prompts, and decodes where the policy mixes."""
        count = len(self.decoding)
        budget, mixes = self.policy(count, self.chunk)
        if budget <= 0:
            self._advance(1)
            return
        tokens, pairs, ended = 0, 0.0, []
        while self.prefilling and tokens < budget:
            head = self.prefilling[0]
            size = min(self.prompt[head[0]] - head[1], budget - tokens)
            pairs += size * (head[1] + size / 2.0)
            tokens += size
            head[1] += size
            if head[1] == self.prompt[head[0]]:
                ended.append(head[0])
                self.prefilling.popleft()
        taking = count if mixes else 0
        mean = self.context / count if taking else 0.0
        step_s = self.step_time_s(tokens, pairs / tokens, taking, mean)
        self.now += step_s
        self.busy += step_s
        if taking:
            self._count_decode(1, taking, step_s)
        for request in ended:
            self.first[request] = self.now
            if self.output[request] > 1:
                self.context += self.prompt[request]
                heapq.heappush(self.decoding, (self.steps + self.output[request] - 1, request))
            else:
                self._finish(request)
        self._end_decoded()

    def _decode(self) -> None:
        """Steps that only decode, until something can change."""
        most = self.decoding[0][0] - self.steps
        held = self.limits.held_steps > 0
        if self.waiting and held:
            most = min(most, self._held() or most)
        if self.arriving and (held or not self.waiting) and self.admitted < self.places:
            # One that waits for room cannot be admitted before a sequence ends.
            count = len(self.decoding)
            step_s = self.step_time_s(0, 0.0, count, self.context / count)
            left_s = self.arriving[0][0] - self.now
            most = min(most, max(1, math.ceil(left_s / step_s)))
        self._advance(most)

    def _advance(self, steps: int) -> None:
        """Take `steps` decode steps at the mean of their contexts."""
        count = len(self.decoding)
        mean = self.context / count + (steps - 1) / 2.0
        time_s = steps * self.step_time_s(0, 0.0, count, mean)
        self.now += time_s
        self.busy += time_s
        self._count_decode(steps, count, time_s)
        self._end_decoded()

    def _count_decode(self, steps: int, count: int, time_s: float) -> None:
        self.steps += steps
        self.context += steps * count
        self.decode_s += time_s
        self.decode_steps += steps
        self.decode_tokens += steps * count

    def _end_decoded(self) -> None:
        while self.decoding and self.decoding[0][0] <= self.steps:
            request = heapq.heappop(self.decoding)[1]
            self.context -= self.prompt[request] + self.output[request] - 1
            self._finish(request)

    def _finish(self, request: int) -> None:
        self.end[request] = self.now
        self.used -= self.held[request]
        self.admitted -= 1
        self.done += 1
        if self.traffic.concurrency:
            self._send(self.now)

    def outcome(self) -> Outcome:
        """What was recorded."""
        return Outcome(
            sent_s=np.array(self.sent),
            first_s=np.array(self.first),
            end_s=np.array(self.end),
            input_tokens=np.array(self.prompt, dtype=float),
            output_tokens=np.array(self.output, dtype=float),
            busy_s=self.busy,
            decode_s=self.decode_s,
            decode_steps=float(self.decode_steps),
            decode_tokens=float(self.decode_tokens),
        )
