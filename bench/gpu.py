#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""make bench-gpu: MoCo-v2 steps, kernels and memory of libhpt on this machine's GPU, interleaved with PyTorch (eager
and compiled, channels_last, autocast) where it is installed. Writes the section "GPU" of docs/performance.md with the
device's name, and build/bench-gpu.json.

    make bench-gpu [BENCH_ARGS="--rounds 2 --seconds 500 --only rn50-224 --no-doc"]

Each round runs every contestant once, in a process of its own; the minimum over rounds of the medians counts. Stops
starting new rounds when the time is over."""
import argparse, datetime, json, os, statistics, subprocess, sys, time

CONFIGS = ['rn50-224', 'rn18-224', 'rn18-32']
TORCH = r'''
import sys, json, time, copy
import torch, torch.nn as nn, torch.nn.functional as F, torchvision
name, prec, mode, steps = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
arch, small, size, n, K = {"rn50-224": ("resnet50", 0, 224, 256, 65536), "rn18-224": ("resnet18", 0, 224, 256, 65536),
    "rn18-32": ("resnet18", 1, 32, 512, 4096)}[name]
torch.backends.cudnn.benchmark = True
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = prec != "fp32"
net = torchvision.models.__dict__[arch](num_classes=128)
if small: net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False); net.maxpool = nn.Identity()
d = net.fc.in_features
net.fc = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 128))
q = net.cuda().to(memory_format=torch.channels_last); k = copy.deepcopy(q)
for p in k.parameters(): p.requires_grad = False
opt = torch.optim.SGD(q.parameters(), 0.03, momentum=0.9, weight_decay=1e-4, fused=True)
queue = F.normalize(torch.randn(128, K, device="cuda"), dim=0)
ptr = 0
fq, fk = (torch.compile(q), torch.compile(k)) if mode == "compile" else (q, k)
host = [torch.rand(n, 3, size, size).contiguous(memory_format=torch.channels_last).pin_memory() for _ in range(2)]
kp, qp = list(k.parameters()), list(q.parameters())
times = []
for s in range(steps + 6):
    torch.cuda.synchronize(); t = time.perf_counter()
    x, y = (h.cuda(non_blocking=True) for h in host)
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=prec == "bf16"):
        zq = F.normalize(fq(x).float(), dim=1)
        with torch.no_grad():
            torch._foreach_mul_(kp, 0.999); torch._foreach_add_(kp, qp, alpha=0.001)
            perm = torch.randperm(n, device="cuda")
            zk = fk(y[perm].contiguous(memory_format=torch.channels_last)).float()
            zk = F.normalize(zk, dim=1)[torch.argsort(perm)]
        logits = torch.cat([(zq * zk).sum(1, keepdim=True), zq @ queue.clone()], 1) / 0.2
        loss = F.cross_entropy(logits.float(), torch.zeros(n, dtype=torch.long, device="cuda"))
    queue[:, ptr:ptr + n] = zk.T; ptr = (ptr + n) % K
    opt.zero_grad(); loss.backward(); opt.step()
    float(loss)
    times.append((time.perf_counter() - t) * 1e3)
print(json.dumps(dict(ms=times[6:], device_mib=torch.cuda.max_memory_reserved() >> 20, torch=torch.__version__)))
'''
LOSS = r'''
import json, torch, torch.nn.functional as F
n, D, K = 256, 128, 65536
q = F.normalize(torch.randn(n, D, device="cuda"), dim=1).requires_grad_()
k = F.normalize(torch.randn(n, D, device="cuda"), dim=1)
queue = F.normalize(torch.randn(D, K, device="cuda"), dim=0)
zero = torch.zeros(n, dtype=torch.long, device="cuda")
out = {}
for name, amp in (("bf16", True), ("fp32", False)):
    def go():
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=amp):
            l = torch.cat([(q * k).sum(1, keepdim=True), q @ queue], 1) / 0.2
        F.cross_entropy(l.float(), zero).backward()
    best = 1e9
    for r in range(12):
        a, b = torch.cuda.Event(True), torch.cuda.Event(True); a.record()
        for _ in range(20): go()
        b.record(); torch.cuda.synchronize(); best = min(best, a.elapsed_time(b) / 20)
    out[name] = best * 1e3
print(json.dumps(out))
'''

def run(cmd, limit=170):
    try: r = subprocess.run(cmd, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        print('  too slow:', ' '.join(cmd[:4])[:80], file=sys.stderr)
        return []
    if r.returncode:
        print('  failed:', ' '.join(c for c in cmd if len(c) < 60), (r.stderr.strip().splitlines() or [''])[-1],
            file=sys.stderr)
        return []
    return [json.loads(l) for l in r.stdout.splitlines() if l.startswith('{')]

def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('program')
    ap.add_argument('--rounds', type=int, default=2)
    ap.add_argument('--seconds', type=float, default=480)
    ap.add_argument('--only', default=','.join(CONFIGS))
    ap.add_argument('--precisions', default='bf16')
    ap.add_argument('--no-doc', action='store_true')
    a = ap.parse_args()
    t0, left = time.time(), lambda: a.seconds - (time.time() - t0)
    kernels = run([a.program, 'kernels', '5'])
    if not kernels: sys.exit('bench-gpu: the kernels did not run; nothing was measured')
    device = next(k for k in kernels if k['kind'] == 'device')
    have_torch = subprocess.run([sys.executable, '-c', 'import torch, torchvision; assert torch.cuda.is_available()'],
        capture_output=True).returncode == 0
    loss = (run([sys.executable, '-c', LOSS]) or [{}])[0] if have_torch else {}
    rows = {}
    for r in range(a.rounds):
        for c in a.only.split(','):
            for prec in a.precisions.split(','):
                jobs = [('hpt', [a.program, 'step', c, prec, '20'])]
                if have_torch:
                    jobs += [('torch eager', [sys.executable, '-c', TORCH, c, prec, 'eager', '20']),
                        ('torch compile', [sys.executable, '-c', TORCH, c, prec, 'compile', '20'])]
                for name, cmd in jobs:
                    if left() < 20: continue
                    for x in run(cmd, max(20, left())):
                        e = rows.setdefault((c, prec), {}).setdefault(name, dict(ms=[], device_mib=0))
                        e['ms'].append(statistics.median(x['ms']))
                        e['device_mib'] = max(e['device_mib'], x['device_mib'])
                        print(f'  {c} {prec} {name}: {e["ms"][-1]:.2f} ms, {x["device_mib"]} MiB', flush=True)
    lines = [f'Measured on one {device["name"]} ({device["sms"]} multiprocessors), {datetime.date.today()}, by `make '
        f'bench-gpu`' + ('.' if have_torch else '; PyTorch was not installed.'), '',
             '| step (batch 256; rn18-32: 512) | libhpt ms | PyTorch eager ms | PyTorch compile ms | libhpt against '
             'the best | MiB libhpt / PyTorch |', '|---|---|---|---|---|---|']
    best = lambda e, n: min(e[n]['ms']) if n in e else None
    for (c, prec), e in rows.items():
        h, te, tc = (best(e, n) for n in ('hpt', 'torch eager', 'torch compile'))
        rival = min([t for t in (te, tc) if t], default=None)
        mib = min([e[n]['device_mib'] for n in ('torch eager', 'torch compile') if n in e], default=None)
        lines.append(f'| {c} {prec} | ' + ' | '.join(f'{t:.2f}' if t else '-' for t in (h, te, tc))
            + f' | {rival / h:.2f}x | {e["hpt"]["device_mib"]} / {mib} |' if h and rival
            else f'| {c} {prec} | {h and round(h, 2)} | - | - | - | {e.get("hpt", {}).get("device_mib")} / - |')
    peak = {k['name']: k for k in kernels if k['kind'] == 'kernel'}
    copy, prod = peak.get('device copy (peak)', {}).get('gb_s'), peak.get('bf16 product (peak)', {}).get('tflop_s')
    lines += ['', '| kernel | shape | us | GB/s | of copy | TFLOP/s | of product |', '|---|---|---|---|---|---|---|']
    for k in kernels:
        if k['kind'] != 'kernel': continue
        lines.append(f'| {k["name"]} | {k["shape"]} | {k["us"]:.1f} | '
            + (f'{k["gb_s"]:.0f} | {100 * k["gb_s"] / copy:.0f} % | ' if k['gb_s'] and copy else '- | - | ')
            + (f'{k["tflop_s"]:.1f} | {100 * k["tflop_s"] / prod:.0f} % |' if k['tflop_s'] and prod else '- | - |'))
    if loss:
        lines += ['',
            f'InfoNCE in PyTorch (cat, cross-entropy, backward): {loss["bf16"]:.0f} us in bf16, {loss["fp32"]:.0f} us '
            f'in fp32; libhpt {peak["infonce bf16"]["us"]:.0f} and {peak["infonce fp32"]["us"]:.0f} us.']
    print('\n'.join([''] + lines))
    os.makedirs('build', exist_ok=True)
    json.dump(dict(device=device, kernels=kernels, loss=loss, steps={f'{c} {p}': e for (c, p), e in rows.items()}),
        open('build/bench-gpu.json', 'w'), indent=1)
    if a.no_doc: return
    doc = open('docs/performance.md').read()
    begin, end = '<!-- bench-gpu begins -->', '<!-- bench-gpu ends -->'
    if begin in doc and end in doc:
        open('docs/performance.md', 'w').write(doc[:doc.index(begin) + len(begin)] + '\n' + '\n'.join(lines) + '\n'
            + doc[doc.index(end):])
        print('\ndocs/performance.md is updated')

main()
