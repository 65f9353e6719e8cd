"""CIFAR-10: 50,000 training and 10,000 test images in ten classes, 32 x 32, in color."""

import tarfile
from pathlib import Path

import torch
from torch import Tensor

from datamodules.downloads import check_root, one_line
from datamodules.images import ImageDataModule


class CIFAR10DataModule(ImageDataModule):
    """CIFAR-10 through torchvision, whose checksums every file must have before it is read.

    Without a network, put ``cifar-10-python.tar.gz`` or its folder ``cifar-10-batches-py`` into
    ``root``. As bytes the training images take 154 MB on the device.

    Source: A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.

    Raises:
        ValueError: the download failed, a file is damaged, or the folder cannot be used; the
            message names the remedy.
    """

    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    image_shape = (3, 32, 32)
    preprocessing = "resize-crop"
    as_bytes = True
    class_names = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )

    def prepare_data(self) -> None:
        """Unpack the archive that is there, or download it; nothing where all files are whole."""
        from torchvision.datasets import CIFAR10
        from torchvision.datasets.utils import download_url

        folder = Path(self.root) / CIFAR10.base_folder
        files = [name for name, _ in (*CIFAR10.train_list, *CIFAR10.test_list)]
        if all((folder / name).is_file() for name in (*files, CIFAR10.meta["filename"])):
            return
        check_root(self.root)
        try:
            download_url(CIFAR10.url, self.root, CIFAR10.filename, CIFAR10.tgz_md5)
            # Not torchvision's own unpacking, which filters nothing: links and paths that lead out.
            with tarfile.open(Path(self.root) / CIFAR10.filename) as archive:
                archive.extractall(self.root, filter="data")
        except (RuntimeError, OSError, EOFError, tarfile.TarError) as error:
            raise ValueError(
                f"CIFAR-10 is not in {folder} and could not be downloaded ({one_line(error)}); "
                f"put {CIFAR10.filename}, or the folder {CIFAR10.base_folder} that it holds, into "
                f"{self.root} yourself, or name another folder with --data.init_args.root"
            ) from error

    def _read(self, train: bool) -> tuple[Tensor, Tensor]:
        from torchvision.datasets import CIFAR10

        try:
            data = CIFAR10(self.root, train=train)
        except RuntimeError as error:
            raise ValueError(
                f"a file in {Path(self.root) / CIFAR10.base_folder} is truncated or damaged (its "
                "checksum is not CIFAR-10's); delete that folder and run again to unpack or "
                "download it again"
            ) from error
        images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
        return images, torch.tensor(data.targets)
