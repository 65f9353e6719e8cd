"""``Model``: an exported file behind one callable."""

import numpy as np

from inference.manifest import Manifest
from inference.runtimes.runtime import Runtime


class Model:
    """A loaded artifact: float32 inputs (B, *input_shape) in, float32 outputs out.

    Images are expected normalized; :class:`~inference.Classifier` takes them as they are.
    """

    def __init__(self, manifest: Manifest, runtime: Runtime) -> None:
        self.manifest = manifest
        self.runtime = runtime

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs (B, ...), logits for a classifier.

        Raises:
            ValueError: the shape is not the model's.
        """
        inputs = np.asarray(inputs, dtype=np.float32)
        if inputs.shape[1:] != self.manifest.input_shape or not len(inputs):
            raise ValueError(
                f"inputs of shape {inputs.shape} given, (batch, "
                f"{', '.join(map(str, self.manifest.input_shape))}) expected"
            )
        return self.runtime(inputs)
