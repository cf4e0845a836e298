"""Where parts come from: the Hugging Face hub, or another folder. Network is touched here only. Knows no presets and no models."""

import os
import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..config import Source
from ..errors import ConfigError, WeightsError
from .download import Remote, Unavailable
from ..manifest import read_listing


def check_proxies() -> None:
    """Raises ConfigError: a proxy variable of a scheme that the libraries here do not know."""
    for name, value in os.environ.items():
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy") and "://" in value:
            scheme = value.partition("://")[0].lower()
            if scheme not in ("http", "https") and not (scheme in ("socks5", "socks5h") and find_spec("socksio")):
                raise ConfigError(f"The proxy of the environment variable {name} cannot be used: {scheme}:// is not spoken here.",
                                  f"Set {name} to a proxy of the form http://HOST:PORT, or unset it.")


class HubClient:
    """The Hugging Face hub through its own library, which resumes, shows progress and reads the token of `hf auth login`."""

    def places(self, part: str, source: Source) -> Sequence[tuple[str, str]]:
        return [(hub, source.root) for hub in source.hubs]

    def offers(self, origin: str, revision: str | None) -> tuple[str, Sequence[Remote]]:
        check_proxies()
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RevisionNotFoundError

        def ask(wanted: str | None) -> tuple[str, Sequence[Remote]]:
            info = HfApi().model_info(origin, revision=wanted, files_metadata=True)
            if info.gated:  # its listing is public, its files are not
                HfApi().auth_check(origin)
            return info.sha, [Remote(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else "") for s in info.siblings]

        try:
            return self._asked(origin, lambda: ask(revision))
        except Unavailable as gone:
            if revision is None or not isinstance(gone.__cause__, RevisionNotFoundError):
                raise
            return self._asked(origin, lambda: ask(None))

    def fetch(self, origin: str, revision: str, path: str, into: Path) -> Path:
        from huggingface_hub import hf_hub_download

        return self._asked(origin, lambda: Path(hf_hub_download(origin, path, revision=revision, local_dir=into)))

    @staticmethod
    def _asked(origin: str, ask: Callable[[], Any]) -> Any:
        """What the hub answers, its errors in our words."""
        from huggingface_hub.errors import (EntryNotFoundError, GatedRepoError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled,
                                            RepositoryNotFoundError, RevisionNotFoundError)

        try:
            return ask()
        except GatedRepoError as error:
            raise Unavailable(f"{origin} gives its files only to those who accepted its licence",
                              f"accept it at https://huggingface.co/{origin} and run: hf auth login") from error
        except OfflineModeIsEnabled as error:
            raise WeightsError("Downloads are switched off by HF_HUB_OFFLINE.", "Unset it, and run the same command again.") from error
        except LocalEntryNotFoundError as error:  # which is how the library says that it got no answer
            raise _unreached(origin, error) from error
        except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
            raise Unavailable(f"{origin} is not there any more, or is not public") from error
        except (HTTPError, ConnectionError, TimeoutError) as error:
            raise _unreached(origin, error) from error


def _unreached(origin: str, error: Exception) -> WeightsError:
    return WeightsError(f"The hub cannot be reached for {origin} ({type(error).__name__}).",
                        "Check the network and run the same command again: it goes on where it stopped.")


class FolderClient:
    """Another folder that holds parts as ours do, e.g. of another preset or from another machine: files are linked where they can be, else
    copied."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def places(self, part: str, source: Source) -> Sequence[tuple[str, str]]:
        return [(part, "")]

    def offers(self, origin: str, revision: str | None) -> tuple[str, Sequence[Remote]]:
        place = self.folder / origin
        known = read_listing(self.folder)
        found = [p.relative_to(place).as_posix() for p in sorted(place.rglob("*")) if p.is_file()]
        if not found:
            raise Unavailable(f"{self.folder} has no folder {origin}")
        return "", [Remote(p, (place / p).stat().st_size, known.get(f"{origin}/{p}", {}).get("sha256", "")) for p in found]

    def fetch(self, origin: str, revision: str, path: str, into: Path) -> Path:
        to = into / path
        to.parent.mkdir(parents=True, exist_ok=True)
        to.unlink(missing_ok=True)
        try:
            os.link(self.folder / origin / path, to)
        except OSError:  # another disk
            shutil.copyfile(self.folder / origin / path, to)
        return to
