"""What many threads had for a moment goes back to the system."""

import subprocess
import sys
from pathlib import Path

import pytest

# A process of its own: the settings hold for all of it, and must come before the first thread.
SCRIPT = """
import os
import threading
from serving.memory import release_early

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

def hold():
    picture = bytearray(b"x") * (3 << 20)
    together.wait()
    del picture
    together.wait()
    end.wait()

release_early()
together, end = threading.Barrier(33), threading.Event()
threads = [threading.Thread(target=hold) for _ in range(32)]
before = resident()
for thread in threads:
    thread.start()
together.wait()
together.wait()
print(resident() - before)
end.set()
"""


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs Linux")
def test_blocks_of_many_threads_are_returned() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 20  # 96 where each thread keeps its own
