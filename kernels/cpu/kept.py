"""Object code on disk."""

import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

SEAL = 32  # bytes, before the code


@dataclass(frozen=True)
class Kept:
    """A folder of object files, each valid only for a `key`: all that the code was made of and for.

    A file is sealed by a hash, and read only if nobody but its owner can write it, who is the user or root.
    So what is damaged, comes from elsewhere, or could have been put there by others is never run.
    """

    folder: Path
    key: bytes

    def read(self, name: str) -> bytes | None:
        """The code of this name, if there is any."""
        try:
            with self._path(name).open("rb") as file:
                status, sealed = os.fstat(file.fileno()), file.read()
        except OSError:
            return None
        seal, code = sealed[:SEAL], sealed[SEAL:]
        private = status.st_uid in (os.geteuid(), 0) and not status.st_mode & 0o022
        return code if private and seal == self._seal(name, code) else None

    def write(self, name: str, code: bytes) -> None:
        """Keep code where that is possible; a reader finds all of it, or what was there before."""
        path = self._path(name)
        written = path.with_name(f"{path.name}.{token_hex(4)}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(written, "xb", opener=lambda file, flags: os.open(file, flags, 0o644)) as file:
                file.write(self._seal(name, code) + code)
            written.replace(path)
        except OSError:
            with suppress(OSError):
                written.unlink()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.o"

    def _seal(self, name: str, code: bytes) -> bytes:
        return sha256(sha256(self.key + name.encode()).digest() + code).digest()
