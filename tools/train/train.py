#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains an embedded model from scratch: data, training, measurement and export in one command.

    python3 tools/train/train.py --corpus .train/corpus.xz --out DIR          (one GPU, 8 minutes)
    python3 tools/train/train.py --corpus .train/corpus.xz --out DIR --smoke  (2 minutes, a bad model)

DIR receives NAME.q8_0.gguf (or .q4_k_m), NAME.bf16.gguf as pieces of 15 MiB (`cat` them and
`gunzip`), train.log, eval.json and reference.tar (tokens, logits and greedy continuations of three
texts for both files).

The number of steps is chosen from the measured speed so that everything ends within --seconds; it is
written to eval.json, and --steps repeats a run with the same number.
"""

import argparse
import gzip
import json
import math
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import chat
import evaluate
import export
import quantize
from model import Model, config_for, gguf_tensors, linear, run_layer
from optimizer import Optimizer, StraightThrough

HERE = pathlib.Path(__file__).resolve().parent
BALANCE = 0.02   # weight of the router's load-balance loss
DRAFTS = (0.2, 0.1)  # weights of the draft block's losses, one and two tokens further
RESERVE = 75     # seconds kept for measurement and export
PIECE = 15 << 20


class Log:
    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8")
        self.began = time.monotonic()

    def elapsed(self):
        return time.monotonic() - self.began

    def __call__(self, text):
        line = f"[{self.elapsed():6.1f} s] {text}"
        print(line, flush=True)
        self.file.write(line + "\n")
        self.file.flush()


class Batches:
    """Random batches: windows of text and rows of long chats (2048 tokens), rows of short chats (256).
    Everything stays on the device."""

    def __init__(self, folder, device, arguments):
        def load(name, kind, length=None):
            array = np.fromfile(folder / name, kind)
            array = array if length is None else array.reshape(-1, length)
            return torch.from_numpy(array.astype(np.int16 if kind == np.uint16 else np.uint8)).to(device)

        self.text = load("text.u16", np.uint16)
        self.heldout_text = load("heldout_text.u16", np.uint16)
        self.long, self.long_mask = load("long.u16", np.uint16, 2049), load("long.u8", np.uint8, 2049)
        self.short, self.short_mask = load("short.u16", np.uint16, 257), load("short.u8", np.uint8, 257)
        self.text_rows, self.long_rows = arguments.text_rows, arguments.long_rows
        self.short_rows, self.answer_weight = arguments.short_rows, arguments.answer_weight
        self.generator = torch.Generator(device="cpu").manual_seed(arguments.seed)
        self.device = device
        self.window = torch.arange(2049, device=device)
        self.order = {"long": [], "short": []}

    def rows(self, name, count):
        """Every row once in random order before any comes again."""
        total = getattr(self, name).shape[0]
        order = self.order[name]
        while len(order) < count:
            order.extend(torch.randperm(total, generator=self.generator).tolist())
        chosen, self.order[name] = order[:count], order[count:]
        return torch.tensor(chosen, device=self.device)

    def next(self):
        """tokens, targets, weights: flat; text weighs 1 in all, answers `answer_weight`."""
        starts = torch.randint(0, self.text.numel() - 2049, (self.text_rows,),
                               generator=self.generator).to(self.device)
        text = self.text[starts[:, None] + self.window]
        long_rows, short_rows = self.rows("long", self.long_rows), self.rows("short", self.short_rows)
        long, short = self.long[long_rows], self.short[short_rows]
        tokens = torch.cat([text[:, :-1].reshape(-1), long[:, :-1].reshape(-1),
                            short[:, :-1].reshape(-1)]).long()
        targets = torch.cat([text[:, 1:].reshape(-1), long[:, 1:].reshape(-1),
                             short[:, 1:].reshape(-1)]).long()
        answers = torch.cat([self.long_mask[long_rows][:, 1:].reshape(-1),
                             self.short_mask[short_rows][:, 1:].reshape(-1)]).float()
        answers = answers * (self.answer_weight / answers.sum())
        text_weight = torch.full((text.shape[0] * 2048,), 1 / (text.shape[0] * 2048),
                                 device=self.device)
        return tokens, targets, torch.cat([text_weight, answers])


def parts_of(arguments):
    return ((arguments.text_rows + arguments.long_rows, 2048), (arguments.short_rows, 256))


def later(x, parts):
    """x [n] of the next position of the same row; 0 behind a row's end."""
    output, start = [], 0
    for rows, length in parts:
        end = start + rows * length
        output.append(F.pad(x[start:end].view(rows, length)[:, 1:], (0, 1)).reshape(-1))
        start = end
    return torch.cat(output)


