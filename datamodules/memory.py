"""How much memory a device has left."""

import os
from pathlib import Path

import torch


def free_bytes(device: torch.device) -> int:
    """Free memory of a GPU, or what the host can hand out without swapping, within its cgroup."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = [_of_the_host()]
    limit, used = (
        _number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current")
    )
    if limit is not None and used is not None:
        free.append(limit - used)
    return max(0, min(free))


def _of_the_host() -> int:
    info = Path("/proc/meminfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf"):  # macOS tells how much there is, not how much is free
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return 4 << 30  # Windows: what a machine that trains has at least


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no cgroup, or "max"
        return None
