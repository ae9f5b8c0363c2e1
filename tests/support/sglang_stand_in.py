"""An SGLang server's ``/generate``, as far as its scores of a prompt's end go: real HTTP, requests that are checked.

Scores come from a plain forward pass of the checkpoint by transformers. No SGLang is in it.
"""

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from PIL import Image


class StandIn:
    """What was asked, and the answers."""

    def __init__(self, model: Path) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self._model = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval()
        self._images = AutoProcessor.from_pretrained(model, use_fast=False).image_processor
        self._lock = threading.Lock()
        self._seen: set[tuple[int, ...]] = set()
        self.asked: list[dict[str, Any]] = []
        self.flushed = 0

    def generate(self, body: dict[str, Any]) -> dict[str, Any]:
        assert set(body) <= {"input_ids", "image_data", "sampling_params", "return_logprob", "logprob_start_len"}
        assert body["sampling_params"] == {"max_new_tokens": 0, "temperature": 0}
        with self._lock:
            self.asked.append(body)
            ids = self._expanded(body)
            cached = max((len(seen) for seen in self._seen if tuple(ids[: len(seen)]) == seen), default=0)
            about: dict[str, Any] = {"prompt_tokens": len(ids), "cached_tokens": min(cached, len(ids) - 1)}
            self._seen.add(tuple(ids))
            if body.get("return_logprob"):
                start = body["logprob_start_len"]
                assert 0 < start < len(ids)
                logprobs = self._forward(ids, body).log_softmax(-1)
                # The token at the start itself has no score: its row is not computed.
                scored = [[float(logprobs[at - 1, ids[at]]), ids[at], None] for at in range(start + 1, len(ids))]
                about["input_token_logprobs"] = [[None, ids[start], None], *scored]
        return {"text": "", "meta_info": about}

    def _pixels(self, body: dict[str, Any]) -> Any:
        images = [Image.open(io.BytesIO(base64.b64decode(text))) for text in body["image_data"]]
        sizes = [image.size for image in images]
        area = max(width * height for width, height in sizes)
        least = min(width * height for width, height in sizes)
        made = self._images(images, return_tensors="pt", size={"shortest_edge": least, "longest_edge": area})
        merge = self._images.merge_size * self._images.patch_size
        assert [tuple(grid[1:].tolist()) for grid in made["image_grid_thw"]] == [
            (height // self._images.patch_size, width // self._images.patch_size) for width, height in sizes
        ], "already at their final size"
        assert all(side % merge == 0 for size in sizes for side in size)
        return made

    def _expanded(self, body: dict[str, Any]) -> list[int]:
        grids = self._pixels(body)["image_grid_thw"] if "image_data" in body else []
        counts = iter([int(grid.prod()) // self._images.merge_size**2 for grid in grids])
        image = self._model.config.image_token_id
        return [same for token in body["input_ids"] for same in [token] * (next(counts) if token == image else 1)]

    @torch.inference_mode()
    def _forward(self, ids: list[int], body: dict[str, Any]) -> torch.Tensor:
        inputs = self._pixels(body) if "image_data" in body else {}
        tokens = torch.tensor([ids])
        kinds = (tokens == self._model.config.image_token_id).int()
        logits: torch.Tensor = self._model(input_ids=tokens, mm_token_type_ids=kinds, **inputs, use_cache=False).logits
        return logits[0].float()


@contextmanager
def serving(model: Path) -> Iterator[tuple[str, StandIn]]:
    """Its address, and what it was asked."""
    stand_in = StandIn(model)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say({"version": "stand-in"} if self.path == "/get_server_info" else None)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/flush_cache":
                stand_in.flushed += 1
                self._say("Cache flushed.")
                return
            try:
                self._say(stand_in.generate(body) if self.path == "/generate" else None)
            except AssertionError as error:
                self._say({"error": f"a request that is not as it should be: {error}"}, 400)

        def _say(self, said: object, status: int = 200) -> None:
            text = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(404 if said is None else status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", stand_in
        finally:
            server.shutdown()
