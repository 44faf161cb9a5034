"""Train the example's base model from scratch and save it in Hugging Face format.

A character-level causal LM of Qwen2's architecture, about one million parameters, trained on
`a+b=` and `a-b=` with the answers of a teacher who often forgets carries. Problems of the example's
data files are left out. One CPU core needs about eight minutes.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

import torch
from make_data import HERE, draw_splits, reserved_problems
from problems import Problem, draw_problem, label
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

SIGN = "="
OTHER_SIGN = "?"
PAD, EOS = "<pad>", "<eos>"
VOCABULARY = [PAD, EOS, *"0123456789+-", SIGN, OTHER_SIGN]
IGNORED = -100


def build_tokenizer() -> Qwen2Tokenizer:
    """One token per character; nothing is added at either end.

    It is Qwen2's own class, since AutoTokenizer puts no other on a Qwen2 model. Without merges its
    byte-level BPE has a token for each character; characters it does not know are dropped.
    """
    return Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate(VOCABULARY)},
        merges=[],
        unk_token=PAD,
        pad_token=PAD,
        eos_token=EOS,
        model_max_length=32,
    )


def build_model() -> Qwen2ForCausalLM:
    """A fresh model: 4 layers of width 128, 4 query heads over 2 key-value heads of width 32."""
    config = Qwen2Config(
        vocab_size=len(VOCABULARY),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        tie_word_embeddings=True,
        pad_token_id=VOCABULARY.index(PAD),
        eos_token_id=VOCABULARY.index(EOS),
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config)


def encode_batch(pairs: list[tuple[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, (P, T) each; only answer and end of sequence are learnt."""
    index = {token: position for position, token in enumerate(VOCABULARY)}
    width = max(len(prompt) + len(answer) for prompt, answer in pairs) + 1
    ids = torch.full((len(pairs), width), index[PAD])
    labels = torch.full((len(pairs), width), IGNORED)
    for row, (prompt, answer) in enumerate(pairs):
        tokens = torch.tensor([*(index[char] for char in prompt + answer), index[EOS]])
        ids[row, : len(tokens)] = tokens
        labels[row, len(prompt) : len(tokens)] = tokens[len(prompt) :]
    return ids, labels


@torch.no_grad()
def exact_match(model: Qwen2ForCausalLM, problems: list[Problem], sign: str) -> float:
    """Share of problems whose greedy completion is the right answer and then ends."""
    ids, labels = encode_batch([(problem.prompt(sign), problem.answer) for problem in problems])
    # Greedy decoding gives the reference exactly where every reference token is the argmax.
    guesses = model(ids[:, :-1]).logits.argmax(-1)
    targets = labels[:, 1:]
    return ((guesses == targets) | (targets == IGNORED)).all(1).float().mean().item()


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 100 steps, then a cosine to a twentieth of the peak."""
    if step < 100:
        return peak * (step + 1) / 100
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def draw_pairs(
    count: int, careless_share: float, rng: random.Random, reserved: set[Problem]
) -> list[tuple[str, str]]:
    """Draw prompts with the careless teacher's answers, never of a problem in `reserved`."""
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        problem = draw_problem(rng)
        if problem not in reserved:
            pairs.append((problem.prompt(SIGN), label(problem, careless_share, rng)))
    return pairs


def train(model: Qwen2ForCausalLM, args: argparse.Namespace) -> None:
    """Run AdamW on freshly drawn problems, printing progress."""
    rng = random.Random(args.seed)
    reserved = reserved_problems()
    probe = [draw_problem(random.Random(f"{args.seed}-{i}")) for i in range(500)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=0.01)
    started, total = time.monotonic(), 0.0
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.learning_rate)
        ids, labels = encode_batch(draw_pairs(args.batch_size, args.careless_share, rng, reserved))
        loss = model(ids, labels=labels).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item()
        if (step + 1) % args.report_every == 0:
            score = exact_match(model, probe, SIGN)
            print(
                f"step {step + 1}/{args.steps}  loss {total / args.report_every:.4f}  "
                f"exact match {score:.3f}  {time.monotonic() - started:.0f} s",
                flush=True,
            )
            total = 0.0


def parse_arguments() -> argparse.Namespace:
    """Read the command line; the defaults made the committed weights."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE / "model")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--careless-share", type=float, default=0.45)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report-every", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Train, report on the example's test problems in both formats, save."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = build_model()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    train(model, args)
    test = draw_splits()["test"]
    for sign in (SIGN, OTHER_SIGN):
        print(f"test, format a+b{sign}: {exact_match(model, test, sign):.3f} of {len(test)}")
    model.save_pretrained(args.out)
    build_tokenizer().save_pretrained(args.out)


if __name__ == "__main__":
    main()
