"""Train a tiny LLaVA-style model on rendered shapes, on CPU, with plain PyTorch.

Two stages: the tower and the projector alone on dense labels of every patch, then everything together on packed questions,
half of the batches under causal self-attention and half under composite attention. Writes a Hugging Face LLaVA checkpoint.
  python3 data.py --cache CACHE --scenes 400000 &
  python3 train.py --cache CACHE --out DIR --tower-minutes 10 --minutes 24
  python3 train.py --cache CACHE --out DIR --resume --tower-minutes 10 --minutes 24          takes a stopped run up again
  python3 train.py --cache CACHE --out DIR --init OLD --tower-minutes 0 --minutes 30         goes on from a checkpoint, with a new schedule
Needs: torch, numpy, Pillow (Debian: python3-torch python3-numpy python3-pil libopenblas0-pthread).
"""
import os
os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")      # one thread a process: threads within the operations cost more than they give at these sizes
import argparse, copy, ctypes, math, multiprocessing, random, time
import numpy as np
import torch, torch.nn as nn, torch.nn.functional as F
import data as D
from model import Llava, export, load

CONFIG = {"vocab": len(D.VOCAB), "vision": {"d": 128, "h": 4, "f": 384, "L": 5}, "text": {"d": 128, "h": 4, "kv": 2, "f": 352, "L": 5}}
SLOTS, TOKENS = 4, 32       # packed questions of one picture


def keep_memory():
    """Let malloc keep big blocks instead of returning them to the kernel: page faults cost more than the arithmetic here."""
    libc = ctypes.CDLL("libc.so.6"); libc.mallopt(-4, 0); libc.mallopt(-1, 2**31 - 1); libc.mallopt(-8, 1)     # M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX


class Workers:
    """Data parallel by fork: every process has its own copy of the model and the gradients meet in shared memory."""
    def __init__(s, n, size):
        s.n, s.rank, s.turn = n, 0, 0; s.shared = torch.zeros(2, n, size + 1).share_memory_(); s.barrier = multiprocessing.Barrier(n)
        for r in range(1, n):
            if os.fork() == 0: s.rank = r; break
    def mean(s, params, note):
        """Mean gradients over the processes, in place; returns the first process's note."""
        b = s.shared[s.turn]; s.turn ^= 1; have = [p for p in params if p.grad is not None]; at = 0
        torch.cat([p.grad.flatten() for p in have] + [torch.tensor([note])], out=b[s.rank, :sum(p.numel() for p in have) + 1]); s.barrier.wait(900)
        total = b.sum(0).div_(s.n)
        for p in have: p.grad.copy_(total[at:at + p.numel()].view_as(p)); at += p.numel()
        return b[0, at].item()


