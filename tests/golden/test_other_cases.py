"""Cases that no recorded file holds: another implementation of the arrays' README makes them, and the replay follows.

It shares no code with the library: quantisers by the detach trick, momentum by the README's closed formulas instead of
the shared memory they describe, the scan written out once more. It is held against the recorded files themselves.
"""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_replay import Case, build, case_files, load, replay_baseline, replay_generated

LAYERS = ("conv1", "fc", "conv2")
FLOATS = ("fc.bias", "bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias")
SIZES = {"c1": 3, "c2": 5, "hw": 7, "batch": 5, "hidden": 6, "d_state": 3, "d_conv": 2, "expand": 5, "steps": 6}
FSG = {"method": "MetaFastAndSlow", "beta": 0.6, "length": 3, "slow_gain": 30.0}
OTHER_CASES = {
    "fsg_dorefa_sgdm": {**FSG, "q": "dorefa", "opt": "SGD-M", "lr": 0.5, "set_to_none": True},
    "fsg_dorefa_sgdm_zeroinplace": {**FSG, "q": "dorefa", "opt": "SGD-M", "lr": 2.0, "set_to_none": False, "length": 4},
    "fsg_bwnf_sgdm_zeroinplace": {**FSG, "q": "BWN-F", "opt": "SGD-M", "lr": 0.2, "set_to_none": False, "length": 1},
    "fsg_bwnf_adam": {**FSG, "q": "BWNF", "opt": "Adam", "lr": 0.05, "beta": 0.3, "length": 9},
    "fsg_bwn_sgd_long": {**FSG, "q": "BWN", "opt": "SGD", "lr": 1.0, "steps": 12, "batch": 2, "d_conv": 6},
    "multifc_bwnf_sgdm_zeroinplace": {"method": "MultiFC", "q": "BWNF", "opt": "SGDM", "lr": 0.5, "set_to_none": False},
    "fcgrad_dorefa_sgdm": {"method": "FC-Grad", "q": "dorefa", "opt": "SGD-M", "lr": 0.5},
    "fcgrad_bwn_sgdm_zeroinplace": {"method": "FC-Grad", "q": "BWN", "opt": "SGD-M", "lr": 5.0, "set_to_none": False},
    "lstmfc_bwnf_adam": {"method": "LSTMFC", "q": "BWNF", "opt": "Adam", "lr": 0.05},
    "ste_bwnf_sgd": {"method": "STE", "q": "BWNF", "opt": "SGD", "lr": 0.5},
    "ste_bwnf_adam_baselinelayers": {"method": "STE", "q": "BWN-F", "opt": "Adam", "lr": 0.05, "kind": "base"},
    "ste_bwn_sgd_baselinelayers": {"method": "STE", "q": "BWN", "opt": "SGD", "lr": 0.5, "kind": "base"},
}


@pytest.mark.parametrize("name", OTHER_CASES)
def test_replay_follows_cases_made_by_another_implementation(name, tmp_path):
    config = SIZES | OTHER_CASES[name]
    start = draw(config, seed=sum(map(ord, name)))
    path = tmp_path / f"{name}.npz"
    made = {f"f64/{key}": value for key, value in run(config, start).items()}
    np.savez(path, config_json=json.dumps(config), **start, **made)

    case = Case(path, torch.float64)
    model, nets = build(case)
    load(case, model, nets)
    replay_baseline(case, model) if nets is None else replay_generated(case, model, nets)
    assert case.compared == len(made)
    last = f"f64/step{config['steps']:02}"
    flips = [
        made[f"f64/step01/layer.{x}/quantized_weight"] != made[f"{last}/layer.{x}/quantized_weight"] for x in LAYERS
    ]
    assert any(f.any() for f in flips), "no weight changed: the case would say nothing of the forward"


def pytest_generate_tests(metafunc):
    if "recorded" in metafunc.fixturenames:
        files = case_files(metafunc.config)
        metafunc.parametrize("recorded", files or [None], ids=[f.stem for f in files] or ["none"])


