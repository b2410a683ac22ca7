"""LitServe with batching: ids come over HTTP, one a request.

python -m benchmarks.programs.litserve_server PORT
"""

# No `from __future__ import annotations`: LitServe reads the annotation of `request` as a type.
import sys
from typing import Any

import litserve

from benchmarks.programs.peer_work import Judge

BATCH = 64
WAIT_SECONDS = 0.05


class Moderator(litserve.LitAPI):  # type: ignore[misc]  # untyped
    """LitServe's verbs; fetching, classifying and writing are `predict`."""

    def setup(self, device: str) -> None:
        """Load and warm the model, once in each worker."""
        self._judge = Judge()

    def decode_request(self, request: dict[str, Any]) -> str:
        """A post id."""
        return str(request["id"])

    def batch(self, inputs: list[str]) -> list[str]:
        """Ids stay a list."""
        return list(inputs)

    def predict(self, x: list[str]) -> list[str]:
        """Judge what was collected."""
        self._judge(x)
        return x

    def unbatch(self, output: list[str]) -> list[str]:
        """One answer each."""
        return output

    def encode_response(self, output: str) -> dict[str, str]:
        """Say which post was judged."""
        return {"id": output}


if __name__ == "__main__":
    server = litserve.LitServer(
        Moderator(max_batch_size=BATCH, batch_timeout=WAIT_SECONDS),
        accelerator="cpu",
        workers_per_device=1,
        timeout=120,
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False
    )
