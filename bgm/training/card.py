"""The model card: what a checkpoint was made of, and how good it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bgm.training.pictures import Part
from bgm.training.validation import SCORES, Table


@dataclass(frozen=True)
class CardFacts:
    """What a card says that does not change along the way.

    Attributes:
        command: The command line.
        settings: The settings as nested plain values.
        facts: Versions, machine and revision.
        learned: The pictures trained with.
        held_out: The pictures kept for validation.
        key: Scores of the best difference key.
    """

    command: str
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    learned: Part
    held_out: Part
    key: Table


def write_card(
    card: CardFacts, name: str, table: Table, steps: int, samples: int, hours: float
) -> str:
    """A model card in Markdown.

    Args:
        card: What is known of the run.
        name: Name of the weights' file.
        table: Their scores on the validation set.
        steps: Steps of this run until then.
        samples: Composites seen in them.
        hours: Time spent on them.
    """
    versions = ", ".join(f"{what} {which}" for what, which in card.facts["versions"].items())
    machine = card.facts["machine"]
    device = machine["device_name"] or machine["processor"]
    start = card.settings["checkpoint"] or "random weights"
    return f"""# {name}

Weights of bgm's matting network, float16, averaged along the training. Put this directory into
`checkpoints_dir=`.

## How it was made

    {card.command}

{steps} steps, {samples} composites, {hours:.2f} hours on {device}
({machine["threads"]} threads). Started from: {start}.

Every composite is made on the fly from:

| | training | kept for validation |
|---|---|---|
| cut-outs | {_kinds(card.learned)} | {_kinds(card.held_out)} |
| photographs | {len(card.learned.backgrounds)} | {len(card.held_out.backgrounds)} |

and from subjects that the training draws itself. Licences of these pictures: to be added by whoever
passes the weights on.

## How good it is

On composites of pictures that it was not trained with (`mad` and `mse` x1000; `key`: the
`mad` of the difference key with the thresholds that suit this set best):

{_scores(table, card.key)}

## Settings and versions

{versions}

```json
{json.dumps({key: card.settings[key] for key in _SHOWN}, indent=2)}
```
"""


_SHOWN = ("stage", "composites", "validation", "seed", "precision")


def _kinds(part: Part) -> str:
    counts = Counter(entry.kind for entry in part.foregrounds.entries)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def _scores(table: Table, key: Table) -> str:
    lines = [f"| kind | {' | '.join(SCORES)} | key |", "|---" * (len(SCORES) + 2) + "|"]
    for kind, scores in table.items():
        values = [f"{scores[name]:.2f}" for name in SCORES]
        lines.append(f"| {kind} | {' | '.join(values)} | {key[kind]['mad']:.2f} |")
    return "\n".join(lines)