def start_dataset(arguments, folder):
    command = [sys.executable, str(HERE / "build_dataset.py"), "--corpus", str(arguments.corpus),
               "--out", str(folder), "--seed", str(arguments.seed), "--vocabulary",
               str(arguments.vocabulary)]
    if arguments.smoke:
        command += ["--short", "40000", "--long", "4000", "--heldout", "60", "--sample", "6000000",
                    "--text", "2500"]
    command += arguments.dataset
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish_dataset(process, log):
    for line in process.stdout:
        log("dataset " + line.rstrip())
    if process.wait() != 0:
        sys.exit("build_dataset.py failed")


def captured(work, log):
    """`work` recorded as a CUDA graph: thousands of small kernels start faster without the host. Returns
    what replays it and returns its results; `work` itself if that does not do the same."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            wanted = [float(item) for item in work()[:2]]
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = work()

        def replay():
            graph.replay()
            return results

        got = [float(item) for item in replay()[:2]]
    except RuntimeError as error:
        log(f"no CUDA graph: {error!r}"[:600])
        return work
    if not all(math.isclose(a, b, rel_tol=0.02) for a, b in zip(got, wanted)):
        log(f"the CUDA graph gives {got}, not {wanted}: going on without it")
        return work
    log(f"captured: loss and gradient {got}, without the graph {wanted}")
    return replay


def train(model, load_batches, arguments, log):
    device = model.token_embd.device
    parts = parts_of(arguments)
    batch_tokens = sum(rows * length for rows, length in parts)
    cuda = device.type == "cuda"
    model.dtype = torch.bfloat16 if cuda else torch.float32
    types = quantize.plan(gguf_tensors(model), model.config, arguments.mix)
    rounding = StraightThrough(gguf_tensors(model), types)
    optimizer = Optimizer(model, arguments.rate, fused=cuda)
    parameters = list(model.parameters())

    further = DRAFTS if model.draft is not None else ()

    def losses_of(hidden, targets, weights):
        logits = linear(hidden, model.output, model.dtype)
        return F.cross_entropy(logits.float(), targets, reduction="none") * weights

    head = losses_of
    if cuda and not arguments.eager:
        # Piece by piece: layers of one kind share one compilation.
        head = torch.compile(losses_of, dynamic=False)
        model.run_layer = torch.compile(run_layer, dynamic=False)

    def backward(tokens, targets, weights):
        following = [targets]
        for _ in further:
            following.append(later(following[-1], parts))
        hidden, load, balance = model.hidden_states(tokens, parts, following[:len(further)])
        losses = head(hidden[0], targets, weights)
        loss = losses.sum() + BALANCE * balance
        draft_losses = []
        for share, guess, wanted in zip(further, hidden[1:], following[1:]):
            weights = later(weights, parts)
            draft_loss = head(guess, wanted, weights).sum()
            draft_losses.append(draft_loss.detach())
            loss = loss + share * draft_loss
        loss.backward()
        return loss.detach(), losses.detach(), load, draft_losses

    text_tokens = arguments.text_rows * 2048
    step, total, best_guess = 0, arguments.steps, 3000
    calibrate_at, timer = 30, 0.0
    history = []

    def synchronise():
        if cuda:
            torch.cuda.synchronize()
        return time.monotonic()

    # Compiling needs no data: it happens while the data are made.
    tokens = torch.randint(0, model.config.vocabulary, (batch_tokens,), device=device)
    dummy = tokens, tokens, torch.full((batch_tokens,), 1 / batch_tokens, device=device)
    try:
        backward(*dummy)
    except Exception as error:  # the compiler, not the model: uncompiled it is slower
        if head is losses_of:
            raise
        log(f"torch.compile failed, going on without it: {error!r}"[:600])
        head, model.run_layer = losses_of, run_layer
    model.zero_grad(set_to_none=True)
    log("compiled")
    batches = load_batches()

    batch = batches.next()

    def work(aware=False):
        """One step on `batch`; returns the loss, the gradient's norm, and `backward`'s other results."""
        for parameter in parameters:
            parameter.grad = None
        if aware:
            with rounding:
                loss, *results = backward(*batch)
        else:
            loss, *results = backward(*batch)
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss, norm, *results

    began = synchronise()
    optimizer.set_rate(0)
    graph = cuda and arguments.aware == 0 and not arguments.eager and not arguments.no_graph
    run = captured(work, log) if graph else work
    while total is None or step < total:
        planned = total or best_guess
        warm = min(1.0, (step + 1) / 100)
        progress = min(1.0, step / planned)
        factor = warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * progress)))
        aware = total is not None and arguments.aware > 0 and progress >= 1 - arguments.aware
        for old, new in zip(batch, batches.next()):
            old.copy_(new)
        optimizer.set_rate(factor)
        _, norm, losses, load, drafts = run(aware) if aware else run()
        step += 1

        if total is None and step == calibrate_at - 20:
            timer = synchronise()
        if total is None and step == calibrate_at:
            step_time = (synchronise() - timer) / 20
            timer = synchronise()
            for _ in range(3):
                with rounding:
                    pass
            rounding_time = (synchronise() - timer) / 3
            limit = 25 if arguments.smoke else arguments.seconds - RESERVE - log.elapsed()
            total = int(limit / (step_time + arguments.aware * rounding_time))
            total = max(calibrate_at + 2, step + total // 10 * 10)
            log(f"{step_time * 1000:.1f} ms a step ({batch_tokens / step_time / 1e6:.2f} M tokens/s), "
                f"rounding {rounding_time * 1000:.1f} ms; {total} steps")
        if step == 1 or step % arguments.report == 0 or step == total:
            text, answers = losses[:text_tokens].sum().item(), losses[text_tokens:].sum().item()
            answers /= arguments.answer_weight
            if not math.isfinite(text + answers):
                sys.exit(f"the loss is not finite at step {step}")
            used = load / (model.config.experts_used / model.config.experts)
            guesses = [round(item.item(), 4) for item in drafts]
            history.append([step, round(text, 4), round(answers, 5)] + guesses)
            log(f"step {step}/{total or '?'} text {text:.4f} answers {answers:.5f} "
                f"{f'drafts {guesses} ' if guesses else ''}gradient "
                f"{norm:.2f} rate {optimizer.highest * factor:.2e} expert load {used.min():.2f}-"
                f"{used.max():.2f}{' rounding' if aware else ''}")
    log(f"trained {total} steps of {batch_tokens} tokens in {synchronise() - began:.0f} s")
    model.dtype, model.run_layer = torch.float32, run_layer
    return {"steps": total, "tokens_per_step": batch_tokens, "history": history}


def check_file(path, model, mix):
    """Decodes a few tensors of the written file and compares them with the model; a guard against a
    writer and a measurement that disagree."""
    data = pathlib.Path(path).read_bytes()
    tensors = gguf_tensors(model)
    types = quantize.plan(tensors, model.config, mix)
    end = len(data)
    for name, tensor in reversed(tensors):
        raw = quantize.to_bytes(tensor, types[name])
        size = -(-len(raw) // 32) * 32
        if data[end - size:end - size + len(raw)] != raw:
            sys.exit(f"{path}: tensor {name} differs from the model")
        end -= size


def save_references(path, cases_by_mix):
    with tempfile.TemporaryDirectory() as folder, tarfile.open(path, "w") as tar:
        def add(name, data):
            file = pathlib.Path(folder) / name
            file.write_bytes(data)
            tar.add(file, arcname=name)

        description = {mix: {case: item[0] for case, item in cases.items()}
                       for mix, cases in cases_by_mix.items()}
        add("reference.json", json.dumps(description, ensure_ascii=False, indent=1).encode())
        for mix, cases in cases_by_mix.items():
            for case, (_, logits) in cases.items():
                add(f"{mix}.{case}.logits.f32", logits.numpy().tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--arch", choices=("qwen3moe", "qwen3next"), default="qwen3moe")
    parser.add_argument("--name", default=None, help="base name of the files")
    parser.add_argument("--seconds", type=float, default=465, help="for everything")
    parser.add_argument("--steps", type=int, default=None, help="instead of as many as fit")
    parser.add_argument("--smoke", action="store_true", help="try the whole path quickly")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--mix", choices=("q8_0", "q4_k_m"), default="q8_0",
                        help="types of the small file")
    parser.add_argument("--aware", type=float, default=None,
                        help="last part that trains with rounding (0.3 for q4_k_m, 0 for q8_0)")
    parser.add_argument("--text-rows", type=int, default=26)
    parser.add_argument("--long-rows", type=int, default=6)
    parser.add_argument("--short-rows", type=int, default=256)
    parser.add_argument("--answer-weight", type=float, default=1, help="of answers; text has 1")
    parser.add_argument("--vocabulary", type=int, default=6144)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=int, default=100, help="steps between lines of the log")
    parser.add_argument("--eager", action="store_true", help="without torch.compile and CUDA graph")
    parser.add_argument("--no-graph", action="store_true", help="without CUDA graph")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("dataset", nargs="*", help="after --: arguments for build_dataset.py")
    arguments = parser.parse_args()
    if arguments.aware is None:
        arguments.aware = 0.3 if arguments.mix == "q4_k_m" else 0.0
    if arguments.smoke:
        arguments.report = min(arguments.report, 20)
    name = arguments.name or {"qwen3moe": "sluice-tiny", "qwen3next": "sluice-hybrid"}[arguments.arch]
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    log = Log(out / "train.log")
    device = torch.device(arguments.device)
    log(f"torch {torch.__version__}, {torch.cuda.get_device_name() if device.type == 'cuda' else 'CPU'}")
    torch.manual_seed(arguments.seed)
    chat.check_template()

    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        dataset = start_dataset(arguments, folder)
        batches = None

        def load_batches():
            nonlocal batches
            finish_dataset(dataset, log)
            batches = Batches(folder, device, arguments)
            log(f"{batches.text.numel()} tokens of text")
            return batches

        config = config_for(arguments.arch, arguments.vocabulary)
        model = Model(config).initialise(arguments.seed).to(device)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        log(f"{arguments.arch}: {parameters / 1e6:.2f} M parameters; batches {parts_of(arguments)}")
        training = train(model, load_batches, arguments, log)
        vocabulary = json.loads((folder / "vocabulary.json").read_text())
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        items = [json.loads(line) for line in open(folder / "heldout.jsonl", encoding="utf-8")]

    stops = {vocabulary["tokens"].index(token) for token in (chat.END_OF_TURN, chat.END_OF_TEXT)}
    heldout = batches.heldout_text
    heldout_bytes = len(tokenizer.decode(heldout.tolist(), skip_special_tokens=True).encode())
    model.eval()
    results = {"architecture": arguments.arch, "parameters": parameters, "seed": arguments.seed,
               "config": vars(config), "training": training}
    cases = {}
    del batches
    with torch.no_grad():
        # Files first: what is written comes back even if time runs out.
        for mix in (arguments.mix, "bf16"):
            path = out / f"{name}.{mix}.gguf"
            results[mix] = {"bytes": export.write_gguf(path, model, vocabulary, mix)}
            check_file(path, model, mix)
            log(f"{path.name}: {results[mix]['bytes']} bytes")
            if mix == "bf16":
                data = gzip.compress(path.read_bytes(), 6, mtime=0)
                for index in range(0, len(data), PIECE):
                    piece = out / f"{path.name}.gz.{index // PIECE:02}"
                    piece.write_bytes(data[index:index + PIECE])
                path.unlink()
        for mix in (arguments.mix, "bf16"):
            rounded = export.with_rounded_weights(model, mix)
            # The exercises of the large file only if there is time.
            if mix != arguments.mix and log.elapsed() > arguments.seconds - 50:
                items = []
            figures = evaluate.measure(rounded, items, heldout, heldout_bytes, tokenizer, stops)
            results[mix].update(figures)
            log(f"{mix}: exercises {figures['exercises']['rate']:.1%} {figures['exercises']['kinds']} "
                f"multi-turn {figures['exercises']['multi_turn']} perplexity "
                f"{figures['text_perplexity']} bits per byte {figures['text_bits_per_byte']} expert "
                f"load {figures['expert_load']}" +
                (f" drafts right {figures['drafts']}" if "drafts" in figures else ""))
            if mix == arguments.mix:
                for wrong in figures["exercises"]["wrong"][:12]:
                    log("wrong: " + json.dumps(wrong, ensure_ascii=False))
                for text in evaluate.continuations(rounded, tokenizer, stops):
                    log("continued: " + json.dumps(text, ensure_ascii=False))
            cases[mix] = evaluate.references(rounded.to("cpu"), tokenizer)
            (out / "eval.json").write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n")
    loss = results[arguments.mix]["text_perplexity"] / results["bf16"]["text_perplexity"] - 1
    results["quantisation_costs_perplexity"] = round(loss, 5)
    log(f"{arguments.mix.upper()} costs {loss:.2%} perplexity")
    save_references(out / "reference.tar", cases)
    (out / "eval.json").write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n")
    for path in sorted(out.iterdir()):
        log(f"{path.name} {path.stat().st_size}")


if __name__ == "__main__":
    main()
