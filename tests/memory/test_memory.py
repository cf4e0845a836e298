"""Memory tiers: what is computed is what a trace finds, the first that fits is taken, modules live as a tier says, a shortage costs one tier."""

import json
import threading
import weakref
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from assistant.model_factory import build, count
from assistant.diffusion.guidance import EMPTY, TEXT, infusion_guidance, text_guidance
from assistant.controls.infusion import Infusion
from assistant.diffusion import attention
from assistant.diffusion.attention import AttentionContext, TextStates
from assistant.diffusion.latent_diffusion import LatentDiffusion
from assistant.errors import DeviceError, is_shortage
from assistant.memory.budget import GIB, TIERS, UNET_LIVE, VAE_LIVE, Budget, next_tier, sizes, tier
from assistant.requests import EngineInfo, Progress, Reply, Request, Settings, Words
from assistant.models.vision_encoders import VisionEncoders
from assistant.presets import FULL, MINIATURE, OPEN, SD2, SD15, SDXL, with_llm
from assistant.memory.offloading import Group, OffloadManager, tile
from assistant.memory.oom_retry import OomRetryEngine
from tests.tiny_full import TINY


def test_a_joint_decoder_is_built_and_counted_once():
    joint, apart = (sizes(replace(MINIATURE, decoder=replace(MINIATURE.decoder, joint=is_joint))) for is_joint in (True, False))
    assert apart.keys() - joint.keys() == {"cafe"} and joint["unet"] == apart["unet"] == apart["cafe"] and joint["values"] == apart["values"]
    assert count(build(MINIATURE, only=("unet",))["values"]) == joint["values"]


class Live(TorchDispatchMode):
    """Bytes of the tensors that are alive beside a module's own, at their most."""

    def __init__(self, module):
        super().__init__()
        self.now, self.peak = 0, 0
        self.seen = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and (key := tensor.untyped_storage()._cdata) not in self.seen:
                size = tensor.untyped_storage().nbytes()
                self.seen.add(key)
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(tensor.untyped_storage(), self._gone, key, size)
        return out

    def _gone(self, key, size):
        self.now -= size
        self.seen.discard(key)


@pytest.mark.slow
@pytest.mark.parametrize("preset, plan, width, share", [(SD15, infusion_guidance(8.0), 768, 1.0), (SD2, text_guidance(8.0), 1024, 1.0),
                                                        (SDXL, text_guidance(5.0), 2048, 0.72)],  # its outer level has no attention
                         ids=("sd15", "sd2", "sdxl"))
def test_what_is_computed_to_live_beside_the_weights_is_what_a_traced_step_finds(preset, plan, width, share, monkeypatch):
    def without_maps(kernel, query, key, value, scale, mask=None):  # as the GPU's kernels do it
        return query.new_empty(*query.shape[:-1], value.shape[-1])

    monkeypatch.setattr(attention, "attend", without_maps)
    made, side = build(preset), preset.decoder.unet["sample_size"]
    unet, vae = made["unet"].half(), made["vae"]
    LatentDiffusion(unet, vae, preset.decoder.scheduler)
    states = torch.empty(1, 77, width, device="meta", dtype=torch.half)
    said = states if preset.decoder.text_2 is None else TextStates(states, torch.empty(1, 1280 + 6, device="meta", dtype=torch.half))
    context = AttentionContext({TEXT: said, EMPTY: said}, controls=(Infusion(()),)).begin(plan.rows, 1)
    with torch.no_grad(), Live(unet) as live:
        unet(torch.empty(len(plan.rows), 4, side, side, device="meta", dtype=torch.half), torch.tensor(5.0, device="meta"), None, **context.arguments())
    assert live.peak == pytest.approx(share * UNET_LIVE * len(plan.rows) * side**2 * 320 * 2, rel=0.15)
    latents = torch.empty(1, 4, side, side, device="meta")
    with torch.no_grad(), Live(vae) as live:
        vae.decode(latents)
    assert live.peak == pytest.approx(VAE_LIVE * preset.decoder.image_size**2 * 128 * 4, rel=0.05)
    whole = live.peak
    tile(vae)
    with torch.no_grad(), Live(vae) as live:
        assert vae.decode(latents).sample.shape[-1] == preset.decoder.image_size
    assert live.peak < 0.3 * whole


