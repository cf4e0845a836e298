"""Where parts come from: the Hugging Face hub, or another folder. Network is touched here only. Knows no presets and no models."""

import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..config import Source
from .download import PARTIAL, Came, Remote, Unavailable
from ..errors import ConfigError
from ..manifest import read_listing

TRIES = 5  # without a byte more, before a source is given up
WAITS = 8.0  # seconds before another try, at most
SILENT = 30.0  # seconds without an answer that end a try
AGAIN = "check the network and run the same command again: it goes on where it stopped"


def check_proxies() -> None:
    """Raises ConfigError: a proxy variable of a scheme that the libraries here do not know."""
    for name, value in os.environ.items():
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy") and "://" in value:
            scheme = value.partition("://")[0].lower()
            if scheme not in ("http", "https") and not (scheme in ("socks5", "socks5h") and find_spec("socksio")):
                raise ConfigError(f"The proxy of the environment variable {name} cannot be used: {scheme}:// is not spoken here.",
                                  f"Set {name} to a proxy of the form http://HOST:PORT, or unset it.")


class HubClient:
    """The Hugging Face hub. Its library says what there is, and reads the token of `hf auth login`; a file that it has in its cache is linked,
    and what comes over the network goes on where it broke off, which the library's own downloads do not: each of their tries is a file anew.

    Args:
        endpoint: another address than the hub's, or HF_ENDPOINT's.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self.endpoint = endpoint

    def places(self, part: str, source: Source) -> Sequence[tuple[str, str]]:
        return [(hub, source.root) for hub in source.hubs]

    def offers(self, origin: str, revision: str | None) -> tuple[str, Sequence[Remote]]:
        check_proxies()
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RevisionNotFoundError

        def ask(wanted: str | None) -> tuple[str, Sequence[Remote]]:
            api = HfApi(endpoint=self.endpoint)
            info = api.model_info(origin, revision=wanted, files_metadata=True)
            if info.gated:  # its listing is public, its files are not
                api.auth_check(origin)
            files = [Remote(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else "") for s in info.siblings or ()]
            sha = info.sha or ""
            return sha, [Remote(f.path, f.size, f.sha256, here=cached(origin, sha, f) is not None) for f in files]

        try:
            return self._asked(origin, lambda: ask(revision))
        except Unavailable as gone:
            if gone.passing and (kept := cached_listing(origin, revision)):  # no network, or HF_HUB_OFFLINE
                return kept
            if revision is None or not isinstance(gone.__cause__, RevisionNotFoundError):
                raise
            return self._asked(origin, lambda: ask(None))

    def fetch(self, origin: str, revision: str, file: Remote, into: Path, came: Came) -> Path:
        to = into / file.path
        to.parent.mkdir(parents=True, exist_ok=True)
        kept = cached(origin, revision, file)
        if kept is not None:
            to.unlink(missing_ok=True)
            return _linked(kept, to, in_place=True)
        return self._asked(origin, lambda: self._streamed(origin, revision, file, to, came))

    def _streamed(self, origin: str, revision: str, file: Remote, to: Path, came: Came) -> Path:
        """Over HTTP, which also serves what the hub keeps in Xet."""
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError, HTTPError
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

        url, partial = hf_hub_url(origin, file.path, revision=revision, endpoint=self.endpoint), to.with_name(to.name + PARTIAL)
        have = partial.stat().st_size if partial.exists() else 0
        if have > file.size:
            partial.unlink()
            have = 0
        came(have, True)
        failed = 0
        while have < file.size or not partial.exists():
            before = have
            try:
                headers = {**build_hf_headers(), "Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
                with get_session().stream("GET", url, headers=headers, timeout=SILENT, follow_redirects=True) as answer:
                    hf_raise_for_status(answer)
                    if have and answer.status_code != 206:  # it does not know how to go on
                        came(-have, True)
                        have = before = 0
                    with partial.open("ab" if have else "wb") as out:
                        for piece in answer.iter_bytes():
                            out.write(piece)
                            have += len(piece)
                            came(len(piece), False)
                if have < file.size:
                    raise ConnectionError(f"it ended at {have} bytes of {file.size}")
            except HfHubHTTPError:
                raise
            except (HTTPError, ConnectionError, TimeoutError):
                failed = 1 if have > before else failed + 1
                if failed > TRIES:
                    raise
                _patiently(min(WAITS, 0.5 * 2**failed), came)
        os.replace(partial, to)
        return to

    @staticmethod
    def _asked(origin: str, ask: Callable[[], Any]) -> Any:
        """What the hub answers, its errors in our words."""
        from huggingface_hub.errors import (EntryNotFoundError, GatedRepoError, HfHubHTTPError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled,
                                            RepositoryNotFoundError, RevisionNotFoundError)

        try:
            return ask()
        except GatedRepoError as error:
            raise Unavailable(f"{origin} gives its files only to those who accepted its licence",
                              f"accept it at https://huggingface.co/{origin} and run: hf auth login") from error
        except OfflineModeIsEnabled as error:
            raise Unavailable(f"downloads are switched off by HF_HUB_OFFLINE, and {origin} is not whole in the Hugging Face cache",
                              "unset it, and run the same command again", passing=True) from error
        except (LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:  # the first is how the library says that it got no answer
            raise _unreached(origin, error) from error
        except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
            raise Unavailable(f"{origin} is not there any more, or is not public") from error
        except HfHubHTTPError as error:  # disabled, or its storage does not answer
            status = error.response.status_code if error.response is not None else "nothing"
            raise Unavailable(f"{origin} does not give its files (it answers {status})", AGAIN, passing=status in (408, 429) or str(status) >= "5") from error
        except HTTPError as error:
            raise _unreached(origin, error) from error


def _unreached(origin: str, error: Exception) -> Unavailable:
    return Unavailable(f"the hub cannot be reached for {origin} ({type(error).__name__})", AGAIN, passing=True)


def _patiently(seconds: float, came: Came) -> None:
    """Wait, but not longer than until somebody breaks off."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        came(0, False)
        time.sleep(0.1)


