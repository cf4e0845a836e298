"""Whether a trained model may replace the one that ships: both answer the same held-out requests, and the judge decides."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..config import AssistantConfig
from ..evaluation.test_cases import AttributeJudge
from ..evaluation.overall import evaluate
from ..engine import load

# what counts, as paths into `evaluate`'s result; each is a share of hits
MEASURES = (
    *(("answers", "picture against the photo", name) for name in ("kind", "colour", "pattern")),
    *(("answers", "picture against the request", name) for name in ("context", "style", "accessory")),
    ("answers", "picture against the reply", "all"), ("answers", "reply against photo and request", "all"),
    *(("base", name) for name in ("kind", "colour", "pattern", "context", "style", "accessory")),
)


@dataclass(frozen=True)
class Verdict:
    """`better`: whether the candidate may ship; `lines`: why, a measure a line and the outcome last."""

    better: bool
    lines: tuple[str, ...]


def measure(config: AssistantConfig, folder: Path, witness: AttributeJudge, counts: dict[str, int], steps: int, say: Callable[[str], None]) -> dict:
    """`evaluate` on the weights in `folder`."""
    assistant = load(config.name, folder=folder)
    return evaluate(assistant, assistant.base, witness, counts, steps, say)


def compare(shipped: dict, candidate: dict) -> Verdict:
    """A candidate is better if the mean of the measures rises and none of them falls for sure: its 95 % interval must not lie
    wholly below the shipped one's. A measure that had no case in either set is left out.

    Args:
        shipped, candidate: results of `evaluate` with the same counts.
    """
    lines, gains, falls = [], [], []
    for path in MEASURES:
        old, new = _at(shipped, path), _at(candidate, path)
        if not old["count"] or not new["count"]:
            continue
        name = ", ".join(path)
        fell = new["high"] < old["low"]
        gains.append(new["value"] - old["value"])
        falls += [name] * fell
        lines.append(f"{name}: {old['value']:.3f} -> {new['value']:.3f}{'  worse beyond chance' if fell else ''}")
    gain = sum(gains) / len(gains) if gains else 0.0
    better = gain > 0 and not falls
    why = f"mean {gain:+.4f}" + (f", but worse: {'; '.join(falls)}" if falls else "")
    return Verdict(better, (*lines, f"{'better' if better else 'not better'} ({why})"))


def _at(result: dict, path: tuple[str, ...]) -> dict:
    for key in path:
        result = result.get(key, {})
    return result if "count" in result else {"count": 0}


def judge_candidate(config: AssistantConfig, shipped: Path, candidate: Path, witness: AttributeJudge, counts: dict[str, int], steps: int,
                    say: Callable[[str], None]) -> Verdict:
    """Measure both folders of weights on the same cases and seeds.

    Raises:
        WeightsError: one of them is incomplete or damaged.
    """
    found = [measure(config, folder, witness, counts, steps, lambda what: say(f"{folder.name}: {what}")) for folder in (shipped, candidate)]
    return compare(*found)
