"""The service for BentoML: an image as a file of a form, as its documentation shows. WORKERS in the environment."""

import os
import sys
from pathlib import Path
from typing import Any

import bentoml
from PIL.Image import Image

sys.path.insert(0, str(Path(__file__).parent))
from pipeline import Pipeline


@bentoml.service(workers=int(os.environ["WORKERS"]))
class Classifier:
    def __init__(self) -> None:
        self.pipeline = Pipeline()

    @bentoml.api
    def predict(self, image: Image) -> list[dict[str, Any]]:
        return self.pipeline.score_image(image)
