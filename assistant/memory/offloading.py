"""Where an engine's modules live while it runs: all on the device, taking turns, or layer by layer. Knows modules, no requests.

A module that waits keeps its weights in the computer's memory and is only lent a copy of them when it is called, so nothing is ever
copied back. Hooks on the modules do it, so that whoever calls them need not know.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from .budget import Tier, next_tier


@dataclass(frozen=True, eq=False)
class Weight:
    """A parameter or buffer by the module that owns it, as it is in the computer's memory."""

    owner: nn.Module
    name: str
    kept: torch.Tensor

    def put(self, tensor: torch.Tensor) -> None:
        """Let the owner have another tensor. What a graph has saved of the one before stays as it is."""
        place: dict[str, Any] = self.owner._parameters if self.name in self.owner._parameters else self.owner._buffers
        place[self.name] = tensor

    def lent(self, device: torch.device) -> torch.Tensor:
        copy = self.kept.detach().to(device, copy=True)
        return nn.Parameter(copy, requires_grad=False) if isinstance(self.kept, nn.Parameter) else copy


def weights_of(module: nn.Module) -> list[Weight]:
    """Its own, not those of modules in it."""
    named = [*module._parameters.items(), *module._buffers.items()]
    return [Weight(module, name, t) for name, t in named if t is not None]


class Group:
    """Modules that are needed together.

    Args:
        modules: whose weights move; frozen.
        doors: the modules that are called from outside, if others than `modules`; each brings the whole group.
    """

    def __init__(self, modules: Sequence[nn.Module], doors: Sequence[nn.Module] = ()) -> None:
        self.modules, self.doors = tuple(modules), tuple(doors) or tuple(modules)
        self.kept: list[Weight] = []
        self.here = False  # whether copies are lent

    def keep(self) -> None:
        """Take the weights into the computer's memory."""
        for module in self.modules:
            module.to("cpu")
        parts = {id(part): part for module in self.modules for part in module.modules()}
        self.kept = [weight for part in parts.values() for weight in weights_of(part)]

    def come(self, device: torch.device) -> None:
        copies: dict[int, torch.Tensor] = {}  # one copy of what two modules share
        for weight in self.kept:
            if id(weight.kept) not in copies:
                copies[id(weight.kept)] = weight.lent(device)
            weight.put(copies[id(weight.kept)])
        self.here = True

    def leave(self) -> None:
        for weight in self.kept:
            weight.put(weight.kept)
        self.here = False


class OffloadManager:
    """Args:
        device: where everything is computed.
        groups: what moves, by name; what is not in one stays on the device.
        vaes: autoencoders, which may work tile by tile.
        moving: called before weights begin to move, for whatever counts on their staying.
    """

    def __init__(self, device: torch.device, groups: Mapping[str, Group], vaes: Sequence[Any] = (), tier: Tier | None = None,
                 moving: Callable[[], None] = lambda: None) -> None:
        self.device, self.groups, self.vaes, self.moving = device, dict(groups), tuple(vaes), moving
        self.tier: Tier | None = None
        self._hooks: list[Any] = []
        self._lock = threading.RLock()
        if tier is not None:
            self.settle(tier)

    def settle(self, tier: Tier) -> None:
        """Live as a tier says, from now on."""
        for hook in self._hooks:
            hook.remove()
        self._hooks, self.tier = [], tier
        if tier.turns or tier.layers:
            self.moving()
        for name, group in self.groups.items():
            stays = not (tier.turns or tier.layers) or (tier.quantised and name == "words")
            if stays:
                for module in group.modules if not (tier.quantised and name == "words") else ():  # which was loaded where it stays
                    module.to(self.device)
                group.kept = []
                continue
            if not group.kept:
                group.keep()
            group.leave()
            if tier.layers:
                self._by_layers(group)
            else:
                self._by_turns(name, group)
        for vae in self.vaes if tier.tiled else ():
            tile(vae)
        free(self.device)

    def lower(self, learning: bool = False) -> Tier | None:
        """Settle in the next tier that a running engine can change to, and return it; None: there is none. Where gradients are needed
        the decoder must be there whole."""
        after = next_tier(self.tier) if self.tier is not None else None
        if after is None or (learning and after.layers):
            return None
        self.settle(after)
        return after

    def _by_turns(self, name: str, group: Group) -> None:
        def enter(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            self._lock.acquire()  # until it has been called: another thread must not take its weights away meanwhile
            if not group.here:
                for other in self.groups.values():
                    if other is not group and other.here:
                        other.leave()
                free(self.device)
                group.come(self.device)
            return _on(self.device, args), _on(self.device, kwargs)

        self._hook(group.doors, enter, self._lock.release)

    def _by_layers(self, group: Group) -> None:
        """Each module that has weights of its own is lent them for its own call."""
        for part in {id(part): part for module in group.modules for part in module.modules()}.values():
            deep = isinstance(part, nn.MultiheadAttention)  # which reads its projection's weights without calling it
            own = [weight for one in (part.modules() if deep else (part,)) for weight in weights_of(one)]
            if own:
                self._lend(part, own)

    def _lend(self, part: nn.Module, own: Sequence[Weight]) -> None:
        def enter(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            for weight in own:
                weight.put(weight.lent(self.device))
            return _on(self.device, args), _on(self.device, kwargs)

        def leave() -> None:
            for weight in own:
                weight.put(weight.kept)

        self._hook((part,), enter, leave)

    def _hook(self, doors: Sequence[nn.Module], enter: Callable[..., Any], leave: Callable[[], None]) -> None:
        for door in doors:
            self._hooks.append(door.register_forward_pre_hook(enter, with_kwargs=True))
            self._hooks.append(door.register_forward_hook(lambda *_: leave(), always_call=True))


def _on(device: torch.device, given: Any) -> Any:
    return tree_map(lambda t: t.to(device) if isinstance(t, torch.Tensor) else t, given)


def tile(vae: Any) -> None:
    """An autoencoder in tiles of half its usual side, a picture at a time."""
    side = vae.config.sample_size // 2
    vae.tile_sample_min_size, vae.tile_latent_min_size = side, side // 2 ** (len(vae.config.block_out_channels) - 1)
    vae.enable_tiling()
    vae.enable_slicing()


def free(device: torch.device) -> None:
    """Give back what the allocator holds unused."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
