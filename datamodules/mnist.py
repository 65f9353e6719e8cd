"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 x 28."""

import gzip
import hashlib
import os
import zlib
from pathlib import Path

from torch import Tensor

from datamodules.images import ImageDataModule

# sha256 of the unpacked files.
FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class MNISTDataModule(ImageDataModule):
    """MNIST through torchvision, checked against known checksums.

    Source: Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits, 1998.

    Raises:
        ValueError: the download failed, a file is damaged, or the folder cannot be used; the
            message names the remedy.
    """

    mean = 0.1307
    std = 0.3081

    def prepare_data(self) -> None:
        """Unpack the archives that are there, and download what is missing."""
        raw = Path(self.root) / "MNIST" / "raw"
        if all((raw / name).is_file() for name in FILES):
            return
        self._check_root()
        for name in FILES:
            if not (raw / name).is_file() and (raw / f"{name}.gz").is_file():
                _unpack(raw / f"{name}.gz", raw / name)
        if all((raw / name).is_file() for name in FILES):
            return
        from torchvision.datasets import MNIST

        try:
            MNIST(self.root, download=True)
        except (RuntimeError, OSError, EOFError) as error:
            raise ValueError(
                f"MNIST is not in {raw} and could not be downloaded ({_first_line(error)}). "
                "Train on the digits that need no download: gpu-learning fit -c "
                f"configs/digits_cnn.yaml; or put the four files {'.gz, '.join(FILES)}.gz into "
                f"{raw} yourself, or unpacked without .gz (copies named with a dot, such as "
                "train-images.idx3-ubyte, must be renamed)"
            ) from error

    def _check_root(self) -> None:
        nearest = Path(self.root).absolute()
        while not nearest.exists():
            nearest = nearest.parent
        if not nearest.is_dir():
            raise ValueError(
                f"the data root {self.root} cannot be a folder, because {nearest} is a file; name "
                "another with --data.init_args.root"
            )
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise ValueError(
                f"the data root {self.root} cannot be written ({nearest} is read-only for you); "
                "name another with --data.init_args.root"
            )

    def _read(self, train: bool) -> tuple[Tensor, Tensor]:
        raw = Path(self.root) / "MNIST" / "raw"
        for name, expected in FILES.items():
            if not name.startswith("train" if train else "t10k"):
                continue
            path = raw / name
            if not path.is_file():
                raise ValueError(f"{path} is missing; remove {raw} and run again to download it")
            if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
                raise ValueError(
                    f"{path} is truncated or damaged (its checksum is not MNIST's); delete it and "
                    "run again to unpack or download it again"
                )
        from torchvision.datasets import MNIST

        data = MNIST(self.root, train=train)
        return data.data, data.targets


def _unpack(archive: Path, path: Path) -> None:
    """Unpacks one archive, whoever packed it: what counts is the checksum of its content."""
    try:
        content = gzip.decompress(archive.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{archive} is damaged ({error}); delete it and run again") from error
    if hashlib.sha256(content).hexdigest() != FILES[path.name]:
        raise ValueError(f"{archive} does not hold MNIST's {path.name}; delete it and run again")
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
