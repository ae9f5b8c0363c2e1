"""Who holds a lock on a file, found out without taking one: a look must not be in a writer's way."""

from pathlib import Path

__all__ = ["is_locked"]

_TABLE = Path("/proc/locks")


def is_locked(path: Path) -> bool:
    """Whether a process of this machine holds an exclusive ``flock`` on a file.

    False where that cannot be known: for a process of another machine, and on systems without ``/proc/locks``.
    """
    try:
        state = path.stat()
        table = _TABLE.read_text()
    except OSError:
        return False
    # 7: FLOCK  ADVISORY  WRITE 4242 08:01:131337 0 EOF; the device is as the kernel counts it, which on some file
    # systems is not what stat says: the inode tells enough.
    locks = (line.split() for line in table.splitlines())
    return any(
        fields[1] == "FLOCK" and fields[3] == "WRITE" and fields[5].rpartition(":")[2] == str(state.st_ino)
        for fields in locks
        if len(fields) >= 6 and fields[1] != "->"
    )
