#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""make bench-ops: operations of the onednn backend at shapes of EfficientNet-B2 (bench/ops.c), in turns with the same
in PyTorch, where that is installed (the best of contiguous and channels_last). One thread, processor time, medians
over rounds, so that other work on the machine counts little. Prints markdown; --json FILE keeps everything.

    make bench-ops [PYTHON=/path/to/python] [BENCH_ARGS="--rounds 3 --only depthwise --precisions fp32"]"""
import argparse, json, os, statistics, subprocess, sys

TORCH = r'''
import sys, json, time
import torch, torch.nn.functional as F
torch.set_num_threads(1)
rounds, shapes = int(sys.argv[1]), json.load(sys.stdin)
conv_backward, silu_backward = torch.ops.aten.convolution_backward, torch.ops.aten.silu_backward
def timed(call):
    ms = []
    for i in range(-1, rounds):
        t0 = t = time.process_time(); n = 0
        while t - t0 < 0.005 or n < 2: call(); n += 1; t = time.process_time()
        if i >= 0: ms.append((t - t0) / n * 1e3)
    return ms
def calls(s, fmt):
    t = torch.bfloat16 if s["precision"] == "bf16" else torch.float32
    n, c, h, k, r, st, g, op = (s[a] for a in ("n", "c", "h", "k", "r", "stride", "groups", "op"))
    pad = r // 2; p = (h + 2 * pad - r) // st + 1
    x = torch.randn(n, c, h, h).to(t).contiguous(memory_format=fmt)
    if op.startswith("conv"):
        w = torch.randn(k, c // g, r, r).to(t).contiguous(memory_format=fmt)
        dy = torch.randn(n, k, p, p).to(t).contiguous(memory_format=fmt)
        if op == "conv": return lambda: F.conv2d(x, w, None, st, pad, 1, g)
        mask = [op == "conv_data", op == "conv_weights", False]
        return lambda: conv_backward(dy, x, w, None, [st, st], [pad, pad], [1, 1], False, [0, 0], g, mask)
    f = [torch.rand(c) + .5 for _ in range(4)]
    dy, silu = torch.randn(n, c, h, h).to(t).contiguous(memory_format=fmt), op.endswith("silu")
    if op.startswith("norm_grad"):
        y, mean, rstd = torch.native_batch_norm(x, f[0], f[1], f[2], f[3], True, .1, 1e-5)
        def back():
            d = silu_backward(dy, y) if silu else dy
            torch.ops.aten.native_batch_norm_backward(d, x, f[0], f[2], f[3], mean, rstd, True, 1e-5,
                                                      [True, True, True])
        return back
    if op.startswith("norm"):
        def norm():
            y = torch.native_batch_norm(x, f[0], f[1], f[2], f[3], True, .1, 1e-5)[0]
            if silu: F.silu(y)
        return norm
    z = torch.randn(n, c, 1, 1).to(t)
    return {"silu": lambda: F.silu(x), "silu_grad": lambda: silu_backward(dy, x), "sum": lambda: x + dy,
            "average": lambda: x.mean((2, 3)), "maxpool": lambda: F.max_pool2d(x, 3, 2, 1),
            "average_grad": lambda: (z / (h * h)).expand(n, c, h, h).contiguous(memory_format=fmt)}[op]
with torch.no_grad():
    for s in shapes:
        both = [timed(calls(s, fmt)) for fmt in (torch.contiguous_format, torch.channels_last)]
        print(json.dumps(min(both, key=lambda ms: sorted(ms)[len(ms) // 2])), flush=True)
'''

def lines(cmd, text=None):
    r = subprocess.run(cmd, input=text, capture_output=True, text=True)
    if r.returncode: sys.exit(f'{cmd[0]}: {r.stderr.strip()}')
    return [json.loads(l) for l in r.stdout.splitlines()]

def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('program')
    ap.add_argument('--rounds', type=int, default=3)
    ap.add_argument('--only', default='')
    ap.add_argument('--precisions', default='fp32,bf16')
    ap.add_argument('--json')
    a = ap.parse_args()
    have_torch = subprocess.run([sys.executable, '-c', 'import torch'], capture_output=True).returncode == 0
    kept = []
    for precision in a.precisions.split(','):
        all_rows = []
        for _ in range(a.rounds):
            rows = lines([a.program, precision, '3', a.only])
            theirs = lines([sys.executable, '-c', TORCH, '3'], json.dumps(rows)) if have_torch else [[]] * len(rows)
            for i, (row, ms) in enumerate(zip(rows, theirs)):
                if i == len(all_rows): all_rows.append(dict(row, ms=[], torch=[]))
                all_rows[i]['ms'] += row.get('ms', [])
                all_rows[i]['torch'] += ms
        kept += all_rows
        print(f'\n{precision}\n\n| operation | shape | served by | ms | GB/s | PyTorch ms | ratio |\n|' + '---|' * 7)
        for e in all_rows:
            ours, theirs = (statistics.median(e[n]) if e[n] else None for n in ('ms', 'torch'))
            shape = (f'{e["n"]}x{e["c"]}x{e["h"]}x{e["h"]} -> {e["k"]}, {e["r"]}x{e["r"]} stride {e["stride"]}'
                     if e['op'].startswith('conv') or e['op'] == 'maxpool' else f'{e["n"]}x{e["c"]}x{e["h"]}x{e["h"]}')
            print(f'| {e["op"]} | {shape} | {e.get("served", "refused")} | ' + ' | '.join(
                [f'{ours:.3f}', f'{e["bytes"] / ours / 1e6:.0f}'] if ours else ['-', '-']) + ' | '
                + (f'{theirs:.3f}' if theirs else '-') + f' | {theirs / ours:.2f}x |' if ours and theirs else ' | - |')
    if a.json: json.dump(kept, open(a.json, 'w'), indent=1)

main()