def test_the_other_implementation_agrees_with_the_recorded_files(recorded, golden_dir):
    if recorded is None:
        pytest.skip(f"no case files in {golden_dir}")
    with np.load(recorded) as file:
        config = json.loads(str(file["config_json"]))
        config["steps"] = min(4, max(int(k[4:6]) for k in file.files if k.startswith("step")))
        made = run(config, {k: file[k] for k in file.files if k != "config_json"})
        compared = 0
        for key, ours in made.items():
            if f"f64/{key}" in file.files:
                deviation = np.abs(ours - file[f"f64/{key}"]).max()
                assert deviation <= 1e-10, f"{recorded.stem}, {key}: off by {deviation:.3g}"
                compared += 1
    assert compared >= 5 * config["steps"]


# The case: a start, drawn ---------------------------------------------------------------------------------------------
def draw(config, seed):
    """init/... and the batches, float64, in the files' keys."""
    rng = np.random.default_rng(seed)
    c1, c2, hidden = config["c1"], config["c2"], config["hidden"]
    arrays = {
        "init/layer.conv1/latent_weight": 0.3 * rng.standard_normal((c1, 3, 3, 3)),
        "init/layer.conv2/latent_weight": 0.3 * rng.standard_normal((c2, c1, 3, 3)),
        "init/layer.fc/latent_weight": 0.3 * rng.standard_normal((10, c2)),
        "init/layer.fc/bias": 0.1 * rng.standard_normal(10),
    }
    arrays["init/layer.fc/latent_weight"][0, 0] = 1.2  # behind the gate
    for bn, width in (("bn1", c1), ("bn2", c2)):
        arrays[f"init/{bn}/weight"] = rng.uniform(0.5, 1.5, width)
        arrays[f"init/{bn}/bias"] = 0.1 * rng.standard_normal(width)
        arrays[f"init/{bn}/running_mean"] = np.zeros(width)
        arrays[f"init/{bn}/running_var"] = np.ones(width)
    for name, shape in hyper_shapes(config, hidden).items():
        arrays[f"init/hyper/{name}"] = 0.5 * rng.standard_normal(shape)
    if "length" in config:
        d_inner, states = config["expand"], config["d_state"]
        arrays["init/hyper/slow/mamba.A_log"] = np.log(np.tile(np.arange(1.0, states + 1), (d_inner, 1)))
        arrays["init/hyper/slow/mamba.out_proj.weight"] *= config["slow_gain"]
    for step in range(1, config["steps"] + 1):
        arrays[f"step{step:02}/inputs"] = rng.standard_normal((config["batch"], 3, config["hw"], config["hw"]))
        arrays[f"step{step:02}/labels"] = rng.integers(0, 10, config["batch"])
    return arrays


def hyper_shapes(config, h):
    match config["method"]:
        case "MultiFC":
            shapes = {"network.Linear0": (h, 1), "network.Linear1": (h, h), "network.Linear2": (1, h)}
            return {f"meta/{k}.weight": v for k, v in shapes.items()}
        case "FC-Grad":
            return {"meta/linear1.weight": (h, 1), "meta/linear2.weight": (1, h)}
        case "LSTMFC":
            gates = {
                "weight_ih_l0": (4 * h, 1),
                "weight_hh_l0": (4 * h, h),
                "bias_ih_l0": (4 * h,),
                "bias_hh_l0": (4 * h,),
            }
            return {f"meta/lstm1.{k}": v for k, v in gates.items()} | {"meta/fc1.weight": (1, h), "meta/fc1.bias": (1,)}
        case "MetaFastAndSlow":
            d, s, k = config["expand"], config["d_state"], config["d_conv"]
            mamba = {
                "A_log": (d, s), "D": (d,), "in_proj.weight": (2 * d, 1), "conv1d.weight": (d, 1, k), "conv1d.bias": (d,),
                "x_proj.weight": (1 + 2 * s, d), "dt_proj.weight": (d, 1), "dt_proj.bias": (d,), "out_proj.weight": (1, d),
            }  # fmt: skip
            fast = {"fast/linear1.weight": (h, 1), "fast/linear2.weight": (h, h), "fast/linear3.weight": (1, h)}
            return fast | {"slow/layer_embedding.weight": (3, 1)} | {f"slow/mamba.{k}": v for k, v in mamba.items()}
    return {}


