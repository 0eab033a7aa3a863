#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Decode and augment on one core: libhpt beside torchvision v1 on Pillow (MoCo v2's own recipe). Photographs come
from scikit-image or are made here: 64 JPEG files of 500x375, quality 95, from smooth noise with about the bits per
pixel of photographs."""
import json, os, subprocess, sys, tempfile, time
try:
    import numpy as np
    from PIL import Image, ImageFilter
    import torchvision.transforms as T, torch
except ImportError as e:
    print(f'\nimages: {e.name} is not installed; skipped')
    sys.exit(0)
import random
torch.set_num_threads(1)
d = tempfile.mkdtemp()
rng = np.random.default_rng(1)
names = []
for i in range(64):
    im = sum(np.asarray(Image.fromarray(rng.integers(0, 256, (max(2, 375 >> s), max(2, 500 >> s), 3),
        np.uint8)).resize((500, 375), Image.BICUBIC), np.float32) * w for s, w in ((7, .4), (5, .3), (3, .2), (1, .1)))
    names.append(f'{d}/{i}.jpg'); Image.fromarray(im.clip(0, 255).astype(np.uint8)).save(names[-1], quality=95)
open(f'{d}/list.txt', 'w').write('\n'.join(names) + '\n')
class Blur:
    def __call__(self, x): return x.filter(ImageFilter.GaussianBlur(random.uniform(.1, 2)))
view = T.Compose([T.RandomResizedCrop(224, (.2, 1.)), T.RandomApply([T.ColorJitter(.4, .4, .4, .1)], .8),
    T.RandomGrayscale(.2), T.RandomApply([Blur()], .5), T.RandomHorizontalFlip()])
hpt, pil = [], []
for r in range(3):
    hpt.append(json.loads(subprocess.run(['bin/bench-images', f'{d}/list.txt', '224', '1'], capture_output=True,
        text=True, check=True).stdout))
    t0 = time.process_time(); ims = [Image.open(n).convert('RGB') for n in names]; t1 = time.process_time()
    for im in ims: view(im)
    pil.append(((t1 - t0) / 64e-3, (time.process_time() - t1) / 64e-3))
hd, hv = min(h['decode_ms'] for h in hpt), min(h['view_ms'] for h in hpt)
pd, pv = min(p[0] for p in pil), min(p[1] for p in pil)
size = sum(os.path.getsize(n) for n in names) / 64e3
print(f'\n| 64 JPEG 500x375, {size:.0f} kB | decode ms | one view 224 ms | two views from file, views/s '
    f'|\n|---|---|---|---|')
print(f'| libhpt (one core) | {hd:.2f} | {hv:.2f} | {2000 / (hd + 2 * hv):.0f} |\n| torchvision on Pillow | {pd:.2f} '
    f'| {pv:.2f} | {2000 / (pd + 2 * pv):.0f} |\n| ratio | {pd / hd:.2f}x | {pv / hv:.2f}x | '
    f'{(pd + 2 * pv) / (hd + 2 * hv):.2f}x |')
