"""Where things lie, and how files are written so that no half-written one is ever found."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from segrepro.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
PAPERS = ROOT / "data" / "papers"
RESULTS = ROOT / "data" / "results"


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part.

    The bytes go to a neighbour file, reach the disk, and are moved into place in one step. Raises InputError naming the
    path if it cannot be written.
    """
    path = Path(path)
    make_folder(path.parent)
    data = content.encode() if isinstance(content, str) else content
    with writing(path):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def make_folder(path: str | Path) -> Path:
    """The folder `path`, made if it is not there. Raises InputError naming it if it cannot be, or is read-only."""
    path = Path(path)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return path


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """What the system says of a disk that is full or a folder that is read-only, as an InputError naming the path."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path} cannot be written ({reason}). Make room, make its folder writable, or choose another."
        ) from error
