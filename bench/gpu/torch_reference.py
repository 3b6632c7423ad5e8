"""PyTorch's side of bench/gpu.ts: products, prompts of a 7B-shaped LLaVA and EE-MLLM, tokens a second. Random weights.

    python3 bench/gpu/torch_reference.py --json FILE [--plan JSON]

Attention is scaled_dot_product_attention. LLaVA's is causal over all rows. EE-MLLM's visual rows read themselves alone, so
their attention is their own value; text rows read everything up to themselves, which takes a mask for the queries of the
text over all keys: the split by hand that a user of PyTorch would write. Unlike eemllm it computes all rows of the last
layer; the head sees the last row alone, as there. Times end with torch.cuda.synchronize(); medians of the rounds.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    sys.exit("PyTorch is not installed: pip install torch")

DEFAULT_PLAN = {
    "hidden": 4096, "intermediate": 11008, "layers": 32, "heads": 32, "vocabulary": 32000, "text": 64, "visual": [576, 2880, 4900],
    "tokens": 64, "products": [[4096, 4096, 4096], [2880, 4096, 11008], [576, 4096, 4096]], "dtype": "f16", "rounds": 5,
}


class Timer:
    """Milliseconds of a call, until the device has finished."""

    def __init__(self, device):
        self.cuda = device.type == "cuda"

    def wait(self):
        if self.cuda:
            torch.cuda.synchronize()

    def median(self, work, rounds, repeat=1):
        times = []
        for i in range(rounds + 1):
            self.wait()
            start = time.perf_counter()
            for _ in range(repeat):
                work()
            self.wait()
            if i:
                times.append((time.perf_counter() - start) * 1e3 / repeat)
        return statistics.median(times)


class Decoder:
    """A Llama decoder with multi-head attention, as weights and plain functions."""

    def __init__(self, plan, device, dtype):
        self.hidden, self.heads, self.layers = plan["hidden"], plan["heads"], plan["layers"]
        self.dim = self.hidden // self.heads
        self.device, self.dtype = device, dtype

        def matrix(outputs, inner):
            return torch.randn(outputs, inner, device=device, dtype=dtype) * (1.0 / math.sqrt(inner))

        h, i = self.hidden, plan["intermediate"]
        self.blocks = [
            {"qkv": matrix(3 * h, h), "o": matrix(h, h), "gate_up": matrix(2 * i, h), "down": matrix(h, i),
             "n1": torch.ones(h, device=device, dtype=dtype), "n2": torch.ones(h, device=device, dtype=dtype)}
            for _ in range(self.layers)
        ]
        self.norm, self.head = torch.ones(h, device=device, dtype=dtype), matrix(plan["vocabulary"], h)
        self.room = max(plan["visual"]) + plan["text"] + plan["tokens"] + 1
        angles = torch.outer(torch.arange(self.room, device=device, dtype=torch.float32), 10000.0 ** (-torch.arange(0, self.dim, 2, device=device, dtype=torch.float32) / self.dim))
        self.cos, self.sin = torch.cat([angles.cos()] * 2, -1).to(dtype), torch.cat([angles.sin()] * 2, -1).to(dtype)
        self.cache = [torch.zeros(2, self.heads, self.room, self.dim, device=device, dtype=dtype) for _ in range(self.layers)]

    def rms(self, x, gain):
        return F.rms_norm(x, (self.hidden,), gain, 1e-5)

    def turn(self, x, cos, sin):
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    def split(self, x, block, positions):
        """q, k and v of rows, heads first; q and k are turned."""
        q, k, v = (y.view(-1, self.heads, self.dim).transpose(0, 1) for y in F.linear(x, block["qkv"]).chunk(3, -1))
        cos, sin = self.cos[positions], self.sin[positions]
        return self.turn(q, cos, sin), self.turn(k, cos, sin), v

    def feed_forward(self, x, block):
        gate, up = F.linear(x, block["gate_up"]).chunk(2, -1)
        return F.linear(F.silu(gate) * up, block["down"])

    def prefill(self, x, visual, composite):
        length = x.shape[0]
        positions = torch.arange(length, device=self.device)
        if composite:
            rows = torch.arange(visual, length, device=self.device)
            mask = torch.arange(length, device=self.device)[None, :] <= rows[:, None]
        for block, cache in zip(self.blocks, self.cache):
            n = self.rms(x, block["n1"])
            if composite:
                h = self.hidden
                kv = F.linear(n, block["qkv"][h:])
                k, v = (y.view(-1, self.heads, self.dim).transpose(0, 1) for y in kv.chunk(2, -1))
                k = self.turn(k, self.cos[positions], self.sin[positions])
                q = F.linear(n[visual:], block["qkv"][:h]).view(-1, self.heads, self.dim).transpose(0, 1)
                q = self.turn(q, self.cos[positions[visual:]], self.sin[positions[visual:]])
                text = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask)[0]
                mixed = torch.cat([v[:, :visual], text], 1)
            else:
                q, k, v = self.split(n, block, positions)
                mixed = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
            cache[0, :, :length], cache[1, :, :length] = k, v
            x = x + F.linear(mixed.transpose(0, 1).reshape(length, self.hidden), block["o"])
            x = x + self.feed_forward(self.rms(x, block["n2"]), block)
        return F.linear(self.rms(x[-1:], self.norm), self.head).argmax(-1)

    def decode(self, x, position, length):
        """One row at `position` (a tensor, so that a CUDA graph may move it) over `length` rows of the cache."""
        for block, cache in zip(self.blocks, self.cache):
            q, k, v = self.split(self.rms(x, block["n1"]), block, position)
            cache[0].index_copy_(1, position, k)
            cache[1].index_copy_(1, position, v)
            mixed = F.scaled_dot_product_attention(q[None], cache[None, 0, :, :length], cache[None, 1, :, :length])[0]
            x = x + F.linear(mixed.transpose(0, 1).reshape(1, self.hidden), block["o"])
            x = x + self.feed_forward(self.rms(x, block["n2"]), block)
        return F.linear(self.rms(x, self.norm), self.head).argmax(-1)


def bandwidth(device, timer, rounds):
    """Bytes a second of a copy from device memory to device memory, read and written."""
    size = (1 << 32) if device.type == "cuda" else (1 << 26)
    a = torch.empty(size // 4, device=device, dtype=torch.float32).uniform_()
    b = torch.empty_like(a)
    return 2 * size / (timer.median(lambda: b.copy_(a), rounds) / 1e3)


def tokens_per_second(model, plan, timer, rounds):
    """Eager, and as a CUDA graph where there is CUDA: a host that launches every kernel by itself is slower than the device."""
    length = max(plan["visual"]) + plan["text"] + 1
    x = torch.randn(1, model.hidden, device=model.device, dtype=model.dtype)
    position = torch.tensor([length - 1], device=model.device)
    step = lambda: model.decode(x, position, length)  # noqa: E731
    eager = 1e3 / timer.median(step, rounds, plan["tokens"])
    if model.device.type != "cuda":
        return {"eager": eager, "graph": None}
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return {"eager": eager, "graph": 1e3 / timer.median(graph.replay, rounds, plan["tokens"])}


def driver_of(device):
    if device.type != "cuda":
        return "none"
    try:
        return subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", required=True, help="where the figures go")
    parser.add_argument("--plan", default="{}", help="sizes as JSON; bench/gpu.ts gives its own")
    args = parser.parse_args()
    plan = {**DEFAULT_PLAN, **json.loads(args.plan)}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float16 if plan["dtype"] == "f16" and device.type == "cuda" else torch.float32
    timer, rounds = Timer(device), plan["rounds"]
    torch.manual_seed(1)

    result = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU", "driver": driver_of(device),
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__, "cuda": torch.version.cuda or "none"}, "dtype": str(dtype), "plan": plan,
        "bandwidth": bandwidth(device, timer, rounds), "products": [], "prefill": [],
    }
    for rows, inner, outputs in plan["products"]:
        x, w = torch.randn(rows, inner, device=device, dtype=dtype), torch.randn(outputs, inner, device=device, dtype=dtype)
        ms = timer.median(lambda: F.linear(x, w), rounds, 20 if device.type == "cuda" else 1)  # noqa: B023
        result["products"].append({"shape": [rows, inner, outputs], "ms": ms, "tflops": 2 * rows * inner * outputs / ms / 1e9})
    model = Decoder(plan, device, dtype)
    for visual in plan["visual"]:
        x = torch.randn(visual + plan["text"], plan["hidden"], device=device, dtype=dtype)
        for mask in ("self", "composite"):
            ms = timer.median(lambda: model.prefill(x, visual, mask == "composite"), rounds)  # noqa: B023
            result["prefill"].append({"visual": visual, "mask": mask, "ms": ms})
    result["decode"] = tokens_per_second(model, plan, timer, rounds)
    with open(args.json, "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
