"""Fashion-MNIST: 60,000 training and 10,000 test images of clothes in ten classes, 28 x 28."""

import hashlib
import struct
from pathlib import Path

from datamodules.mnist import MNISTDataModule, decompressed, write_whole


class FashionMNISTDataModule(MNISTDataModule):
    """Fashion-MNIST through torchvision, in MNIST's own format and sizes.

    The archives are compared with the checksums that torchvision has. Without a network, put the
    four ``.gz`` files into ``<root>/FashionMNIST/raw``.

    Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017.

    Raises:
        ValueError: the download failed, a file is damaged, or the folder cannot be used; the
            message names the remedy.
    """

    mean = 0.2860
    std = 0.3530
    dataset = "FashionMNIST"
    preprocessing = "resize-crop"
    class_names = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )

    def _check(self, path: Path) -> None:
        """The sizes in the header against those of the file: torchvision knows archives alone."""
        content = path.read_bytes()
        dimensions = 3 if "images" in path.name else 1
        header = 4 * (1 + dimensions)
        sizes = struct.unpack(f">{dimensions}I", content[4:header].ljust(header - 4, b"\0"))
        values = 1
        for size in sizes:
            values *= size
        kind = content[:4] == bytes([0, 0, 8, dimensions])
        if not kind or sizes[1:] not in ((), (28, 28)) or len(content) != header + values:
            raise ValueError(
                f"{path} is truncated or damaged (it is not {dimensions}-dimensional data of the "
                "size that its header says); delete it and run again to unpack or download it again"
            )

    def _unpack(self, archive: Path, path: Path) -> None:
        from torchvision.datasets import FashionMNIST

        digest = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
        if digest != dict(FashionMNIST.resources)[archive.name]:
            raise ValueError(
                f"{archive} does not have the checksum of Fashion-MNIST's; delete it and run again "
                f"to download it, or unpack it to {path} yourself if you trust it"
            )
        write_whole(path, decompressed(archive))
