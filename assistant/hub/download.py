"""A preset's parts: which are there, which are missing and how they are got; fetched whole and checked, never as pickles.

Knows no network (whoever offers files is a `Client`, see hub.py) and no models.
"""

import errno
import fnmatch
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..config import AssistantConfig, ChatConfig, Source
from ..errors import WeightsError
from ..manifest import CHECKPOINTS, read_listing, sha256, write_listing
from ..paths import weights_dir

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
SPARE = 2**30  # bytes of disk that are left free
GIB = 2**30


def place_of(config: AssistantConfig, folder: Path | None = None) -> Path:
    """The folder of a preset's weights: the one that is named, the one that ships, or where downloads go."""
    return folder or (CHECKPOINTS / config.folder if config.folder else weights_dir(config.name))


@dataclass(frozen=True)
class Remote:
    """One file of a part as its source offers it."""

    path: str  # below the part's folder
    size: int  # bytes
    sha256: str = ""  # as the source says; empty: it says none


@dataclass(frozen=True)
class RepositoryListing:
    """One part as one source offers it."""

    part: str
    origin: str  # a hub's repository, or a folder
    revision: str
    root: str
    files: tuple[Remote, ...]


class Unavailable(Exception):
    """A source that does not give this part; the next may. The sentence says why, the remedy what opens this one."""

    def __init__(self, sentence: str, remedy: str = "") -> None:
        super().__init__(sentence)
        self.sentence, self.remedy = sentence, remedy


class Client(Protocol):
    """Where files come from. Tests bring one of their own."""

    def places(self, part: str, source: Source) -> Sequence[tuple[str, str]]:
        """Where a part may be, best first: origin, and the folder there that is the part."""
        ...

    def offers(self, origin: str, revision: str | None) -> tuple[str, Sequence[Remote]]:
        """The exact revision and every file of a repository. Raises Unavailable; WeightsError: no source can be reached."""
        ...

    def fetch(self, origin: str, revision: str, path: str, into: Path) -> Path:
        """Bring one file of a repository somewhere below `into`, going on where an earlier try broke off. Raises as `offers`, or OSError."""
        ...


# --- what is there ----------------------------------------------------------------------------------------------------

def has(folder: Path, source: Source) -> bool:
    """Whether a part's folder holds its weights and configurations, as far as that is told by names."""
    return all(_there(folder, pattern) for pattern in source.files if _needed(pattern))


def _needed(pattern: str) -> bool:
    return pattern.endswith((".safetensors", "/config.json")) or pattern == "config.json"


def _there(folder: Path, pattern: str) -> bool:
    index = [p for p in folder.glob(f"{pattern}.index.json")]
    for path in index:  # sharded: all of them
        shards = set(json.loads(path.read_text())["weight_map"].values())
        if not all((path.parent / shard).exists() for shard in shards):
            return False
    return bool(index) or any(folder.glob(pattern))


def missing(config: AssistantConfig, folder: Path) -> list[str]:
    """Parts of a preset that a folder does not hold, those to be downloaded first."""
    parts = [part for part, source in config.sources.items() if not has(folder / part, source)]
    return parts + [part for part in config.trained if not any((folder / part).glob("*.safetensors"))]


def require(config: AssistantConfig, folder: Path) -> None:
    """Raise WeightsError, in one sentence with the exact next command, unless a folder holds every part of a preset."""
    gone = missing(config, folder)
    published, untrained = [p for p in gone if p in config.sources], [p for p in gone if p in config.trained]
    if published:
        gated = [f"{p} needs its licence accepted at {config.sources[p].licence}" for p in published if config.sources[p].licence]
        also = f", and {_and(untrained)}, which nobody published" if untrained else ""
        to = "" if folder == weights_dir(config.name) else f" --to {folder}"
        raise WeightsError(f"The preset {config.name!r} lacks {_and(published)} in {folder}{also}{f' ({gated[0]})' if gated else ''}.",
                           f"Run: python -m assistant download {config.name}{_llm(config)}{to}")
    if untrained:
        raise WeightsError(f"The preset {config.name!r} lacks {_and(untrained)} in {folder}: nobody published {'them' if len(untrained) > 1 else 'it'}, "
                           "so that they must be trained.", f"Run: {config.trained[untrained[0]]}")