def test_the_first_tier_that_fits_is_taken_and_each_takes_less_of_the_gpu():
    full = Budget(FULL, 2)
    takes = {t.name: full.need(t) for t in TIERS}
    assert 36 * GIB < takes["whole"].device < 48 * GIB  # 26 GB of language model, 2.3 of DINO, two UNets of 1.7
    assert takes["4bit"].device < 24 * GIB and takes["4bit-turns"].device < 16 * GIB and takes["layers"].device < 8 * GIB
    def chosen(free, host, quantises=True):
        return full.choose("auto", int(free * GIB), int(host * GIB), quantises).name

    assert chosen(80, 64) == "whole" and chosen(24, 64) == "4bit" and chosen(24, 64, False) == "layers" and chosen(36, 64, False) == "turns"
    assert chosen(16, 32) == "4bit-turns" and chosen(8, 64) == "layers"
    with pytest.raises(DeviceError, match="takes at least .* GiB and 16.0 GiB are free"):
        chosen(4, 16)
    assert Budget(SD15, 2).choose("auto", 8 * GIB, 16 * GIB, True).name == "whole"
    with pytest.raises(DeviceError, match="bitsandbytes"):
        full.choose("4bit", 80 * GIB, 64 * GIB, False)
    with pytest.raises(DeviceError, match="a preset with a language model"):
        Budget(SD15, 2).choose("4bit", 80 * GIB, 64 * GIB, True)
    with pytest.raises(DeviceError, match="no memory tier"):
        tier("less")
    with pytest.raises(DeviceError, match="without a GPU; 24.0 GiB"):
        Budget(FULL, 4).choose_host(24 * GIB)
    assert Budget(MINIATURE, 4).choose_host(2 * GIB).name == "whole"
    assert [next_tier(t) and next_tier(t).name for t in TIERS] == ["turns", "4bit-turns", "layers", "layers", None]


@pytest.mark.slow
def test_a_named_chat_model_counts_and_can_be_held_in_4_bits_from_a_folder_too(tmp_path):
    """7 B of numbers in sharded files of headers: what a download or a folder holds is counted, wherever it is."""
    seven = {"a": 3_900_000_000, "b": 3_600_000_000, "table": 150_000_000}
    home, local = tmp_path / "open" / "llm-some--chat", tmp_path / "elsewhere"
    for folder in (home, local):
        folder.mkdir(parents=True)
        for name, numbers in seven.items():
            head = json.dumps({name: {"dtype": "BF16", "shape": [numbers // 1000, 1000], "data_offsets": [0, 2 * numbers]}}).encode()
            with (folder / f"model-{name}.safetensors").open("wb") as file:
                file.write(len(head).to_bytes(8, "little") + head)
                file.truncate(8 + len(head) + 2 * numbers)  # a hole: it takes no disk
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {name: f"model-{name}.safetensors" for name in seven}}))
    plain = Budget(OPEN, 2).need(tier("whole")).device
    for config in (with_llm(OPEN, "some/chat"), with_llm(OPEN, str(local))):
        budget = Budget(config, 2, tmp_path / "open")
        assert budget.numbers["llm"] == sum(seven.values()) and budget._matrix() == 2 * 3_900_000_000
        assert budget.need(tier("whole")).device - plain == pytest.approx((2 * sum(seven.values()) - 4.0 * GIB) * 1.15, rel=0.01)
        assert budget.choose("auto", 14 * GIB, 64 * GIB, True).name == budget.choose("4bit", 14 * GIB, 64 * GIB, True).name == "4bit"
    assert 15 * GIB < Budget(with_llm(OPEN, "llava-hf/llava-1.5-7b-hf"), 2).need(tier("whole")).device  # before it is downloaded


@pytest.fixture
def two():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)), torch.nn.Linear(4, 4)


