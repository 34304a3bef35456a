"""The servers that `serving.py` compares with: timm's network behind LitServe and behind FastAPI.

    python benchmarks/serving_peers.py litserve|fastapi FOLDER PORT THREADS

FOLDER is that of `engine_contenders.prepare_weights`. Both are written as their documentation does.
"""

import base64
import io
import sys
from pathlib import Path
from typing import Any

import litserve
import torch
from engine_contenders import timm_network
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

BATCH_SIZE, WAIT_SECONDS = 8, 0.005


class Classifier:
    """timm's network with timm's own preprocessing."""

    def __init__(self, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self.network = timm_network(folder)
        settings = resolve_model_data_config(self.network)
        self.transform = create_transform(**settings, is_training=False)

    def prepare(self, encoded: bytes) -> torch.Tensor:
        """(3, 299, 299) float32."""
        prepared = self.transform(Image.open(io.BytesIO(encoded)).convert("RGB"))
        assert isinstance(prepared, torch.Tensor)
        return prepared

    def classify(self, images: torch.Tensor) -> list[dict[str, Any]]:
        """The five most probable classes of (N, 3, 299, 299)."""
        with torch.inference_mode():
            best = self.network(images).softmax(dim=1).topk(5, dim=1)
        return [
            {
                "predictions": [
                    {"class": str(i), "probability": p} for p, i in zip(v, c, strict=True)
                ]
            }
            for v, c in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]


class Served(litserve.LitAPI):
    """LitServe's four steps."""

    def __init__(self, folder: Path, threads: int) -> None:
        super().__init__(max_batch_size=BATCH_SIZE, batch_timeout=WAIT_SECONDS)
        self.folder, self.threads = folder, threads

    def setup(self, device: str) -> None:
        """Loads the network in the worker's process."""
        self.classifier = Classifier(self.folder, self.threads)

    def decode_request(self, request: dict[str, str]) -> torch.Tensor:
        """The picture comes as base64 in JSON."""
        return self.classifier.prepare(base64.b64decode(request["image"]))

    def predict(self, images: torch.Tensor) -> list[dict[str, Any]]:
        """Of a batch."""
        return self.classifier.classify(images)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """It is JSON already."""
        return output


def main() -> None:
    kind, folder, port, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    if kind == "litserve":
        server = litserve.LitServer(Served(folder, threads), accelerator="cpu", devices=1)
        server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")
        return
    import uvicorn

    application, classifier = FastAPI(), Classifier(folder, threads)

    @application.post("/predict")
    async def predict(request: Request) -> Any:
        encoded = await request.body()
        return await run_in_threadpool(
            lambda: classifier.classify(classifier.prepare(encoded)[None])[0]
        )

    uvicorn.run(application, host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    main()