def _llm(config: AssistantConfig) -> str:
    named = config.language.named if isinstance(config.language, ChatConfig) else ""
    return f" --llm {named}" if named else ""


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# --- getting it -------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class DownloadPlan:
    """What a download is going to do."""

    listings: tuple[RepositoryListing, ...]
    wanted: tuple[tuple[RepositoryListing, Remote], ...]  # files that are not there yet
    notes: tuple[str, ...]  # sources that were passed over

    @property
    def bytes(self) -> int:
        return sum(file.size for _, file in self.wanted)


def look(config: AssistantConfig, folder: Path, client: Client) -> DownloadPlan:
    """Find every published part at the first source that gives it. Nothing is fetched.

    Raises:
        WeightsError: a part that no source gives, or gives as pickled weights only; or no network.
    """
    listings, notes = [], []
    for part, source in config.sources.items():
        listing, passed = _offered(part, source, client)
        listings.append(listing)
        notes += passed
    have = read_listing(folder)
    wanted = []
    for listing in listings:
        for file in listing.files:
            entry, path = have.get(f"{listing.part}/{file.path}"), folder / listing.part / file.path
            same = entry is not None and path.exists() and path.stat().st_size == file.size and file.sha256 in ("", entry["sha256"])
            if not same:
                wanted.append((listing, file))
    return DownloadPlan(tuple(listings), tuple(wanted), tuple(notes))


def _offered(part: str, source: Source, client: Client) -> tuple[RepositoryListing, list[str]]:
    """A part as the first source that has it offers it, and what was said of those before."""
    passed: list[Unavailable] = []
    for origin, root in client.places(part, source):
        try:
            revision, files = client.offers(origin, source.revision)
            below = [Remote(f.path.removeprefix(f"{root}/"), f.size, f.sha256) for f in files if not root or f.path.startswith(f"{root}/")]
            chosen = tuple(f for f in below if _chosen(f.path, source, below))
            _complete(origin, source, chosen, below)
            return RepositoryListing(part, origin, revision, root, chosen), [f"{p.sentence}: {origin} is taken in its place." for p in passed]
        except Unavailable as gone:
            passed.append(gone)
    remedy = next((p.remedy for p in passed if p.remedy), "give --from a folder that has it")
    raise WeightsError(f"The part {part!r} cannot be had: {'; '.join(p.sentence for p in passed)}.", f"{remedy[0].upper()}{remedy[1:]}.")


def _chosen(path: str, source: Source, offered: Sequence[Remote]) -> bool:
    """A file that a pattern names, or a shard of weights that are offered in pieces."""
    if path.endswith(PICKLED):
        return False
    names = {f.path for f in offered}
    for pattern in source.files:
        if _matches(path, pattern):
            return True
        stem = pattern.removesuffix(".safetensors")
        if pattern.endswith(".safetensors") and pattern not in names and (
                path == f"{pattern}.index.json" or _matches(path, f"{stem}-?????-of-?????.safetensors")):
            return True
    return False


def _matches(path: str, pattern: str) -> bool:
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def _complete(origin: str, source: Source, chosen: Sequence[Remote], offered: Sequence[Remote]) -> None:
    """Raises Unavailable: weights that are offered as pickles only, or not at all."""
    for pattern in (p for p in source.files if _needed(p)):
        stem = pattern.removesuffix(".safetensors").removesuffix("*")
        if any(f.path.startswith(stem) and f.path.endswith((".safetensors", "config.json")) and f.path.count("/") == pattern.count("/") for f in chosen):
            continue
        place = stem.rpartition("/")[0]
        if any(f.path.endswith(PICKLED) and f.path.startswith(place) for f in offered):
            raise Unavailable(f"{origin} has {pattern} as pickled weights only, which are never loaded",
                              "give --from a folder with .safetensors of the same model")
        raise Unavailable(f"{origin} has no {pattern}")


