"""How well a checkpoint answers fresh questions: exact match of whole answers under both masks, by question type.

  python3 evaluate.py --checkpoint DIR [--questions 1000] [--seed 12345] [--greedy]
Teacher forced, in batches; --greedy decodes one by one instead, as an engine does (an answer is right under one exactly when it is under the other,
but for rounding) and reduces 256 x 256 pictures as the preprocessor does.
"""
import argparse, random
import numpy as np, torch
import data as D
from model import load
from train import evaluate
from expect import answer, preprocess


def greedy(m, attention, n, seed):
    rng = random.Random(seed); ok, tot = {}, {}
    for _ in range(n):
        o, im, dark = D.draw_scene(rng, full=True); q, a = D.qa(rng, o, dark); t = " ".join(q.split()[:2])
        ok[t] = ok.get(t, 0) + (answer(m, preprocess(im), q, attention)["text"] == a); tot[t] = tot.get(t, 0) + 1
    return sum(ok.values()) / sum(tot.values()), {q: f"{ok[q]}/{tot[q]}" for q in sorted(tot)}


def main():
    ap = argparse.ArgumentParser(); ap.add_argument("--checkpoint", required=True); ap.add_argument("--questions", type=int, default=1000)
    ap.add_argument("--seed", type=int, default=12345); ap.add_argument("--greedy", action="store_true", help="greedy decoding, pictures by the preprocessor's own path from 256 x 256")
    a = ap.parse_args(); m = load(a.checkpoint)
    for att in ("self", "composite"): print(att, *(greedy if a.greedy else evaluate)(m, att, a.questions, a.seed), flush=True)


if __name__ == "__main__": main()
