"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 x 28."""

import gzip
import hashlib
import zlib
from pathlib import Path

from torch import Tensor

from datamodules.downloads import check_root, one_line
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
    dataset = "MNIST"  # torchvision's class, and the folder of its files

    @property
    def _raw(self) -> Path:
        return Path(self.root) / self.dataset / "raw"

    def prepare_data(self) -> None:
        """Unpack the archives that are there, and download what is missing."""
        raw = self._raw
        if all((raw / name).is_file() for name in FILES):
            return
        check_root(self.root)
        for name in FILES:
            if not (raw / name).is_file() and (raw / f"{name}.gz").is_file():
                self._unpack(raw / f"{name}.gz", raw / name)
        if all((raw / name).is_file() for name in FILES):
            return
        from torchvision import datasets

        try:
            getattr(datasets, self.dataset)(self.root, download=True)
        except (RuntimeError, OSError, EOFError) as error:
            raise ValueError(
                f"{self.dataset} is not in {raw} and could not be downloaded "
                f"({one_line(error)}). "
                "Train on the digits that need no download: gpu-learning fit -c "
                f"configs/digits_cnn.yaml; or put the four files {'.gz, '.join(FILES)}.gz into "
                f"{raw} yourself, or unpacked without .gz (copies named with a dot, such as "
                "train-images.idx3-ubyte, must be renamed)"
            ) from error

    def _read(self, train: bool) -> tuple[Tensor, Tensor]:
        for name in FILES:
            if not name.startswith("train" if train else "t10k"):
                continue
            path = self._raw / name
            if not path.is_file():
                raise ValueError(
                    f"{path} is missing; remove {self._raw} and run again to download it"
                )
            self._check(path)
        from torchvision import datasets

        try:
            data = getattr(datasets, self.dataset)(self.root, train=train)
        except (ValueError, AssertionError, TypeError, KeyError) as error:  # of a damaged file
            raise ValueError(
                f"the files in {self._raw} are truncated or damaged ({one_line(error)}); delete "
                "them and run again to unpack or download them again"
            ) from error
        return data.data, data.targets

    def _check(self, path: Path) -> None:
        """Raises ValueError for an unpacked file that is not the one of the data set."""
        if hashlib.sha256(path.read_bytes()).hexdigest() != FILES[path.name]:
            raise ValueError(
                f"{path} is truncated or damaged (its checksum is not MNIST's); delete it and "
                "run again to unpack or download it again"
            )

    def _unpack(self, archive: Path, path: Path) -> None:
        """Unpacks one archive, whoever packed it: what counts is the checksum of its content."""
        content = decompressed(archive)
        if hashlib.sha256(content).hexdigest() != FILES[path.name]:
            raise ValueError(
                f"{archive} does not hold MNIST's {path.name}; delete it and run again"
            )
        write_whole(path, content)


def decompressed(archive: Path) -> bytes:
    """The content of a ``.gz`` file; raises ValueError where it is damaged."""
    try:
        return gzip.decompress(archive.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{archive} is damaged ({error}); delete it and run again") from error


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that is there as a whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)
