"""Write train.jsonl, validation.jsonl and test.jsonl from topics.yaml. Deterministic.

Every topic gives eight prompts: each of its four phrases in two of eight forms of question. The
forms rotate from topic to topic, so all sets share them and differ in topics alone. Rows are
shuffled: the first rows of a file are already a fair sample of its topics.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
SEED = 0
SETS = ("train", "validation", "test")
ABOUT_A_MOMENT = (
    "In one sentence, what is it like when {}?",
    "How does it feel when {}? Answer in one sentence.",
    "Describe in a single sentence what happens when {}.",
    "What goes through your mind when {}? Keep it to one sentence.",
    "Write one sentence about a day when {}.",
    "In one sentence, what do you say when {}?",
    "Tell me in one sentence how things go when {}.",
    "What is life like when {}? One sentence, please.",
)
ABOUT_DOING = (
    "In one sentence, what is it like {}?",
    "In one sentence, describe {}.",
    "What do you think about {}? One sentence, please.",
    "Write a single sentence about {}.",
    "In one sentence, how would you sum up {}?",
    "Give me one sentence about {}.",
    "What can you tell me about {}? Answer in a single sentence.",
    "Say something about {}. Answer in one sentence.",
)


def build_prompts(topic: dict[str, Any], number: int) -> Iterator[str]:
    """The prompts of one topic; `number` is its place in its set and turns the forms."""
    for forms, phrases in ((ABOUT_A_MOMENT, topic["when"]), (ABOUT_DOING, topic["doing"])):
        for position, phrase in enumerate(phrases):
            for repeat in range(2):
                form = forms[(3 * number + 2 * position + 5 * repeat) % len(forms)]
                yield form.format(phrase)


def build_rows(topics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one set."""
    rows = [
        {"prompt": prompt, "topic": topic["topic"], "topic_words": topic["words"]}
        for number, topic in enumerate(topics)
        for prompt in build_prompts(topic, number)
    ]
    random.Random(SEED).shuffle(rows)
    return rows


def build_files() -> dict[str, str]:
    """The text of every file, by file name."""
    topics = yaml.safe_load((HERE / "topics.yaml").read_text(encoding="utf-8"))
    return {
        f"{name}.jsonl": "".join(json.dumps(row) + "\n" for row in build_rows(topics[name]))
        for name in SETS
    }


def main() -> None:
    """Write the files beside this script."""
    for name, text in build_files().items():
        (HERE / name).write_text(text, encoding="utf-8")
        print(f"{name}: {text.count(chr(10))} rows")


if __name__ == "__main__":
    main()
