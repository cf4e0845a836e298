"""A preset's parts: which are there and which are missing, and how they are got: fetched whole and checked, never as pickles.

Knows no network (whoever offers files is a `Client`, see client.py) and no models.
"""

from __future__ import annotations

import errno
import fnmatch
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ..config import AssistantConfig, ChatConfig, Source
from ..errors import WeightsError
from ..files import weights_dir
from ..manifest import CHECKPOINTS, HASHED, read_listing, sha256, write_listing
from ..plan import listing
from ..presets import LICENCES
from ..requests import LCM

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
SPARE = 2**30  # bytes of disk that are left free
GIB = 2**30
INCOMING, PARTIAL = ".incoming", ".incomplete"  # the folder of what is on its way, and how names of files end that are not whole


def place_of(config: AssistantConfig, folder: Path | None = None) -> Path:
    """The folder of a preset's weights: the one that is named, the one that ships, or where downloads go."""
    return folder or (CHECKPOINTS / config.folder if config.folder else weights_dir(config.name))


def is_needed(pattern: str) -> bool:
    return pattern.endswith((".safetensors", "/config.json")) or pattern == "config.json"


def _there(folder: Path, pattern: str) -> bool:
    index = [p for p in folder.glob(f"{pattern}.index.json")]
    for path in index:  # sharded: all of them
        try:
            shards = set(json.loads(path.read_text())["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            return False
        if not all((path.parent / shard).exists() for shard in shards):
            return False
    return bool(index) or any(folder.glob(pattern))


def missing(config: AssistantConfig, folder: Path) -> list[str]:
    """Parts of a preset whose weights and configurations a folder does not hold, as far as that is told by names; those to be downloaded first."""
    parts = [part for part, source in config.sources.items() if not all(_there(folder / part, pattern) for pattern in source.files if is_needed(pattern))]
    return parts + [part for part in config.trained if not any((folder / part).glob("*.safetensors"))]


def require(config: AssistantConfig, folder: Path) -> None:
    """Raise WeightsError, in one sentence with the exact next command, unless a folder holds every part of a preset."""
    gone = missing(config, folder)
    published, untrained = [p for p in gone if p in config.sources], [p for p in gone if p in config.trained]
    if published:
        gated = [f"{p} needs its licence accepted at {config.sources[p].licence}" for p in published if config.sources[p].licence]
        also = f", and {listing(untrained)}, which nobody published" if untrained else ""
        raise WeightsError(f"The preset {config.name!r} lacks {listing(published)} in {folder}{also}{f' ({gated[0]})' if gated else ''}.",
                           f"Run: {command(config, folder)}")
    if untrained:
        raise WeightsError(f"The preset {config.name!r} lacks {listing(untrained)} in {folder}: nobody published {'them' if len(untrained) > 1 else 'it'}, "
                           "so that they must be trained.", f"Run: {config.trained[untrained[0]]}")


def command(config: AssistantConfig, folder: Path) -> str:
    """What fetches a preset's published parts into a folder, and mends those that are not whole."""
    named = config.language.named if isinstance(config.language, ChatConfig) else ""
    return (f"python -m assistant download {config.name}{f' --llm {named}' if named else ''}{' --quick' if LCM in config.sources else ''}"
            f"{'' if folder == weights_dir(config.name) else f' --to {folder}'}")


@dataclass(frozen=True)
class Remote:
    """One file of a part as its source offers it."""

    path: str  # below the part's folder
    size: int  # bytes
    sha256: str = ""  # as the source says; empty: it says none
    at: str = ""  # its name at the source, if that is another: the half-precision form of a file
    instead: Remote | None = None  # the full-precision form, which serves as well where it is there already
    here: bool = False  # on this machine already: it needs no network, and no room


@dataclass(frozen=True)
class RepositoryListing:
    """One part as one source offers it."""

    part: str
    origin: str  # a hub's repository, or a folder
    revision: str
    root: str
    files: tuple[Remote, ...]
    mirrors: tuple[tuple[str, str], ...] = ()  # origin and root of the sources behind this one

    def below(self, root: str, file: Remote) -> Remote:
        """A file as a source holds it whose folder `root` is the part."""
        return replace(file, path=f"{root}/{file.at or file.path}" if root else file.at or file.path)


class Unavailable(Exception):
    """A source that does not give this part; the next may. The sentence says why, the remedy what opens this one.

    Args:
        passing: it may give it later, with nothing changed here.
    """

    def __init__(self, sentence: str, remedy: str = "", passing: bool = False) -> None:
        super().__init__(sentence)
        self.sentence, self.remedy, self.passing = sentence, remedy, passing


class Interrupted(WeightsError):
    """A download that may succeed later, with nothing changed here: it goes on where it stopped."""


Came = Callable[[int, bool], None]  # bytes more of the present file (or less), and whether they were here already; what it raises breaks off


class Client(Protocol):
    """Where files come from. Tests bring one of their own."""

    def places(self, part: str, source: Source) -> Sequence[tuple[str, str]]:
        """Where a part may be, best first: origin, and the folder there that is the part."""
        ...

    def offers(self, origin: str, revision: str | None) -> tuple[str, Sequence[Remote]]:
        """The exact revision and every file of a repository, with paths from its root. Raises Unavailable."""
        ...

    def fetch(self, origin: str, revision: str, file: Remote, into: Path, came: Came) -> Path:
        """Bring one file of a repository somewhere below `into`, going on where an earlier try broke off. Raises Unavailable, or OSError."""
        ...


@dataclass(frozen=True)
class DownloadPlan:
    """What a download is going to do."""

    listings: tuple[RepositoryListing, ...]
    wanted: tuple[tuple[RepositoryListing, Remote], ...]  # files that are not there yet
    notes: tuple[str, ...]  # sources that were passed over

    @property
    def bytes(self) -> int:
        """To come over the network."""
        return sum(file.size for _, file in self.wanted if not file.here)


def look(config: AssistantConfig, folder: Path, client: Client) -> DownloadPlan:
    """Find every published part at the first source that gives it. Nothing is fetched.

    Raises:
        WeightsError: a part that no source gives, or gives as pickled weights only. Interrupted: no network.
    """
    listings, notes = [], []
    for part, source in config.sources.items():
        listing, passed = _offered(part, source, client)
        listings.append(listing)
        notes += passed
    have = read_listing(folder)
    wanted = [(listing, file) for listing in listings for file in listing.files
              if not any(_is_there(one, folder / listing.part / file.path, have.get(f"{listing.part}/{file.path}")) for one in (file, file.instead) if one)]
    return DownloadPlan(tuple(listings), tuple(wanted), tuple(notes))


def _is_there(file: Remote, path: Path, entry: Mapping[str, object] | None) -> bool:
    """Whether a folder holds a file that is offered; small ones are read, as they are at each start, and so is what no manifest knows yet."""
    if not path.exists() or path.stat().st_size != file.size or (entry is not None and file.sha256 not in ("", entry["sha256"])):
        return False
    if entry is None:
        return file.sha256 in ("", sha256(path))
    return file.size > HASHED or sha256(path) == entry["sha256"]


def _offered(part: str, source: Source, client: Client) -> tuple[RepositoryListing, list[str]]:
    """A part as the first source that has it offers it, and what was said of those before."""
    passed: list[Unavailable] = []
    places = list(client.places(part, source))
    for number, (origin, root) in enumerate(places, 1):
        try:
            revision, below = _below(origin, root, source.revision, client)
            chosen = tuple(f for f in _halved(source, below) if _chosen(f.path, source, below))
            _complete(origin, source, chosen, below)
            notes = [f"{p.sentence}: {origin} is taken in its place." for p in passed]
            return RepositoryListing(part, origin, revision, root, chosen, tuple(places[number:])), notes
        except Unavailable as gone:
            passed.append(gone)
    remedy = next((p.remedy for p in passed if p.remedy), "give --from a folder that has it")
    kind = Interrupted if any(p.passing for p in passed) else WeightsError
    raise kind(f"The part {part!r} cannot be had: {'; '.join(p.sentence for p in passed)}.", f"{remedy[0].upper()}{remedy[1:]}.")


def _below(origin: str, root: str, revision: str | None, client: Client) -> tuple[str, list[Remote]]:
    revision, files = client.offers(origin, revision)
    return revision, [replace(f, path=f.path.removeprefix(f"{root}/")) for f in files if not root or f.path.startswith(f"{root}/")]


def _halved(source: Source, offered: Sequence[Remote]) -> list[Remote]:
    """Files that are offered, with the half-precision form of weights, where there is one, in the place and under the name of the whole one.
    A whole one that is on this machine already stays."""
    known, found = {f.path: f for f in offered}, {f.path: f for f in offered}
    for path, half in known.items():
        stem, name = path.removesuffix(".fp16.safetensors"), path.replace(".fp16.safetensors", ".safetensors")
        if stem != path and any(_matches(name, pattern) for pattern in source.files):
            whole = known.get(name)
            if whole is None or (half.size < whole.size and (half.here or not whole.here)):
                found[name] = replace(half, path=name, at=path, instead=whole)
    return list(found.values())


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
    for pattern in (p for p in source.files if is_needed(p)):
        stem = pattern.removesuffix(".safetensors").removesuffix("*")
        if any(f.path.startswith(stem) and f.path.endswith((".safetensors", "config.json")) and f.path.count("/") == pattern.count("/") for f in chosen):
            continue
        place = stem.rpartition("/")[0]
        if any(f.path.endswith(PICKLED) and f.path.startswith(place) for f in offered):
            raise Unavailable(f"{origin} has {pattern} as pickled weights only, which are never loaded",
                              "give --from a folder with .safetensors of the same model")
        raise Unavailable(f"{origin} has no {pattern}")


def download(errand: DownloadPlan, folder: Path, client: Client, say: Callable[[str], None] = print, came: Came = lambda count, kept: None) -> None:
    """Fetch what is wanted; each file is checked before it takes its place, and what is done already is never fetched twice.

    Args:
        came: told of bytes as they come; what it raises breaks the download off, and the next one goes on from there.

    Raises:
        WeightsError: the disk is too small, or a file is not the one its source speaks of, twice over.
        Interrupted: no source gave a file.
    """
    free, begun = free_disk(folder), sum(p.stat().st_size for p in (folder / INCOMING).rglob(f"*{PARTIAL}")) if (folder / INCOMING).exists() else 0
    room = errand.bytes - begun + SPARE
    if errand.bytes and room > free:
        raise WeightsError(f"{errand.bytes / GIB:.1f} GiB are to be fetched, but the disk of {folder} has {free / GIB:.1f} GiB free.",
                           f"Free {(room - free) / GIB:.1f} GiB, or name another folder with --to.")
    folder.mkdir(parents=True, exist_ok=True)
    listing = read_listing(folder)
    for number, (of, file) in enumerate(errand.wanted, 1):
        say(f"{number} of {len(errand.wanted)}: {of.part}/{file.path} ({_size(file.size)}) from {of.origin}")
        listing[f"{of.part}/{file.path}"] = _brought(of, file, folder, client, say, came)
        write_listing(folder, listing)
    put = [f"{of.part}/{file.path}" for of in errand.listings for file in of.files if f"{of.part}/{file.path}" not in listing]  # by hand, and whole
    if put:
        write_listing(folder, {**listing, **{name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in put}})
    shutil.rmtree(folder / INCOMING, ignore_errors=True)


def free_disk(folder: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _brought(of: RepositoryListing, file: Remote, folder: Path, client: Client, say: Callable[[str], None], came: Came) -> dict[str, object]:
    """One file, whole, at its place; returns its line of the manifest."""
    into = folder / INCOMING / of.part
    for again in (True, False):
        try:
            fetched = _fetched(of, file, into, client, say, came)
            size, found = fetched.stat().st_size, sha256(fetched)
            if size == file.size and file.sha256 in ("", found):
                to = folder / of.part / file.path
                to.parent.mkdir(parents=True, exist_ok=True)
                os.replace(fetched, to)
                return {"bytes": size, "sha256": found}
            fetched.unlink()
            came(-size, True)
        except OSError as error:
            full = error.errno == errno.ENOSPC
            raise WeightsError(f"{of.part}/{file.path} could not be written: {'the disk is full' if full else error}.",
                               f"{'Free some space' if full else 'See to that'} and run the same command again: it goes on where it stopped.") from error
        if again:
            say("  it came damaged, once more")
    raise WeightsError(f"{of.part}/{file.path} came damaged twice: {'its checksum' if size == file.size else f'{size} bytes of {file.size}'} "
                       f"{'is not what ' + of.origin + ' says' if size == file.size else 'came'}.", "Run the same command again later.")


def _fetched(of: RepositoryListing, file: Remote, into: Path, client: Client, say: Callable[[str], None], came: Came) -> Path:
    """One file from its source, or from a mirror that offers the very same file. Raises Interrupted, WeightsError: none gives it."""
    try:
        return client.fetch(of.origin, of.revision, of.below(of.root, file), into, came)
    except Unavailable as error:
        gone = error
    for origin, root in of.mirrors:
        try:
            revision, offered = _below(origin, root, None, client)
            if any((f.path, f.size, f.sha256) == (file.at or file.path, file.size, file.sha256) for f in offered):
                say(f"  {gone.sentence}: {origin} is taken in its place")
                return client.fetch(origin, revision, of.below(root, file), into, came)
        except Unavailable as error:
            gone = error
    kind = Interrupted if gone.passing else WeightsError
    raise kind(f"{gone.sentence[0].upper()}{gone.sentence[1:]}.", gone.remedy or "Run the same command again: it goes on where it stopped.") from gone


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= 0.1 * GIB else f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{max(1, count // 1024)} KiB"


def told(config: AssistantConfig, errand: DownloadPlan, folder: Path) -> str:
    """The dry listing: what would be fetched from where, and what else it takes."""
    lines = [f"{config.name} in {folder}:"]
    for of in errand.listings:
        new = sum(f.size for one, f in errand.wanted if one is of)
        whole = sum(f.size for f in of.files)
        name = config.sources[of.part].hubs[0]
        lines.append(f"  {of.part:<10} {_size(whole):>10}  {'is there' if not new else f'{_size(new)} to fetch'}, from {of.origin}"
                     f"{f' at {of.revision[:12]}' if of.revision else ''}; licence: {LICENCES.get(name, f'see https://huggingface.co/{name}')}")
    lines += [f"  {part:<10} {'':>10}  nobody published it; train it: {command}" for part, command in config.trained.items()]
    return "\n".join([*lines, *(f"  {note}" for note in errand.notes), f"  {_size(errand.bytes) if errand.wanted else 'Nothing'} to fetch."])
