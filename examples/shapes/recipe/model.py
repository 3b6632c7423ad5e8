"""The LLaVA-style model (CLIP ViT tower, 2-layer MLP projector, Llama decoder) in plain PyTorch, and its Hugging Face checkpoint layout."""
import json, math, os, struct
import numpy as np
import torch, torch.nn as nn, torch.nn.functional as F
from data import SIZE, PATCH, NV, VOCAB, SPECIAL, MEAN, STD


class ClipLayer(nn.Module):
    def __init__(s, d, h, f):
        super().__init__(); s.h = h
        s.self_attn = nn.ModuleDict({k: nn.Linear(d, d) for k in ("q_proj", "k_proj", "v_proj", "out_proj")})
        s.layer_norm1, s.layer_norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        s.mlp = nn.ModuleDict({"fc1": nn.Linear(d, f), "fc2": nn.Linear(f, d)})
    def forward(s, x):
        B, N, D = x.shape; y = s.layer_norm1(x); a = s.self_attn
        q, k, v = (a[n](y).view(B, N, s.h, -1).transpose(1, 2) for n in ("q_proj", "k_proj", "v_proj"))
        p = (q @ k.transpose(-1, -2) * (D // s.h) ** -0.5).softmax(-1)
        x = x + a["out_proj"]((p @ v).transpose(1, 2).reshape(B, N, D))
        y = s.mlp["fc1"](s.layer_norm2(x)); y = y * torch.sigmoid(1.702 * y)
        return x + s.mlp["fc2"](y)


class Clip(nn.Module):
    def __init__(s, d, h, f, L):
        super().__init__()
        s.class_embedding = nn.Parameter(torch.randn(d) * 0.02)
        s.patch_embedding = nn.Conv2d(3, d, PATCH, PATCH, bias=False)
        s.position_embedding = nn.Embedding(NV + 1, d)
        s.pre_layrnorm, s.post_layernorm = nn.LayerNorm(d), nn.LayerNorm(d)
        s.layers = nn.ModuleList(ClipLayer(d, h, f) for _ in range(L))
    def forward(s, px):
        x = s.patch_embedding(px).flatten(2).transpose(1, 2)
        x = torch.cat([s.class_embedding.expand(x.shape[0], 1, -1), x], 1) + s.position_embedding.weight
        x = s.pre_layrnorm(x)
        for l in s.layers[:-1]: x = l(x)          # vision_feature_layer = -2
        return x[:, 1:]                           # select strategy "default": drop CLS


def sincos(d):
    """Fixed 2D sine-cosine table [NV + 1, d], class row zero: a learned table from small noise leaves places and outlines unlearned for very long."""
    g = SIZE // PATCH; w = 1.0 / 30 ** (torch.arange(d // 4) / (d // 4)); y, x = torch.meshgrid(torch.arange(g), torch.arange(g), indexing="ij")
    f = lambda p: torch.cat([(p.flatten()[:, None] * w).sin(), (p.flatten()[:, None] * w).cos()], 1)
    return torch.cat([torch.zeros(1, d), torch.cat([f(y), f(x)], 1)])


class RMS(nn.Module):
    def __init__(s, d): super().__init__(); s.weight = nn.Parameter(torch.ones(d))
    def forward(s, x): return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * s.weight


def rope(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


class LlamaLayer(nn.Module):
    def __init__(s, d, h, kv, f):
        super().__init__(); s.h, s.kv, hd = h, kv, d // h
        L = lambda i, o: nn.Linear(i, o, bias=False)
        s.self_attn = nn.ModuleDict({"q_proj": L(d, h * hd), "k_proj": L(d, kv * hd), "v_proj": L(d, kv * hd), "o_proj": L(h * hd, d)})
        s.mlp = nn.ModuleDict({"gate_proj": L(d, f), "up_proj": L(d, f), "down_proj": L(f, d)})
        s.input_layernorm, s.post_attention_layernorm = RMS(d), RMS(d)
    def forward(s, x, cos, sin, mask):
        B, N, D = x.shape; y = s.input_layernorm(x); a = s.self_attn
        q = rope(a["q_proj"](y).view(B, N, s.h, -1).transpose(1, 2), cos, sin)
        k = rope(a["k_proj"](y).view(B, N, s.kv, -1).transpose(1, 2), cos, sin).repeat_interleave(s.h // s.kv, 1)
        v = a["v_proj"](y).view(B, N, s.kv, -1).transpose(1, 2).repeat_interleave(s.h // s.kv, 1)
        p = (q @ k.transpose(-1, -2) * (D // s.h) ** -0.5 + mask).softmax(-1)
        return s.feed(x + a["o_proj"]((p @ v).transpose(1, 2).reshape(B, N, D)))
    def feed(s, x):
        y = s.post_attention_layernorm(x); m = s.mlp
        return x + m["down_proj"](F.silu(m["gate_proj"](y)) * m["up_proj"](y))
    def packed(s, x, cos, sin, P, S, mask, first, rows=None):
        """x [B, P + S * T, D]: see Llava.packed. first: mask of the rows before the slots that attend to more than themselves. rows: the only rows wanted (last layer)."""
        B, N, D = x.shape; y = s.input_layernorm(x); a = s.self_attn; hd = D // s.h; g = s.h // s.kv; n = len(first); T = (N - P) // S
        q = rope(a["q_proj"](y).view(B, N, s.h, hd).transpose(1, 2), cos, sin) * hd ** -0.5
        k = rope(a["k_proj"](y).view(B, N, s.kv, hd).transpose(1, 2), cos, sin).repeat_interleave(g, 1)
        v = a["v_proj"](y).view(B, N, s.kv, hd).transpose(1, 2).repeat_interleave(g, 1)
        (q, qt), (k, kt), (v, vt) = (t.split([P, N - P], 2) for t in (q, k, v)); kt, vt = (t.reshape(B, s.h, S, T, hd) for t in (kt, vt))
        near = (qt.reshape(B, s.h, S, T, hd) @ kt.transpose(-1, -2) + mask).view(B, s.h, S * T, T)
        far, near = torch.cat([qt @ k.transpose(-1, -2), near], 3).softmax(-1).split([P, T], 3)
        o = far @ v + (near.reshape(B, s.h, S, T, T) @ vt).view(B, s.h, S * T, hd)
        if rows is not None:
            o = o.transpose(1, 2).reshape(B * S * T, D)[rows]
            return s.feed(x[:, P:].reshape(B * S * T, D)[rows] + a["o_proj"](o))
        f = (q[:, :, :n] @ k[:, :, :n].transpose(-1, -2) + first).softmax(-1) @ v[:, :, :n]
        o = torch.cat([f, v[:, :, n:], o], 2)
        return s.feed(x + a["o_proj"](o.transpose(1, 2).reshape(B, N, D)))


class Llava(nn.Module):
    def __init__(s, c):
        super().__init__(); v, t = c["vision"], c["text"]; s.c = c
        s.vision = Clip(v["d"], v["h"], v["f"], v["L"])
        s.linear_1, s.linear_2 = nn.Linear(v["d"], t["d"]), nn.Linear(t["d"], t["d"])
        s.embed = nn.Embedding(c["vocab"], t["d"])
        s.layers = nn.ModuleList(LlamaLayer(t["d"], t["h"], t["kv"], t["f"]) for _ in range(t["L"]))
        s.norm, s.lm_head = RMS(t["d"]), nn.Linear(t["d"], c["vocab"], bias=False)
        for p in s.modules():
            if isinstance(p, (nn.Linear, nn.Embedding)): nn.init.normal_(p.weight, std=0.02 if isinstance(p, nn.Embedding) else 1 / math.sqrt(p.weight.shape[1]) * 0.8)
        s.vision.position_embedding.weight.data = 0.7 * sincos(v["d"])
    def features(s, px): return s.linear_2(F.gelu(s.linear_1(s.vision(px))))
    def angles(s, pos):
        hd = s.c["text"]["d"] // s.c["text"]["h"]; f = pos[..., None] / (10000.0 ** (torch.arange(0, hd, 2) / hd)); f = torch.cat([f, f], -1)
        return f.cos(), f.sin()
    def forward(s, px, ids, img_at, attention):
        """The plain way. img_at: index of the one <image> placeholder, the same in the whole batch."""
        e = s.embed(ids); x = torch.cat([e[:, :img_at], s.features(px), e[:, img_at + 1:]], 1); N = x.shape[1]
        i = torch.arange(N); keep = i[None, :] <= i[:, None]
        if attention == "composite":
            vis = (i >= img_at) & (i < img_at + NV)
            keep = torch.where(vis[:, None], i[None, :] == i[:, None], keep)
        mask = torch.zeros(N, N).masked_fill(~keep, -1e9); cos, sin = s.angles(i)
        for l in s.layers: x = l(x, cos, sin, mask)
        return s.lm_head(s.norm(x))
    def packed(s, feat, ids, conv, pos, slots, rows, attention):
        """The fast way to train: logits of the asked text rows [len(rows), vocab] only, for many conversations on one picture.
        Every row of the batch is <s> user : IMAGE and then slots of equal length; a text row attends to the first part and to its own
        conversation, whose positions count from the image's end, just as if it stood alone. rows: flat indices into ids [B, slots * T]."""
        B = ids.shape[0]; head = s.embed(torch.tensor([VOCAB["<s>"], VOCAB["user"], VOCAB[":"]])).expand(B, -1, -1)
        x = torch.cat([head, feat, s.embed(ids)], 1); P = 3 + NV
        cos, sin = s.angles(torch.cat([torch.arange(P).expand(B, -1), pos + P], 1)); cos, sin = cos[:, None], sin[:, None]
        c = conv.view(B, slots, -1); T = c.shape[2]; i = torch.arange(T)
        mask = torch.zeros(B, slots, T, T).masked_fill(~((c[..., None] == c[:, :, None]) & (i[None] <= i[:, None])), -1e9)[:, None]
        n = P if attention == "self" else 3; first = torch.zeros(n, n).masked_fill(torch.ones(n, n).triu(1) > 0, -1e9)
        for l in s.layers[:-1]: x = l.packed(x, cos, sin, P, slots, mask, first)
        x = s.layers[-1].packed(x, cos, sin, P, slots, mask, first, rows)
        return s.lm_head(s.norm(x))


def names(m):
    """HF LLaVA tensor names -> tensors."""
    o, v = {}, "vision_tower.vision_model."
    sd = m.state_dict()
    for k, t in sd.items():
        if k.startswith("vision.layers."): n = v + "encoder." + k[len("vision."):]
        elif k in ("vision.class_embedding", "vision.patch_embedding.weight", "vision.position_embedding.weight"): n = v + "embeddings." + k[7:]
        elif k.startswith("vision."): n = v + k[7:]
        elif k.startswith("linear_"): n = "multi_modal_projector." + k
        elif k.startswith("embed."): n = "language_model.model.embed_tokens." + k[6:]
        elif k.startswith("lm_head."): n = "language_model." + k
        else: n = "language_model.model." + k
        o[n] = t
    return o


def save_safetensors(path, tensors, dtype=np.float16):
    head, off, blobs = {"__metadata__": {"format": "pt"}}, 0, []
    for n in sorted(tensors):
        a = np.ascontiguousarray(tensors[n].detach().numpy().astype(dtype)); b = a.tobytes()
        head[n] = {"dtype": {np.float16: "F16", np.float32: "F32"}[dtype], "shape": list(a.shape), "data_offsets": [off, off + len(b)]}
        off += len(b); blobs.append(b)
    h = json.dumps(head, separators=(",", ":")).encode(); h += b" " * (-len(h) % 8)
    with open(path, "wb") as f: f.write(struct.pack("<Q", len(h))); f.write(h); [f.write(b) for b in blobs]


def load_safetensors(path):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]; head = json.loads(f.read(n)); data = f.read()
    return {k: torch.from_numpy(np.frombuffer(data[h["data_offsets"][0]:h["data_offsets"][1]],
            {"F16": np.float16, "F32": np.float32}[h["dtype"]]).reshape(h["shape"]).astype(np.float32)) for k, h in head.items() if k != "__metadata__"}


def load(path):
    """A checkpoint folder -> Llava."""
    c = json.load(open(f"{path}/config.json")); v, t = c["vision_config"], c["text_config"]
    m = Llava({"vocab": t["vocab_size"], "vision": {"d": v["hidden_size"], "h": v["num_attention_heads"], "f": v["intermediate_size"], "L": v["num_hidden_layers"]},
               "text": {"d": t["hidden_size"], "h": t["num_attention_heads"], "kv": t["num_key_value_heads"], "f": t["intermediate_size"], "L": t["num_hidden_layers"]}})
    src = load_safetensors(f"{path}/model.safetensors"); n2k = {n: k for n, k in zip(names(m), m.state_dict())}
    m.load_state_dict({n2k[n]: x for n, x in src.items()}); return m.eval()


def export(m, out):
    os.makedirs(out, exist_ok=True); c = m.c; v, t = c["vision"], c["text"]
    save_safetensors(f"{out}/model.safetensors", names(m))
    dump = lambda n, o: open(f"{out}/{n}", "w").write(json.dumps(o, indent=2) + "\n")
    dump("config.json", {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "image_token_index": VOCAB["<image>"],
        "image_seq_length": NV, "projector_hidden_act": "gelu", "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
        "torch_dtype": "float16", "pad_token_id": VOCAB["<pad>"],
        "vision_config": {"model_type": "clip_vision_model", "hidden_size": v["d"], "num_attention_heads": v["h"], "intermediate_size": v["f"],
            "num_hidden_layers": v["L"], "image_size": SIZE, "patch_size": PATCH, "num_channels": 3, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "projection_dim": v["d"]},
        "text_config": {"model_type": "llama", "hidden_size": t["d"], "num_attention_heads": t["h"], "num_key_value_heads": t["kv"],
            "intermediate_size": t["f"], "num_hidden_layers": t["L"], "vocab_size": c["vocab"], "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "hidden_act": "silu", "max_position_embeddings": 512, "tie_word_embeddings": False, "bos_token_id": VOCAB["<s>"], "eos_token_id": VOCAB["</s>"]}})
    dump("preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": SIZE}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": SIZE, "width": SIZE}, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": list(MEAN), "image_std": list(STD), "do_convert_rgb": True})
    dump("tokenizer.json", {"version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": VOCAB[s], "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for s in SPECIAL],
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [VOCAB["<s>"]], "tokens": ["<s>"]}}},
        "decoder": None, "model": {"type": "WordLevel", "vocab": VOCAB, "unk_token": "<unk>"}})
    dump("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
        "chat_template": "{% for m in messages %}{% if m.role == 'user' %}user : {% for p in m.content %}{% if p.type == 'image' %}<image> {% else %}{{ p.text }} {% endif %}{% endfor %}{% else %}assistant : {% for p in m.content %}{{ p.text }} {% endfor %}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}assistant :{% endif %}"})
    dump("generation_config.json", {"bos_token_id": VOCAB["<s>"], "eos_token_id": VOCAB["</s>"], "max_new_tokens": 32})