# --- the Hugging Face cache ---------------------------------------------------------------------------------------------

def _cache_of(origin: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{origin.replace('/', '--')}"


def cached(origin: str, revision: str, file: Remote) -> Path | None:
    """Where the Hugging Face cache has a file, of whatever revision: large ones lie there under their checksums."""
    folder = _cache_of(origin)
    found = folder / "blobs" / file.sha256 if file.sha256 else folder / "snapshots" / revision / file.path
    return found.resolve() if found.is_file() and found.stat().st_size == file.size else None


def cached_listing(origin: str, revision: str | None) -> tuple[str, list[Remote]] | None:
    """A repository as far as the cache has it: of a revision, else of the one that is newest there."""
    folder = _cache_of(origin)
    named = folder / "refs" / "main"
    for one in (revision, named.read_text().strip() if named.exists() else None):
        snapshot = folder / "snapshots" / one if one else None
        if one and snapshot is not None and snapshot.is_dir():
            files = [(p.relative_to(snapshot).as_posix(), p.resolve()) for p in sorted(snapshot.rglob("*")) if p.is_file()]
            return one, [Remote(path, blob.stat().st_size, blob.name if re.fullmatch("[0-9a-f]{64}", blob.name) else "", here=True) for path, blob in files]
    return None


def _linked(source: Path, to: Path, in_place: bool) -> Path:
    """A file under another name too, without a second copy where the system can do that.

    Args:
        in_place: on another disk, use it where it is (a symbolic link).
    """
    for way in (os.link, *((os.symlink,) if in_place else ())):
        try:
            way(source, to)
            return to
        except OSError:  # another disk; or a system that links for administrators only
            continue
    shutil.copyfile(source, to)
    return to


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

    def fetch(self, origin: str, revision: str, file: Remote, into: Path, came: Came) -> Path:
        to = into / file.path
        to.parent.mkdir(parents=True, exist_ok=True)
        to.unlink(missing_ok=True)
        return _linked(self.folder / origin / file.path, to, in_place=False)