def test_taking_turns_lends_weights_to_whoever_is_called_and_takes_them_back(two):
    x, (one, other) = torch.ones(1, 4), two
    expected = one(x), other(x)
    groups = {"words": Group([one]), "base": Group([other])}
    residence = OffloadManager(torch.device("cpu"), groups, tier=tier("turns"))
    kept = {p.data_ptr() for m in two for p in m.parameters()}
    at_home = lambda m: all(p.data_ptr() in kept for p in m.parameters())  # noqa: E731
    assert at_home(one) and at_home(other)
    torch.testing.assert_close(one(x), expected[0])
    assert groups["words"].here and not at_home(one) and at_home(other)
    torch.testing.assert_close(other(x), expected[1])
    assert groups["base"].here and not groups["words"].here and at_home(one)
    residence.settle(tier("layers"))
    assert at_home(one) and at_home(other)
    torch.testing.assert_close(one(x), expected[0])
    assert at_home(one)  # lent for the call only
    residence.settle(tier("whole"))
    assert not one._forward_pre_hooks and not one[0]._forward_pre_hooks
    torch.testing.assert_close(one(x), expected[0])


def test_a_door_that_fails_to_open_leaves_nobody_locked_out(two, monkeypatch):
    one, other = two
    groups = {"words": Group([one]), "base": Group([other])}
    residence = OffloadManager(torch.device("cpu"), groups, tier=tier("turns"))

    def short(device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(groups["words"], "come", short)
    with pytest.raises(torch.OutOfMemoryError):
        one(torch.ones(1, 4))
    passed = []
    thread = threading.Thread(target=lambda: passed.append(other(torch.ones(1, 4))))
    thread.start()
    thread.join(5)
    assert passed and residence.tier.name == "turns"


@pytest.mark.parametrize("name", ("turns", "layers"))
def test_every_weight_of_the_full_presets_parts_is_there_when_it_is_needed(name):
    """Computed on the meta device while weights wait on the CPU: a weight that is not brought ends in an error."""
    made, meta = build(TINY, "cpu"), torch.device("meta")
    llama, clip = made["llama"], made["clip"].visual
    vision = VisionEncoders(TINY.vision, made["dino"], made["clip"])
    table = llama.get_input_embeddings()
    OffloadManager(meta, {"words": Group([llama], [llama, llama.model, table]), "eyes": Group([made["dino"], clip]),
                     "cafe": Group([made["cafe"]]), "base": Group([made["unet"]])}, tier=tier(name))
    words = table(torch.zeros(1, 3, dtype=torch.long, device=meta))
    assert llama(inputs_embeds=words).logits.device == meta and llama.model(inputs_embeds=words).last_hidden_state.device == meta
    photo = torch.empty(1, 3, 50, 40, device=meta)
    assert vision.patches(photo).device == meta and vision.semantics(photo).device == meta
    for part, width in (("cafe", 48), ("unet", 32)):
        decoder = LatentDiffusion(made[part], made["vae"].to("cpu"), TINY.decoder.scheduler)
        decoder.device = meta
        context = AttentionContext({TEXT: torch.empty(1, 5, width, device=meta), EMPTY: torch.empty(1, 5, width, device=meta)})
        assert decoder.sample(text_guidance(2.0), context, [0], 1).latents.device == meta
    held = [p for m in (llama, made["dino"], clip, made["cafe"], made["unet"]) for p in m.parameters()]
    assert name == "turns" or all(p.device.type == "cpu" for p in held)


class Home:
    """A residence without modules."""

    def __init__(self, name="whole"):
        self.tier, self.lowered = tier(name), 0

    def lower(self, learning=False):
        after = next_tier(self.tier)
        if after is None or (learning and after.layers):
            return None
        self.tier, self.lowered = after, self.lowered + 1
        return after


class Engine:
    """Speaks, then draws; the drawing runs out of memory `short` times."""

    trainer = None

    def __init__(self, short):
        self.short, self.seeds, self.alive = short, [], []

    def info(self):
        return EngineInfo("tiny", "cuda", 64, "Tiny.", "abc")

    def respond(self, request, cancel):
        big = torch.zeros(10)
        self.alive.append(weakref.ref(big))
        self.seeds.append(request.settings.seed)
        yield Words("A beach")
        yield Words(", at night.")
        yield Progress(1, 2)
        if self.short > 0:
            self.short -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        yield Reply("A beach, at night.", b"png", request.settings.seed, request.settings, {"a": 1}, {}, {}, False)

    def mix(self, request, cancel):
        yield from self.respond(request, cancel)

    strip = mix

    def imagine(self, words, settings, cancel):
        return [event for event in self.respond(Request(words, settings=settings), cancel)][-1].png


ASK = Request("beach", settings=Settings())


def test_a_shortage_costs_one_tier_and_the_answer_is_whole():
    engine, home = Engine(1), Home()
    events = list(OomRetryEngine(engine, home).respond(ASK, threading.Event()))
    reply = events[-1]
    assert home.lowered == 1 and home.tier.name == "turns" and reply.png == b"png" and reply.metadata == {"a": 1}
    told = "".join(e.delta for e in events if isinstance(e, Words))
    assert told == reply.text and told.count("A beach") == 1 and told.startswith("A beach, at night. (Memory ran out; from now on the language model")
    assert engine.seeds[0] is not None and len(set(engine.seeds)) == 1
    assert "take turns" in OomRetryEngine(engine, home).info().notice and OomRetryEngine(engine, Home()).info().notice == "Tiny."
    quiet = list(OomRetryEngine(engine, home).respond(ASK, threading.Event()))[-1]
    assert quiet.text == "A beach, at night."  # said once


def test_the_first_tries_tensors_are_gone_before_the_second():
    engine, home, found = Engine(1), Home(), []
    lower = home.lower
    home.lower = lambda learning=False: found.append(engine.alive[0]()) or lower()
    list(OomRetryEngine(engine, home).respond(ASK, threading.Event()))
    assert found == [None]


@pytest.mark.slow
@pytest.mark.parametrize("short, name, said", [(2, "whole", "again, in the next tier too"), (1, "layers", "no tier that takes less")])
def test_a_second_shortage_is_one_clear_error(short, name, said):
    with pytest.raises(DeviceError, match=said) as raised:
        list(OomRetryEngine(Engine(short), Home(name)).respond(ASK, threading.Event()))
    assert raised.value.remedy and raised.value.__context__ is None


@pytest.mark.slow
def test_boards_and_lessons_are_tried_again_too_and_other_errors_pass():
    for way in ("mix", "strip"):
        home, engine = Home(), Engine(1)
        assert isinstance(list(getattr(OomRetryEngine(engine, home), way)(ASK, threading.Event()))[-1], Reply) and home.lowered == 1
    home, engine = Home(), Engine(1)
    assert OomRetryEngine(engine, home).imagine("a beach", Settings(), threading.Event()) == b"png" and home.lowered == 1

    class Course:
        step, steps, shorts = 3, 5, 1

        def advance(self):
            if self.shorts:
                self.shorts -= 1
                raise torch.OutOfMemoryError("CUDA out of memory")
            return 0.5

    engine.trainer = type("Teacher", (), {"begin": lambda self, task, state=None: Course()})()
    home = Home()
    course = OomRetryEngine(engine, home).trainer.begin(None)
    assert course.advance() == 0.5 and course.step == 3 and home.tier.name == "turns"
    course._run.shorts = 1
    with pytest.raises(DeviceError):  # gradients need the decoder whole
        course.advance()
    engine.respond = lambda request, cancel: (_ for _ in ()).throw(RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes"):
        list(OomRetryEngine(engine, home).respond(ASK, threading.Event()))
    assert is_shortage(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")) and not is_shortage(KeyError("x"))


def test_a_seed_that_was_asked_for_is_kept():
    engine = Engine(1)
    list(OomRetryEngine(engine, Home()).respond(replace(ASK, settings=Settings(seed=7)), threading.Event()))
    assert engine.seeds == [7, 7]
