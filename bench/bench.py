#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""make bench: MoCo-v2 steps and image pipelines of libhpt, interleaved with PyTorch, torchvision and Pillow where
they are installed; scores of boxes and masks beside pycocotools.

    make bench [PYTHON=/path/to/python] [BENCH_ARGS="--rounds 3 --only rn18-32,rn50-64 --precisions fp32"]

Each configuration: rounds of (libhpt process, PyTorch process, ...) one after the other, each with a warm-up step and
2 timed ones; the minimum over all rounds counts, since other work on the machine only ever adds time. PyTorch has
its maps in channels-last order; for EfficientNet in the plain order too, and the better one counts. Prints markdown;
--json FILE keeps everything."""
import argparse, json, os, platform, subprocess, sys, datetime

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIGS = ['rn18-32', 'rn18-64', 'rn18-224', 'rn50-32', 'rn50-64', 'rn50-224', 'enb2-224']
TORCH = r'''
import sys, json, time, copy, resource
import torch, torch.nn as nn, torch.nn.functional as F, torchvision
name, prec, steps, order = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
order = torch.channels_last if order == "last" else torch.contiguous_format
arch, small, size, n, K = {
    "rn18-32": ("resnet18", 1, 32, 128, 4096), "rn18-64": ("resnet18", 0, 64, 64, 4096),
    "rn18-224": ("resnet18", 0, 224, 16, 65536),
    "rn50-32": ("resnet50", 1, 32, 128, 4096), "rn50-64": ("resnet50", 0, 64, 64, 4096),
    "rn50-224": ("resnet50", 0, 224, 8, 65536), "enb2-224": ("efficientnet_b2", 0, 224, 8, 65536)}[name]
torch.set_num_threads(2)
b2 = arch == "efficientnet_b2"
net = torchvision.models.__dict__[arch](num_classes=128, **(dict(stochastic_depth_prob=0.) if b2 else {}))
if small: net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False); net.maxpool = nn.Identity()
d = net.classifier[1].in_features if b2 else net.fc.in_features
head = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 128))
if b2: net.classifier = head
else: net.fc = head
q = net.to(memory_format=order); k = copy.deepcopy(q)
for p in k.parameters(): p.requires_grad = False
opt = torch.optim.SGD(q.parameters(), 0.03, momentum=0.9, weight_decay=1e-4)
queue = F.normalize(torch.randn(128, K), dim=0); ptr = 0
x = torch.rand(n, 3, size, size).contiguous(memory_format=order)
y = torch.rand(n, 3, size, size).contiguous(memory_format=order)
times = []
for s in range(steps + 1):
    t = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=prec == "bf16"):
        zq = F.normalize(q(x).float(), dim=1)
        with torch.no_grad():
            for a, b in zip(k.parameters(), q.parameters()): a.data.mul_(0.999).add_(b.data, alpha=0.001)
            zk = F.normalize(k(y).float(), dim=1)
    logits = torch.cat([(zq * zk).sum(1, keepdim=True), zq @ queue.clone()], 1) / 0.2
    loss = F.cross_entropy(logits, torch.zeros(n, dtype=torch.long))
    queue[:, ptr:ptr + n] = zk.T; ptr = (ptr + n) % K
    opt.zero_grad(); loss.backward(); opt.step()
    times.append((time.perf_counter() - t) * 1e3)
print(json.dumps(dict(ms=times[1:], peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)))
'''

def run(cmd):
    r = subprocess.run(cmd, capture_output=True, text=True)
    if r.returncode:
        print('  failed:', ' '.join(cmd[:3]), (r.stderr.strip().splitlines() or [''])[-1], file=sys.stderr)
        return None
    return json.loads(r.stdout.strip().splitlines()[-1])

def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--rounds', type=int, default=2)
    ap.add_argument('--only', default=','.join(CONFIGS))
    ap.add_argument('--precisions', default='fp32,bf16')
    ap.add_argument('--json')
    ap.add_argument('--no-images', action='store_true')
    ap.add_argument('--no-boxes', action='store_true')
    a = ap.parse_args()
    have_torch = subprocess.run([sys.executable, '-c', 'import torch, torchvision'],
        capture_output=True).returncode == 0
    cpu = next((l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name')),
        platform.processor())
    flags = next((l for l in open('/proc/cpuinfo') if l.startswith('flags')), '')
    print(f'{datetime.date.today()}, {cpu}, {os.cpu_count()} processors, '
        + ', '.join(f for f in ('avx2', 'avx512f', 'avx512_bf16', 'amx_bf16') if f' {f}' in flags)
        + ('' if have_torch else ', PyTorch is not installed: libhpt alone'))
    precs, out = a.precisions.split(','), {}
    for c in a.only.split(','):
        rows = {}
        jobs = [('hpt fp32', ['bin/bench-step', c, 'fp32', 'auto', '2']),
            ('hpt fp32 direct', ['bin/bench-step', c, 'fp32', 'direct', '2'])] if 'fp32' in precs else []
        if 'bf16' in precs: jobs.append(('hpt bf16', ['bin/bench-step', c, 'bf16', 'auto', '2']))
        orders = ['last', 'plain'] if c.startswith('en') else ['last']
        if have_torch: jobs += [('torch ' + p, [sys.executable, '-c', TORCH, c, p, '2', o])
            for p in precs for o in orders]
        for _ in range(a.rounds):
            for name, cmd in jobs:
                r = run(cmd)
                if not r: continue
                e = rows.setdefault(name, dict(ms=[], peak_mib=0, first=[]))
                e['ms'] += r['ms']; e['peak_mib'] = max(e['peak_mib'], r['peak_mib'])
                e['first'].append(r.get('first_ms', 0))
        out[c] = rows
        for name, e in rows.items():
            print(f'  {c:9} {name:16} {min(e["ms"]):9.1f} ms   peak {e["peak_mib"]} MiB', flush=True)
    print('\n| configuration | ' + ' | '.join(f'{n} ms'
        for n in ('torch fp32', 'torch bf16', 'hpt fp32 direct', 'hpt fp32', 'hpt bf16'))
        + ' | fp32 direct / torch | fp32 / torch | bf16 / torch fp32 | bf16 / torch bf16 | peak MiB hpt fp32 / torch '
        'fp32 |')
    print('|' + '---|' * 11)
    best = lambda c, n: min(out[c][n]['ms']) if n in out[c] else None
    ratio = lambda x, y: f'{x / y:.2f}x' if x and y else '-'
    for c in out:
        t32, t16, d, h, b = (best(c, n) for n in ('torch fp32', 'torch bf16', 'hpt fp32 direct', 'hpt fp32',
            'hpt bf16'))
        mem = f"{out[c]['hpt fp32']['peak_mib']} / {out[c]['torch fp32']['peak_mib']}" if 'hpt fp32' in out[
            c] and 'torch fp32' in out[c] else '-'
        print(f'| {c} | ' + ' | '.join(f'{v:.0f}' if v else '-' for v in (t32, t16, d, h, b))
            + f' | {ratio(t32, d)} | {ratio(t32, h)} | {ratio(t32, b)} | {ratio(t16, b)} | {mem} |')
    if not a.no_images:
        images = subprocess.run([sys.executable, os.path.join(HERE, 'images.py')], text=True)
        out['images'] = images.returncode == 0
    if not a.no_boxes:
        boxes = subprocess.run([sys.executable, os.path.join(HERE, 'boxes.py')], text=True)
        out['boxes'] = boxes.returncode == 0
    if a.json: json.dump(out, open(a.json, 'w'), indent=1)

main()