def download(errand: DownloadPlan, folder: Path, client: Client, say: Callable[[str], None] = print) -> None:
    """Fetch what is wanted; each file is checked before it takes its place, and what is done already is never fetched twice.

    Raises:
        WeightsError: the disk is too small, or a file is not the one its source speaks of, twice over.
    """
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if errand.wanted and errand.bytes + SPARE > free:
        raise WeightsError(f"{errand.bytes / GIB:.1f} GiB are to be fetched, but the disk of {folder} has {free / GIB:.1f} GiB free.",
                           f"Free {(errand.bytes + SPARE - free) / GIB:.1f} GiB, or name another folder with --to.")
    folder.mkdir(parents=True, exist_ok=True)
    listing = read_listing(folder)
    for number, (of, file) in enumerate(errand.wanted, 1):
        say(f"{number} of {len(errand.wanted)}: {of.part}/{file.path} ({_size(file.size)}) from {of.origin}")
        listing[f"{of.part}/{file.path}"] = _brought(of, file, folder, client, say)
        write_listing(folder, listing)
    shutil.rmtree(folder / ".incoming", ignore_errors=True)


def _brought(of: RepositoryListing, file: Remote, folder: Path, client: Client, say: Callable[[str], None]) -> dict[str, object]:
    """One file, whole, at its place; returns its line of the manifest."""
    into = folder / ".incoming" / of.part
    for again in (True, False):
        try:
            came = client.fetch(of.origin, of.revision, f"{of.root}/{file.path}" if of.root else file.path, into)
            size, found = came.stat().st_size, sha256(came)
            if size == file.size and file.sha256 in ("", found):
                to = folder / of.part / file.path
                to.parent.mkdir(parents=True, exist_ok=True)
                os.replace(came, to)
                return {"bytes": size, "sha256": found}
            came.unlink()
        except Unavailable as gone:
            raise WeightsError(f"{gone.sentence[0].upper()}{gone.sentence[1:]}.", gone.remedy or "Run the same command again.") from gone
        except OSError as error:
            full = error.errno == errno.ENOSPC
            raise WeightsError(f"{of.part}/{file.path} could not be written: {'the disk is full' if full else error}.",
                               f"{'Free some space' if full else 'See to that'} and run the same command again: it goes on where it stopped.") from error
        if again:
            say("  it came damaged, once more")
    raise WeightsError(f"{of.part}/{file.path} came damaged twice: {'its checksum' if size == file.size else f'{size} bytes of {file.size}'} "
                       f"{'is not what ' + of.origin + ' says' if size == file.size else 'came'}.", "Run the same command again later.")


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= 0.1 * GIB else f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{max(1, count // 1024)} KiB"


def told(config: AssistantConfig, errand: DownloadPlan, folder: Path) -> str:
    """The dry listing: what would be fetched from where, and what else it takes."""
    lines = [f"{config.name} in {folder}:"]
    for listing in errand.listings:
        new = sum(f.size for one, f in errand.wanted if one is listing)
        whole = sum(f.size for f in listing.files)
        terms = config.sources[listing.part].terms
        lines.append(f"  {listing.part:<10} {_size(whole):>10}  {'is there' if not new else f'{_size(new)} to fetch'}, from {listing.origin}"
                     f"{f' at {listing.revision[:12]}' if listing.revision else ''}{f'; licence: {terms}' if terms else ''}")
    lines += [f"  {part:<10} {'':>10}  nobody published it; train it: {command}" for part, command in config.trained.items()]
    return "\n".join([*lines, *(f"  {note}" for note in errand.notes), f"  {_size(errand.bytes) if errand.wanted else 'Nothing'} to fetch."])
