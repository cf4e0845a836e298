"""A folder of PNG files named by the SHA-256 of their bytes, written whole and durably or not at all. Knows no rows."""

from __future__ import annotations

import hashlib
from pathlib import Path

from assistant.errors import NotFoundError, StorageError
from assistant.files import FRESH, fsync_folder, write_whole


class PictureFiles:
    """Files lie in sub-folders named by the first two digits; only the owner of the process may read them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, png: bytes) -> str:
        """Write a picture; on return it survives a loss of power. Returns its name.

        Raises:
            StorageError: it cannot be written.
        """
        name = hashlib.sha256(png).hexdigest()
        path = self._path(name)
        try:
            if path.exists() and path.stat().st_size == len(png):
                return name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_whole(path, png)
            fsync_folder(self.folder)
        except OSError as error:
            raise StorageError(f"A picture could not be saved in {self.folder} ({error.strerror or error}).",
                               "Free some space or check the folder's permissions.") from error
        return name

    def read(self, name: str) -> bytes:
        """Raises NotFoundError: no such file, or not a name of ours."""
        try:
            return self._path(name).read_bytes()
        except OSError as error:
            raise NotFoundError("A picture of this conversation is missing from the data folder.",
                                "Add the picture again.") from error

    def names(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*/*.png")}

    def damaged(self) -> set[str]:
        """Names of files whose bytes are not those they were written with. Reads all of them."""
        return {name for name in self.names() if hashlib.sha256(self.read(name)).hexdigest() != name}

    def sweep(self, keep: set[str]) -> None:
        """Remove half-written files and all that `keep` does not name. Only while nothing else writes here."""
        for leftover in self.folder.glob(f"*/{FRESH}*"):
            leftover.unlink(missing_ok=True)
        for stray in self.names() - keep:
            self._path(stray).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise NotFoundError("This picture is not here.", "Reload the page.")
        return self.folder / name[:2] / f"{name}.png"
