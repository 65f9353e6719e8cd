"""What Prometheus reads at /metrics."""

import threading
from bisect import bisect_left
from collections import Counter

from serving.loaded import Loaded

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counts requests, tokens and the seconds to the first token; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._first = [0] * (len(_BOUNDS) + 1)
        self._first_sum = 0.0
        self.in_flight = 0

    def request(self, method: str, route: str, status: int) -> None:
        with self._lock:
            self._requests[method, route, status] += 1

    def answered(self, model: str, prompt: int, made: int) -> None:
        with self._lock:
            self._tokens[model, "prompt"] += prompt
            self._tokens[model, "generated"] += made

    def first_token(self, seconds: float) -> None:
        with self._lock:
            self._first[bisect_left(_BOUNDS, seconds)] += 1
            self._first_sum += seconds

    def text(self, loaded: list[Loaded]) -> str:
        """All of it in Prometheus' text format."""
        with self._lock:
            rows = _head("requests_total", "counter", "Answers by route and status.")
            for (method, route, status), count in sorted(self._requests.items()):
                labels = f'method="{method}",route="{route}",status="{status}"'
                rows.append(f"gpu_learning_requests_total{{{labels}}} {count}")
            rows += _head("tokens_total", "counter", "Tokens read and made.")
            for (model, kind), count in sorted(self._tokens.items()):
                rows.append(f'gpu_learning_tokens_total{{model="{model}",kind="{kind}"}} {count}')
            rows += _head("first_token_seconds", "histogram", "From the queue to the first token.")
            total = 0
            for bound, count in zip([*map(str, _BOUNDS), "+Inf"], self._first, strict=True):
                total += count
                rows.append(f'gpu_learning_first_token_seconds_bucket{{le="{bound}"}} {total}')
            rows.append(f"gpu_learning_first_token_seconds_sum {self._first_sum:.6f}")
            rows.append(f"gpu_learning_first_token_seconds_count {total}")
        rows += _head("in_flight", "gauge", "Requests that are being answered.")
        rows.append(f"gpu_learning_in_flight {self.in_flight}")
        rows += _head("loaded_models", "gauge", "Models in memory.")
        rows.append(f"gpu_learning_loaded_models {len(loaded)}")
        for name, text in (("active", "have a slot"), ("waiting", "wait for one")):
            rows += _head(f"{name}_texts", "gauge", f"Texts that {text}.")
            rows += [
                f'gpu_learning_{name}_texts{{model="{one.artifact.name}"}} '
                f"{getattr(one.batcher, name)}"
                for one in loaded
                if one.batcher
            ]
        return "\n".join(rows) + "\n"


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP gpu_learning_{name} {text}", f"# TYPE gpu_learning_{name} {kind}"]