# The other implementation ---------------------------------------------------------------------------------------------
def run(config, start):
    """Every step of a case in float64: the arrays under the files' keys, ``stepNN/...``."""
    params = {}
    for layer in LAYERS:
        params[f"{layer}.weight"] = leaf(start[f"init/layer.{layer}/latent_weight"])
    params["fc.bias"] = leaf(start["init/layer.fc/bias"])
    running = {}
    for bn in ("bn1", "bn2"):
        params |= {f"{bn}.{part}": leaf(start[f"init/{bn}/{part}"]) for part in ("weight", "bias")}
        running |= {f"{bn}.{p}": leaf(start[f"init/{bn}/{p}"]).detach() for p in ("running_mean", "running_var")}
    hyper = {k.removeprefix("init/hyper/"): leaf(v) for k, v in start.items() if k.startswith("init/hyper/")}
    take = plain_step(config, params) if config["method"] == "STE" else GeneratedStep(config, params, hyper)
    out = {}
    for step in range(1, config["steps"] + 1):
        inputs = torch.from_numpy(start[f"step{step:02}/inputs"]).double()
        seen = take(inputs, torch.from_numpy(start[f"step{step:02}/labels"]), running)
        for name, value in (params | running).items():
            owner, part = name.split(".")
            seen[f"layer.{name.replace('.weight', '/latent_weight')}" if part == "weight" and owner in LAYERS
                 else f"layer.{owner}/{part}" if owner == "fc" else f"{owner}/{part}"] = value  # fmt: skip
        seen |= {f"hyper/{name}": value for name, value in hyper.items()}
        out |= {f"step{step:02}/{k}": v.detach().numpy().copy() for k, v in seen.items()}
    return out


def leaf(array):
    return torch.tensor(np.asarray(array), dtype=torch.float64, requires_grad=True)


def quantise(config, layer, ahead, kept):
    """Wt and Wq of the look-ahead weight, with the stated backward; alpha from the kept weight."""
    name, base = config["q"].replace("-", "").lower(), config.get("kind") == "base"
    if name == "dorefa":
        t = torch.tanh(ahead)
        pre = t / t.abs().max().detach() * 0.5 + 0.5
        return pre, 2 * (pre + (torch.round(pre) - pre).detach()) - 1
    passed = torch.where(ahead.abs() <= 1, ahead, ahead.detach())
    sign = passed + (torch.sign(ahead) - passed).detach()
    size = kept.detach().abs()
    if name == "bwnf" and layer != "fc":
        return ahead, size.mean((1, 2, 3), keepdim=True) * sign
    return ahead, size.mean() * sign if base else sign


def calibration(config, weight):
    if config["q"] != "dorefa":
        return torch.ones_like(weight)
    t = torch.tanh(weight.detach())
    return (1 - t**2) / t.abs().max()


def network(params, weights, bias, running, inputs):
    def norm(x, bn):
        stats = running[f"{bn}.running_mean"], running[f"{bn}.running_var"]
        return F.relu(
            F.batch_norm(x, *stats, params[f"{bn}.weight"], params[f"{bn}.bias"], training=True, momentum=0.1)
        )

    x = norm(F.conv2d(inputs, weights["conv1"], padding=1), "bn1")
    x = norm(F.conv2d(x, weights["conv2"], stride=2, padding=1), "bn2")
    return x.mean((2, 3)) @ weights["fc"].T + bias


def raw_gradients(params):
    """The keys of what lies in p.grad after the backward pass."""
    seen = {f"layer.{layer}/grad_latent_ste": params[f"{layer}.weight"].grad.clone() for layer in LAYERS}
    for name in FLOATS:
        owner, part = name.split(".")
        seen[f"{'layer.fc' if owner == 'fc' else owner}/grad_{part}"] = params[name].grad.clone()
    return seen