def normalise(px): return (torch.from_numpy(np.ascontiguousarray(px)).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


class Dense(nn.Module):
    """Training only: reads the dense labels off the projector's output."""
    def __init__(s, d): super().__init__(); s.head = nn.Linear(d, sum(D.DENSE.values()) + 2); s.norm = nn.LayerNorm(d)
    def forward(s, feat, meta):
        """-> loss, {label: share of right patches}."""
        lab, off, covered = D.dense_labels(meta); out = s.head(s.norm(feat)); at = 0; loss = 0; right = {}
        on = torch.from_numpy(covered); few = out[on]
        for k, c in D.DENSE.items():
            t = torch.from_numpy(lab[k]); o = out[..., at:at + c].flatten(0, 1) if k in ("cover", "dark", "count") else few[:, at:at + c]
            t = t.flatten() if k in ("cover", "dark", "count") else t[on]; at += c
            loss = loss + F.cross_entropy(o, t); right[k] = (o.argmax(1) == t).float().mean().item()
        miss = few[:, at:] - torch.from_numpy(off)[on]
        loss = loss + F.smooth_l1_loss(few[:, at:], torch.from_numpy(off)[on], beta=0.1) * 4; right["offset px"] = miss.abs().mean().item() * D.PATCH
        return loss, right


@torch.no_grad()
def evaluate(m, attention, n=300, seed=777):
    """Teacher-forced exact match of whole answers on single-turn questions: share, {question type: right/asked}."""
    rng = random.Random(seed); ok, tot = {}, {}
    for _ in range(n // 50):
        X, I, L, Q = [], [], [], []
        for _ in range(50):
            o, im, dark = D.draw_scene(rng); q, a = D.qa(rng, o, dark); i, l = D.encode([(q, a)]); X.append(im); I.append(i); L.append(l); Q.append(" ".join(q.split()[:2]))
        w = max(map(len, I)); ids = torch.tensor([i + [D.VOCAB["<pad>"]] * (w - len(i)) for i in I]); lab = torch.tensor([l + [-100] * (w - len(l)) for l in L])
        lab = torch.cat([lab[:, :3], torch.full((50, D.NV), -100), lab[:, 4:]], 1)
        p = m(normalise(np.stack(X)), ids, 3, attention).argmax(-1)[:, :-1]; t = lab[:, 1:]
        hit = ((p == t) | (t == -100)).all(1)
        for q, h in zip(Q, hit.tolist()): ok[q] = ok.get(q, 0) + h; tot[q] = tot.get(q, 0) + 1
    return sum(ok.values()) / sum(tot.values()), {q: f"{ok[q]}/{tot[q]}" for q in sorted(tot)}


def batch(cache, nprng, rng, B):
    px, meta = cache.draw(nprng, B)
    ids, conv, pos, lab = np.array([D.questions(rng, *D.objects(o), TOKENS, SLOTS) for o in meta]).transpose(1, 0, 2)
    lab = torch.from_numpy(lab).flatten(); rows = (lab >= 0).nonzero()[:, 0]
    return normalise(px), meta, torch.from_numpy(ids), torch.from_numpy(conv), torch.from_numpy(pos), rows, lab[rows]


def main():
    ap = argparse.ArgumentParser(); ap.add_argument("--cache", required=True); ap.add_argument("--out", required=True)
    ap.add_argument("--tower-minutes", type=float, default=10); ap.add_argument("--minutes", type=float, default=24, help="of the second stage")
    ap.add_argument("--attention", default="both", choices=["both", "self", "composite"]); ap.add_argument("--init"); ap.add_argument("--resume", action="store_true")
    ap.add_argument("--tower-batch", type=int, default=64, help="pictures a process and step"); ap.add_argument("--batch", type=int, default=16)
    ap.add_argument("--tower-lr", type=float, default=2e-3); ap.add_argument("--lr", type=float, default=2e-3); ap.add_argument("--dense", type=float, default=0.1, help="weight of the dense loss in the second stage")
    ap.add_argument("--tower-scale", type=float, default=0.3, help="learning rate of tower and projector in the second stage, relative")
    ap.add_argument("--seed", type=int, default=0); ap.add_argument("--processes", type=int, default=2); ap.add_argument("--save-minutes", type=float, default=4)
    ap.add_argument("--steps", type=int, default=10**9, help="stop early (for trials)")
    a = ap.parse_args(); keep_memory(); torch.set_flush_denormal(True); torch.set_num_threads(1); torch.manual_seed(a.seed); os.makedirs(a.out, exist_ok=True)
    m = Llava(CONFIG); dense = Dense(CONFIG["text"]["d"]); every = nn.ModuleList([m, dense]); done = {"stage": 0, "seconds": 0.0, "step": 0}
    state = torch.load(f"{a.out if a.resume else a.init}/state.pt") if a.resume or a.init and os.path.exists(f"{a.init}/state.pt") else None
    if state: every.load_state_dict(state["weights" if a.resume else "ema"])
    elif a.init: m.load_state_dict(load(a.init).state_dict())
    if a.resume: done = state["done"]
    ema = copy.deepcopy(every)
    if a.resume: ema.load_state_dict(state["ema"])
    print("params", sum(p.numel() for p in m.parameters()), flush=True)
    w = Workers(a.processes, sum(p.numel() for p in every.parameters())); first = w.rank == 0; fast = lambda: torch.autocast("cpu", torch.bfloat16)
    cache = D.Cache(a.cache); rng = random.Random(f"questions {a.seed} {w.rank} {time.time()}"); nprng = np.random.default_rng([a.seed, w.rank, int(time.time())])

    for stage, minutes, B, lr in ((0, a.tower_minutes, a.tower_batch, a.tower_lr), (1, a.minutes, a.batch, a.lr)):
        if stage < done["stage"]: continue
        if stage > done["stage"]: done = {"stage": stage, "seconds": 0.0, "step": 0}
        seeing = lambda n: n.startswith(("0.vision", "0.linear", "1.")); part, groups = [], []
        for n, p in every.named_parameters():
            if stage == 0 and not seeing(n): continue
            part.append(p); groups.append({"params": [p], "scale": a.tower_scale if stage and seeing(n) else 1.0, "weight_decay": 0.02 if p.dim() > 1 else 0.0})
        merge = lambda k: {"params": [g["params"][0] for g in groups if (g["scale"], g["weight_decay"]) == k], "scale": k[0], "weight_decay": k[1]}
        opt = torch.optim.AdamW([merge(k) for k in sorted({(g["scale"], g["weight_decay"]) for g in groups})], lr=lr, betas=(0.9, 0.98), foreach=True)
        if a.resume and state and state["done"]["stage"] == stage: opt.load_state_dict(state["opt"])
        start, saved, run, seen, t0, frac = time.time() - done["seconds"], time.time(), {}, 0, time.time(), done["seconds"] / (minutes * 60) if minutes else 1
        while frac < 1 and done["step"] < a.steps:
            if done["step"] % 500 == 0 or not cache.px:
                while not cache.refresh(): time.sleep(1)
            step = done["step"] = done["step"] + 1
            for g in opt.param_groups: g["lr"] = g["scale"] * lr * min(1, step / 200) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * frac)))
            if stage == 0:
                px, meta = cache.draw(nprng, B)
                with fast(): feat = m.features(normalise(px))
                loss, log = dense(feat.float(), meta)
            else:
                px, meta, ids, conv, pos, rows, t = batch(cache, nprng, rng, B); attention = ("self", "composite")[(step + w.rank) % 2] if a.attention == "both" else a.attention
                with fast(): feat = m.features(px); logits = m.packed(feat, ids, conv, pos, SLOTS, rows, attention).float()
                ce = F.cross_entropy(logits, t); log = {"ce": ce.item(), "words": (logits.argmax(1) == t).float().mean().item()}
                extra, right = dense(feat.float(), meta); log.update(dense=extra.item(), **{k: right[k] for k in ("shape", "rank", "vertical", "offset px")}); loss = ce + a.dense * extra
            opt.zero_grad(set_to_none=True); loss.backward(); frac = w.mean(part, (time.time() - start) / (minutes * 60))
            norm = nn.utils.clip_grad_norm_([p for p in part if p.grad is not None], 1.0); opt.step()
            if not first: continue
            with torch.no_grad():
                decay = min(0.999, step / (step + 20)); e = list(ema.parameters()); torch._foreach_mul_(e, decay); torch._foreach_add_(e, list(every.parameters()), alpha=1 - decay)
            seen += B * w.n; log["loss"] = loss.item(); log["norm"] = norm.item()
            for k, v in log.items(): run[k] = v if k not in run else 0.98 * run[k] + 0.02 * v
            if step % 200 == 0:
                print(f"stage {stage} step {step} {frac * 100:.0f}% {seen / (time.time() - t0):.0f} img/s lr {opt.param_groups[-1]['lr']:.5f}", " ".join(f"{k} {v:.3f}" for k, v in run.items()), flush=True)
            if time.time() - saved > a.save_minutes * 60:
                saved = time.time(); done["seconds"] = time.time() - start; save(every, ema, opt, done, a.out)
                if stage: report(a.out, 400)
        done["seconds"] = frac * minutes * 60
        if first: save(every, ema, opt, done, a.out)
    if not first: os._exit(0)
    report(a.out, 1000, 12345)


def save(every, ema, opt, done, out):
    torch.save({"weights": every.state_dict(), "ema": ema.state_dict(), "opt": opt.state_dict(), "done": done}, f"{out}/state.tmp"); os.replace(f"{out}/state.tmp", f"{out}/state.pt")
    export(ema[0], out)


def report(out, n, seed=777):
    m = load(out)
    for att in ("self", "composite"): print("eval f16", att, *evaluate(m, att, n, seed), flush=True)


if __name__ == "__main__": main()
