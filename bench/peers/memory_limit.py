# SPDX-License-Identifier: Apache-2.0
"""A memory limit for child processes (Linux control groups, version 1 or 2), and a cold page cache."""
import ctypes
import mmap
import os
import pathlib
import time


class Failure(Exception):
    """What went wrong and what to do, for people."""


class Limit:
    """A control group of its own. The pages of files that its processes read count too."""

    def __init__(self, limit):
        first = pathlib.Path("/sys/fs/cgroup/memory")
        self.second_version = not first.is_dir()
        parent = pathlib.Path("/sys/fs/cgroup") if self.second_version else first
        self.group = parent / f"sluice-peers-{os.getpid()}"
        try:
            if self.second_version and "memory" not in (parent / "cgroup.subtree_control").read_text().split():
                (parent / "cgroup.subtree_control").write_text("+memory")
            self.group.mkdir()
            if self.second_version:
                (self.group / "memory.max").write_text(str(limit))
                (self.group / "memory.swap.max").write_text("0")
            else:
                (self.group / "memory.limit_in_bytes").write_text(str(limit))
                (self.group / "memory.swappiness").write_text("0")
        except OSError as error:
            self.remove()
            raise Failure(f"--memory: cannot limit memory through {self.group}: {error.strerror}; run as root, or in a "
                          "container that may write control groups") from error

    def enter(self):
        """In the child, before it becomes the program."""
        (self.group / "cgroup.procs").write_text(str(os.getpid()))

    def reset(self):
        """Forgets the peak so far, where the system can (not in older versions of 2)."""
        try:
            (self.group / ("memory.peak" if self.second_version else "memory.max_usage_in_bytes")).write_text("0")
        except OSError:
            pass

    def peak(self):
        name = "memory.peak" if self.second_version else "memory.max_usage_in_bytes"
        try:
            return int((self.group / name).read_text())
        except OSError:
            return None

    def remove(self):
        for _ in range(50):  # the last process may still be leaving
            try:
                self.group.rmdir()
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.1)


def resident_share(path):
    """How much of a file is in the page cache, 0 to 1."""
    size = path.stat().st_size
    if size == 0:
        return 0
    pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    with open(path, "rb") as file:
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise Failure(f"{path}: cannot be mapped: {os.strerror(ctypes.get_errno())}")
    states = ctypes.create_string_buffer(pages)
    failed = libc.mincore(address, size, states)
    libc.munmap(address, size)
    if failed:
        raise Failure(f"{path}: its pages cannot be asked for: {os.strerror(ctypes.get_errno())}")
    return sum(state & 1 for state in states.raw) / pages


def drop_cache(paths):
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        share = resident_share(path)
        if share > 0.01:
            raise Failure(f"--memory: {100 * share:.0f} % of {path} stay in the page cache; another process has it mapped: "
                          "end that one")
