"""Rendered shapes: scenes, questions, the scene cache on disk, packed training batches and dense patch labels.

  python3 data.py --cache DIR --scenes 200000        render scenes into DIR/NNN.npy (pictures) and DIR/NNN.meta.npy (objects)
Rendering costs about as much as training on a picture, so scenes are rendered once, by their own process, while training runs.
"""
import argparse, glob, math, os, random
import numpy as np
from PIL import Image, ImageDraw

SIZE, PATCH = 64, 8
NV = (SIZE // PATCH) ** 2
COLORS = {"red": (220, 40, 40), "green": (40, 170, 70), "blue": (50, 90, 220), "yellow": (235, 205, 50),
          "purple": (140, 60, 180), "orange": (240, 140, 40)}
COLOR = list(COLORS)
SHAPES = ["circle", "square", "triangle", "cross"]
SIZES = {"small": 7.5, "large": 13}
NUM = ["zero", "one", "two", "three", "four", "five"]
WORDS = (["user", "assistant", ":", "?", ".", ",", "how", "many", "objects", "object", "are", "there", "is", "what", "color",
          "shape", "size", "the", "a", "an", "yes", "no", "of", "left", "right", "above", "below", "and", "in", "image", "describe",
          "where", "top", "bottom", "middle", "center", "to", "it", "which", "this", "see", "you", "do", "shapes", "colors",
          "does", "picture", "show", "contain", "biggest", "background", "dark", "light"]
         + list(COLORS) + SHAPES + [s + "s" for s in SHAPES if s != "cross"] + ["crosses"] + list(SIZES) + NUM)
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<image>"]
VOCAB = {w: i for i, w in enumerate(SPECIAL + WORDS)}
PLURAL = {s: ("crosses" if s == "cross" else s + "s") for s in SHAPES}
MEAN = (0.5, 0.5, 0.5); STD = (0.5, 0.5, 0.5)


def draw_scene(rng, n=None, full=False, resample=Image.LANCZOS):
    """Objects: list of dicts (shape, color, size, x, y, r); image: uint8 [64,64,3], or the 256 x 256 PIL image if full."""
    n = n or rng.choice([1, 2, 2, 3])
    objs = []
    for _ in range(200):
        if len(objs) == n: break
        size = rng.choice(list(SIZES)); r = SIZES[size] * rng.uniform(0.9, 1.1)
        x, y = rng.uniform(r + 1, SIZE - r - 1), rng.uniform(r + 1, SIZE - r - 1)
        if all(math.hypot(x - o["x"], y - o["y"]) > r + o["r"] + 1 for o in objs):
            objs.append(dict(shape=rng.choice(SHAPES), color=rng.choice(list(COLORS)), size=size, x=x, y=y, r=r))
    dark = rng.random() < 0.5
    base = rng.randint(0, 45) if dark else rng.randint(205, 255)
    bg = tuple(max(0, min(255, base + rng.randint(-8, 8))) for _ in range(3))
    S = 4
    im = Image.new("RGB", (SIZE * S, SIZE * S), bg); d = ImageDraw.Draw(im)
    for o in objs:
        c = tuple(max(0, min(255, v + rng.randint(-14, 14))) for v in COLORS[o["color"]])
        x, y, r = o["x"] * S, o["y"] * S, o["r"] * S
        if o["shape"] == "circle": d.ellipse([x - r, y - r, x + r, y + r], fill=c)
        elif o["shape"] == "square": q = r * 0.88; d.rectangle([x - q, y - q, x + q, y + q], fill=c)
        elif o["shape"] == "triangle": d.polygon([(x, y - r), (x - r, y + r * 0.85), (x + r, y + r * 0.85)], fill=c)
        else: w = r * 0.34; d.rectangle([x - r, y - w, x + r, y + w], fill=c); d.rectangle([x - w, y - r, x + w, y + r], fill=c)
    return objs, im if full else np.asarray(im.resize((SIZE, SIZE), resample)), dark


def place(o):
    v = "top" if o["y"] < SIZE * 0.42 else "bottom" if o["y"] > SIZE * 0.58 else "middle"
    h = "left" if o["x"] < SIZE * 0.42 else "right" if o["x"] > SIZE * 0.58 else "middle"
    return "center" if v == h == "middle" else f"{v} {h}"


def ordered(objs):
    """Reading order: upper half before lower half, then from the left."""
    return sorted(objs, key=lambda o: (o["y"] // (SIZE / 2), o["x"]))


def qa(rng, objs, dark):
    """One (question, answer) pair whose answer the image determines."""
    while True:
        k = rng.random()
        if k < 0.13: return "how many objects are there ?", NUM[len(objs)]
        if k < 0.26:
            if rng.random() < 0.5:
                s = rng.choice(SHAPES) if rng.random() < 0.4 else rng.choice(objs)["shape"]
                return f"how many {PLURAL[s]} are there ?", NUM[sum(o["shape"] == s for o in objs)]
            c = rng.choice(list(COLORS)) if rng.random() < 0.4 else rng.choice(objs)["color"]
            return f"how many {c} objects are there ?", NUM[sum(o["color"] == c for o in objs)]
        if k < 0.40:
            o = rng.choice(objs)
            if sum(p["shape"] == o["shape"] for p in objs) == 1: return f"what color is the {o['shape']} ?", o["color"]
            continue
        if k < 0.54:
            o = rng.choice(objs)
            if sum(p["color"] == o["color"] for p in objs) == 1: return f"what shape is the {o['color']} object ?", o["shape"]
            continue
        if k < 0.66:
            if rng.random() < 0.5: o = rng.choice(objs); c, s = o["color"], o["shape"]
            else:
                o = rng.choice(objs); c, s = (o["color"], rng.choice(SHAPES)) if rng.random() < 0.5 else (rng.choice(list(COLORS)), o["shape"])
            return f"is there a {c} {s} ?", "yes" if any(p["color"] == c and p["shape"] == s for p in objs) else "no"
        if k < 0.72:
            o = rng.choice(objs)
            if sum(p["color"] == o["color"] and p["shape"] == o["shape"] for p in objs) == 1:
                return f"what size is the {o['color']} {o['shape']} ?", o["size"]
            continue
        if k < 0.84:
            o = rng.choice(objs)
            if sum(p["color"] == o["color"] and p["shape"] == o["shape"] for p in objs) == 1:
                return f"where is the {o['color']} {o['shape']} ?", place(o)
            continue
        if k < 0.92:
            if len(objs) != 2: continue
            a, b = rng.sample(objs, 2)
            if abs(a["x"] - b["x"]) > 10: rel = "left" if b["x"] < a["x"] else "right"; rel_q = f"{rel} of"
            elif abs(a["y"] - b["y"]) > 10: rel_q = "above" if b["y"] < a["y"] else "below"
            else: continue
            return f"what is {rel_q} the {a['color']} {a['shape']} ?", f"a {b['color']} {b['shape']}"
        if k < 0.94: return "is the background dark ?", "yes" if dark else "no"
        return "describe the image .", " and ".join(f"a {o['size']} {o['color']} {o['shape']}" for o in ordered(objs)) + " ."


def encode(turns):
    """[(question, answer)] -> ids, labels; the image placeholder is one token in the first turn."""
    ids, lab = [VOCAB["<s>"]], [-100]
    for i, (q, a) in enumerate(turns):
        p = ["user", ":"] + (["<image>"] if i == 0 else []) + q.split() + ["assistant", ":"]
        ids += [VOCAB[w] for w in p]; lab += [-100] * len(p)
        t = [VOCAB[w] for w in a.split()] + [VOCAB["</s>"]]
        ids += t; lab += t
    return ids, lab


# ---------------------------------------------------------------- scene cache

CHUNK = 5000
META = 2 + 3 * 6        # count, dark, then for up to three objects: shape, colour, size, x, y, r


def render_cache(out, scenes, seed):
    """Writes chunks of CHUNK scenes; finished chunks are kept, so that a broken run can be taken up again."""
    os.makedirs(out, exist_ok=True)
    for c in range((scenes + CHUNK - 1) // CHUNK):
        if os.path.exists(f"{out}/{c:03d}.meta.npy"): continue
        rng = random.Random(f"shapes {seed} {c}"); px = np.empty((CHUNK, SIZE, SIZE, 3), np.uint8); meta = np.zeros((CHUNK, META), np.float32)
        for i in range(CHUNK):      # half of the pictures are reduced as the preprocessor does it (bicubic)
            objs, px[i], dark = draw_scene(rng, resample=Image.LANCZOS if i % 2 else Image.BICUBIC)
            meta[i, :2] = len(objs), dark
            for k, o in enumerate(objs): meta[i, 2 + 6 * k:8 + 6 * k] = SHAPES.index(o["shape"]), COLOR.index(o["color"]), o["size"] == "large", o["x"], o["y"], o["r"]
        np.save(f"{out}/{c:03d}.npy", px)
        np.save(f"{out}/tmp.npy", meta); os.replace(f"{out}/tmp.npy", f"{out}/{c:03d}.meta.npy")
        print(f"{(c + 1) * CHUNK} scenes", flush=True)


class Cache:
    """The scenes rendered so far; grows while render_cache runs."""
    def __init__(s, path): s.path, s.px, s.meta = path, [], []
    def refresh(s):
        for f in sorted(glob.glob(f"{s.path}/[0-9]*.meta.npy"))[len(s.px):]:
            s.px.append(np.load(f.replace(".meta", ""), mmap_mode="r")); s.meta.append(np.load(f))
        return len(s.px) * CHUNK
    def draw(s, rng, B):
        """uint8 pictures [B, 64, 64, 3] and their objects [B, META]; left and right are swapped in half of them."""
        at = rng.integers(0, len(s.px) * CHUNK, B); flip = rng.random(B) < 0.5
        px = np.stack([s.px[i // CHUNK][i % CHUNK] for i in at]); meta = np.stack([s.meta[i // CHUNK][i % CHUNK] for i in at])
        px[flip] = px[flip][:, :, ::-1]
        for k in range(3): meta[flip, 5 + 6 * k] = SIZE - meta[flip, 5 + 6 * k]
        return px, meta


def objects(meta):
    """A row of META back to what draw_scene returned: objects and dark."""
    return [dict(shape=SHAPES[int(o[0])], color=COLOR[int(o[1])], size="large" if o[2] else "small", x=float(o[3]), y=float(o[4]), r=float(o[5]))
            for o in meta[2:].reshape(3, 6)[:int(meta[0])]], bool(meta[1])


# ---------------------------------------------------------------- dense labels

# What every patch is asked in training only: name -> classes. The first three of all patches, the others of those an object covers.
DENSE = {"cover": 3, "dark": 2, "count": 3, "shape": 4, "color": 6, "size": 2, "vertical": 3, "horizontal": 3, "rank": 3, "same_shape": 3, "same_color": 3}


def dense_labels(meta):
    """meta [B, META] -> labels {name: int64 [B, 64], -100 where not asked}, centre of the patch's object relative to the patch [B, 64, 2], covered [B, 64]."""
    B = len(meta); n = meta[:, 0].astype(int); o = meta[:, 2:].reshape(B, 3, 6); real = np.arange(3) < n[:, None]
    shape, color, size, x, y, r = np.moveaxis(o, 2, 0); g = SIZE // PATCH
    cx = np.tile(np.arange(g) * PATCH + PATCH / 2, g); cy = np.repeat(np.arange(g) * PATCH + PATCH / 2, g)
    dx, dy = x[:, None] - cx[:, None], y[:, None] - cy[:, None]                           # [B, 64, 3]
    d = np.where(real[:, None], np.hypot(dx, dy) - r[:, None], 1e9); own = d.argmin(2); covered = d.min(2) < 3
    key = np.where(real, (y // (SIZE / 2)) * 1000 + x, 1e9)
    thirds = lambda v: np.where(v < SIZE * 0.42, 0, np.where(v > SIZE * 0.58, 2, 1))
    same = lambda v: ((v[:, :, None] == v[:, None]) & real[:, None]).sum(2) - 1
    per = {"shape": shape, "color": color, "size": size, "vertical": thirds(y), "horizontal": thirds(x), "rank": key.argsort(1).argsort(1), "same_shape": same(shape), "same_color": same(color)}
    take = lambda v: np.take_along_axis(np.broadcast_to(v[:, None], d.shape), own[:, :, None], 2)[:, :, 0]
    off = np.stack([np.take_along_axis(v, own[:, :, None], 2)[:, :, 0] for v in (dx, dy)], 2)
    centre = covered & (np.abs(off) <= PATCH / 2).all(2)
    lab = {k: np.where(covered, take(v), -100).astype(np.int64) for k, v in per.items()}
    lab.update(cover=covered.astype(np.int64) + centre, dark=np.repeat(meta[:, 1:2].astype(np.int64), g * g, 1), count=np.repeat(n[:, None] - 1, g * g, 1))
    return lab, (off / PATCH).astype(np.float32), covered


# ---------------------------------------------------------------- packed questions

def questions(rng, objs, dark, tokens, slots, chain=0.15):
    """Distinct questions on one picture, packed: -> ids, conversation numbers, positions after the image, targets, each [slots * tokens].
    A slot holds several conversations, most of one turn; targets stand where the next word is an answer's, else -100."""
    room = [tokens] * slots; out = [([], [], [], []) for _ in range(slots)]; seen = set(); conv = tries = 0
    while tries < 80:
        ids, lab = [], []; turns = 1 if rng.random() > chain else 2
        while turns and tries < 80:
            tries += 1; q, a = qa(rng, objs, dark)
            if q in seen: continue
            p = [VOCAB[w] for w in (["user", ":"] if ids else []) + q.split() + ["assistant", ":"]]; t = [VOCAB[w] for w in a.split()] + [VOCAB["</s>"]]
            seen.add(q); ids += p + t; lab += [-100] * (len(p) - 1) + t + [-100]; turns -= 1
        at = next((k for k in range(slots) if room[k] >= len(ids)), None)
        if at is None: break
        room[at] -= len(ids); conv += 1
        for l, v in zip(out[at], (ids, [conv] * len(ids), range(len(ids)), lab)): l.extend(v)
    for o, r in zip(out, room):
        for l, v in zip(o, (VOCAB["<pad>"], 0, 0, -100)): l.extend([v] * r)
    return [sum((o[k] for o in out), []) for k in range(4)]


def main():
    ap = argparse.ArgumentParser(); ap.add_argument("--cache", required=True); ap.add_argument("--scenes", type=int, default=200000)
    ap.add_argument("--seed", type=int, default=0); a = ap.parse_args(); render_cache(a.cache, a.scenes, a.seed)


if __name__ == "__main__": main()
