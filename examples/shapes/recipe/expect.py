"""Pictures, questions and greedy answers of a trained shapes checkpoint, by the recipe's own PyTorch model in float32.

  python3 expect.py --checkpoint DIR --out DIR --seed 1 --pictures 24
Writes pictures/NNN.png (256 x 256) and expected.jsonl: one line a question, with the truth, and for each mask the
token ids (end token included), the text, and the smallest gap between the two largest logits over the steps.
Lines whose gap is under --margin under either mask are left out, so that exact ids can be required.
"""
import argparse, json, os, random
import numpy as np, torch
from PIL import Image
import data as D
from model import load


def preprocess(im):
    """preprocessor_config.json: shortest edge to 64 (bicubic), centre crop, 1/255, (x - mean) / std."""
    im = im.convert("RGB"); w, h = im.size; s = D.SIZE / min(w, h)
    if (w, h) != (D.SIZE, D.SIZE): im = im.resize((round(w * s), round(h * s)), Image.BICUBIC)
    w, h = im.size; l, u = (w - D.SIZE) // 2, (h - D.SIZE) // 2
    x = np.asarray(im.crop((l, u, l + D.SIZE, u + D.SIZE)), np.float32) / 255
    return torch.from_numpy((x - 0.5) / 0.5).permute(2, 0, 1)[None]


@torch.no_grad()
def answer(m, px, question, mask, limit=32):
    words = ["<s>", "user", ":", "<image>"] + question.split() + ["assistant", ":"]
    ids = [D.VOCAB[w] for w in words]; out, gap = [], 1e9
    while len(out) < limit:
        top = m(px, torch.tensor([ids]), 3, mask)[0, -1].topk(2); gap = min(gap, float(top.values[0] - top.values[1]))
        out.append(int(top.indices[0])); ids.append(out[-1])
        if out[-1] == D.VOCAB["</s>"]: break
    inv = {i: w for w, i in D.VOCAB.items()}
    return {"tokens": out, "text": " ".join(inv[i] for i in out if i != D.VOCAB["</s>"]), "gap": round(gap, 4)}


def main():
    ap = argparse.ArgumentParser(); ap.add_argument("--checkpoint", required=True); ap.add_argument("--out", required=True)
    ap.add_argument("--seed", type=int, default=1); ap.add_argument("--pictures", type=int, default=24); ap.add_argument("--questions", type=int, default=8)
    ap.add_argument("--margin", type=float, default=0.1); a = ap.parse_args()
    torch.manual_seed(0); m = load(a.checkpoint); rng = random.Random(a.seed); os.makedirs(f"{a.out}/pictures", exist_ok=True)
    lines, right, total, same = [], {"self": 0, "composite": 0}, 0, 0
    for i in range(a.pictures):
        objs, im, dark = D.draw_scene(rng, full=True); name = f"pictures/{i:03d}.png"; im.save(f"{a.out}/{name}"); px = preprocess(Image.open(f"{a.out}/{name}"))
        asked = {"describe the image .": " and ".join(f"a {o['size']} {o['color']} {o['shape']}" for o in D.ordered(objs)) + " ."}
        while len(asked) < a.questions: q, t = D.qa(rng, objs, dark); asked[q] = t
        for q, truth in asked.items():
            r = {k: answer(m, px, q, k) for k in ("self", "composite")}; total += 1
            for k in r: right[k] += r[k]["text"] == truth
            same += r["self"]["tokens"] == r["composite"]["tokens"]
            if min(r[k]["gap"] for k in r) >= a.margin: lines.append({"image": name, "question": q, "truth": truth, **r})
    with open(f"{a.out}/expected.jsonl", "w") as f: f.writelines(json.dumps(l) + "\n" for l in lines)
    print(f"{len(lines)} of {total} lines kept; right: self {right['self']}, composite {right['composite']}; same answer {same}")


if __name__ == "__main__": main()