def plain_step(config, params):
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[config["opt"].lower()]
    optimizer = kind(params.values(), lr=config["lr"])

    def take(inputs, labels, running):
        optimizer.zero_grad()
        weights, seen = {}, {}
        for layer in LAYERS:
            weight = params[f"{layer}.weight"]
            pre, weights[layer] = quantise(config, layer, weight, weight)
            seen |= {
                f"layer.{layer}/pre_quantized_weight": pre.detach().clone(),
                f"layer.{layer}/quantized_weight": weights[layer],
            }
        logits = network(params, weights, params["fc.bias"], running, inputs)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        seen |= {"loss": loss, "logits": logits} | raw_gradients(params)
        optimizer.step()
        return seen

    return take


class GeneratedStep:
    """Sections 4b and 4c."""

    def __init__(self, config, params, hyper):
        self.config, self.params, self.hyper = config, params, hyper
        self.fsg = config["method"] == "MetaFastAndSlow"
        self.step = 0
        self.grad, self.pre, self.refined, self.memory = {}, {}, {}, {}
        self.window = {layer: [] for layer in LAYERS}
        self.state = {}
        rates = {"fast": config.get("meta_lr_fast", 1e-2), "slow": config.get("meta_lr_slow", 1e-3),
                 "meta": config.get("meta_lr_metaquant", 1e-3)}  # fmt: skip
        groups = [{"params": [p], "lr": rates[name.split("/")[0]]} for name, p in hyper.items()]
        self.meta_adam = torch.optim.Adam(groups)

    def __call__(self, inputs, labels, running):
        config, params = self.config, self.params
        lr = config["lr"]
        self.step += 1
        self.meta_adam.zero_grad()
        made = {layer: self.generate(i, layer) for i, layer in enumerate(LAYERS)} if self.step > 1 else {}
        kept = {layer: params[f"{layer}.weight"] for layer in LAYERS}
        c = {layer: calibration(config, kept[layer]) for layer in LAYERS}
        seen, ahead, weights = {}, dict(kept), {}
        for layer, m in made.items():
            if self.fsg:
                ahead[layer] = kept[layer] - lr * (
                    config["beta"] * m["slow"] + (1 - config["beta"]) * c[layer] * m["fast"]
                )
            else:
                generated = c[layer] * m["meta"]
                value = self.refined[f"{layer}.weight"].detach()
                ahead[layer] = kept[layer] - lr * (generated + (value - generated).detach())
            seen |= {f"layer.{layer}/{name}_grad": value for name, value in m.items()}
        for layer in LAYERS:
            at = f"layer.{layer}"
            pre, weights[layer] = quantise(config, layer, ahead[layer], kept[layer])
            weights[layer].retain_grad()
            self.pre[layer] = pre.detach()
            seen |= {f"{at}/meta_weight": ahead[layer], f"{at}/pre_quantized_weight": pre}
            seen[f"{at}/quantized_weight"] = weights[layer]
            if config["q"] == "dorefa":
                seen[f"{at}/calibration"] = c[layer]
        bias = params["fc.bias"] - lr * self.refined["fc.bias"] if made else params["fc.bias"]

        for p in params.values():
            p.grad = None
        logits = network(params, weights, bias, running, inputs)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        seen |= {"loss": loss, "logits": logits, "layer.fc/bias_forward": bias.detach().clone()} | raw_gradients(params)
        for layer in LAYERS:
            self.grad[layer] = weights[layer].grad.clone()
            seen[f"layer.{layer}/grad_quantized"] = self.grad[layer]
        seen |= {f"hyper_grad/{name}": p.grad.clone() for name, p in self.hyper.items() if p.grad is not None}
        self.meta_adam.step()
        self.update(made, c, seen)
        return seen

    def generate(self, row, layer):
        grad, pre, hyper = self.grad[layer], self.pre[layer], self.hyper
        n = grad.numel()
        if self.fsg:
            self.window[layer] = [*self.window[layer], grad.reshape(-1)][-self.config["length"] :]
            tokens = torch.cat([hyper["slow/layer_embedding.weight"][row], *self.window[layer]])
            k = hyper["fast/linear3.weight"] @ hyper["fast/linear2.weight"] @ hyper["fast/linear1.weight"]
            return {"fast": grad * k[0, 0] * pre, "slow": self.scan(tokens)[-n:].reshape(grad.shape)}
        match self.config["method"]:
            case "MultiFC":
                k = hyper["meta/network.Linear2.weight"] @ hyper["meta/network.Linear1.weight"]
                return {"meta": grad * pre * (k @ hyper["meta/network.Linear0.weight"])[0, 0]}
            case "FC-Grad":
                return {"meta": grad * (hyper["meta/linear2.weight"] @ hyper["meta/linear1.weight"])[0, 0]}
        w = {name.split(".", 1)[1]: p for name, p in hyper.items() if "lstm1" in name}
        hidden = w["weight_hh_l0"].shape[1]
        h, cell = self.state.get(layer, (grad.new_zeros(n, hidden), grad.new_zeros(n, hidden)))
        gates = pre.reshape(n, 1) @ w["weight_ih_l0"].T + w["bias_ih_l0"] + h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        i, f, g, o = gates.chunk(4, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(cell)
        self.state[layer] = (h.detach(), cell.detach())
        factor = h @ hyper["meta/fc1.weight"].T + hyper["meta/fc1.bias"]
        return {"meta": grad * factor.reshape(grad.shape)}

    def scan(self, tokens):
        """One sequence of scalars through the block of section 6."""
        w = {name.removeprefix("slow/mamba."): p for name, p in self.hyper.items() if "mamba" in name}
        d_inner, states = w["A_log"].shape
        x, z = (tokens[:, None] @ w["in_proj.weight"].T).split(d_inner, dim=1)
        taps = w["conv1d.weight"].shape[-1]
        u = F.silu(F.conv1d(F.pad(x.T, (taps - 1, 0))[None], w["conv1d.weight"], w["conv1d.bias"], groups=d_inner)[0].T)
        dt, b, c = (u @ w["x_proj.weight"].T).split([1, states, states], dim=1)
        delta = F.softplus(dt @ w["dt_proj.weight"].T + w["dt_proj.bias"])
        decay = -torch.exp(w["A_log"])
        h, y = torch.zeros_like(decay), []
        for delta_t, u_t, b_t, c_t in zip(delta.unbind(), u.unbind(), b.unbind(), c.unbind(), strict=True):
            h = torch.exp(delta_t[:, None] * decay) * h + (delta_t * u_t)[:, None] * b_t
            y.append(h @ c_t + w["D"] * u_t)
        return ((torch.stack(y) * F.silu(z)) @ w["out_proj.weight"].T)[:, 0]

    @torch.no_grad()
    def update(self, made, c, seen):
        """W.grad := c fast (c m), refine, move. At the first step the raw gradients stay for the next forward."""
        raw = {name: p.grad.clone() for name, p in self.params.items()}
        if not made:
            self.refined = raw
            return
        grads = dict(raw)
        for layer, m in made.items():
            grads[f"{layer}.weight"] = (c[layer] * m["fast" if self.fsg else "meta"]).detach()
        for name, p in self.params.items():
            self.refined[name] = self.refine(name, p, grads[name], raw[name])
            p -= self.config["lr"] * self.refined[name]
        seen |= {f"layer.{layer}/grad_latent_refined": self.refined[f"{layer}.weight"] for layer in LAYERS}
        for layer, h in self.state.items():
            seen |= {f"layer.{layer}/lstm_h": h[0], f"layer.{layer}/lstm_c": h[1]}
        for name in FLOATS:
            owner, part = name.split(".")
            seen[f"{'layer.fc' if owner == 'fc' else owner}/grad_{part}_refined"] = self.refined[name]

    def refine(self, name, p, grad, ste):
        """Section 5."""
        kind = self.config["opt"].replace("-", "").lower()
        if kind == "sgd":
            return grad
        if kind == "adam":
            s = self.step - 1
            m, v = self.memory.get(name, (0.0, 0.0))
            self.memory[name] = m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
            return (1 - 0.999**s) ** 0.5 / (1 - 0.9**s) * m / (v.sqrt() + 1e-8)
        decayed = grad + 5e-4 * p
        if self.config.get("set_to_none", True):
            self.memory[name] = 0.9 * self.memory[name] + decayed if name in self.memory else decayed
            return self.memory[name].clone()
        if self.step == 2:
            return decayed
        return decayed + 0.9 * ste if name.removesuffix(".weight") in LAYERS else 1.8 * decayed
