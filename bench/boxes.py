#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""From files to COCO's twelve numbers: hpt score-boxes on one thread beside pycocotools and faster-coco-eval, where
they are installed, on a made-up set in the style of val2017: 80 classes, 7 objects and 40 detections an image; boxes,
then masks of polygons. Processor seconds of reading and scoring (starting Python and its modules is not counted, hpt's
own start is), the minimum over rounds, one after the other."""
import argparse, contextlib, io, json, os, random, resource, subprocess, sys, tempfile, time
HERE = os.path.dirname(os.path.abspath(__file__))
try:
    from pycocotools import mask as M
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
except ImportError:
    print('\nboxes: pycocotools is not installed; skipped')
    sys.exit(0)
try:
    from faster_coco_eval import COCO as FastCOCO, COCOeval_faster
except ImportError:
    FastCOCO = None


def outline(r, x, y, w, h):
    """A star-shaped outline of 30 points in a box."""
    import math
    at = [(math.cos(2 * math.pi * i / 30), math.sin(2 * math.pi * i / 30), r.uniform(.6, 1)) for i in range(30)]
    return [round(v, 2) for c, s, q in at for v in (x + w / 2 * (1 + c * q), y + h / 2 * (1 + s * q))]


def make(folder, images, masks):
    r = random.Random(1)
    truth = {'images': [], 'annotations': [], 'categories': [{'id': c, 'name': str(c)} for c in range(1, 81)]}
    found = []
    for i in range(images):
        truth['images'].append({'id': i, 'width': 640, 'height': 480})
        mine = []
        for _ in range(r.randint(1, 13)):
            w, h = r.uniform(8, 300), r.uniform(8, 300)
            b = [round(v, 2) for v in (r.uniform(0, 640 - w), r.uniform(0, 480 - h), w, h)]
            mine.append((r.randint(1, 80), b))
            c, b = mine[-1]
            truth['annotations'].append({'id': len(truth['annotations']) + 1, 'image_id': i, 'category_id': c,
                'bbox': b, 'area': b[2] * b[3] * .7, 'iscrowd': 0,
                **({'segmentation': [outline(r, *b)]} if masks else {})})
        for _ in range(40):
            c, b = r.choice(mine)
            b = [round(v + r.gauss(0, .1) * b[2 + k % 2], 2) for k, v in enumerate(b)]
            b[2:] = [max(v, 1) for v in b[2:]]
            d = {'image_id': i, 'category_id': c if r.random() < .5 else r.randint(1, 80),
                'score': round(r.random(), 5)}
            if masks:
                e = M.frPyObjects([outline(r, *b)], 480, 640)[0]
                d['segmentation'] = {'size': [480, 640], 'counts': e['counts'].decode()}
            else: d['bbox'] = b
            found.append(d)
    paths = [os.path.join(folder, n) for n in ('truth.json', 'found.json')]
    for p, x in zip(paths, (truth, found)): json.dump(x, open(p, 'w'))
    return paths


def python_way(coco, evaluator, paths, kind):
    with contextlib.redirect_stdout(io.StringIO()):
        t = time.process_time()
        gt = coco(paths[0])
        e = evaluator(gt, gt.loadRes(paths[1]), kind)
        e.evaluate(); e.accumulate(); e.summarize()
        return time.process_time() - t, [float(v) for v in e.stats[:12]]


def hpt(paths, masks):
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    t = used()
    command = [os.path.join(HERE, '../bin/hpt'), 'score-boxes', '--truth', paths[0], '--results', paths[1],
        '--threads', '1', '--json'] + (['--masks'] if masks else [])
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    t = used() - t
    j = json.loads(out)
    return t, [j[k] for k in ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'AR1', 'AR10', 'AR100', 'ARs', 'ARm', 'ARl')]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--rounds', type=int, default=3)
    ap.add_argument('--images', type=int, default=1000)
    a = ap.parse_args()
    print('\n| one thread, s | pycocotools | faster-coco-eval | libhpt | / pycocotools | / faster-coco-eval |')
    print('|---|---|---|---|---|---|')
    for masks in (0, 1):
        with tempfile.TemporaryDirectory() as folder:
            n = a.images if not masks else a.images // 2
            paths, kind, best = make(folder, n, masks), 'segm' if masks else 'bbox', {}
            for _ in range(a.rounds):
                rows = [('hpt', hpt(paths, masks)), ('py', python_way(COCO, COCOeval, paths, kind))]
                if FastCOCO: rows.append(('fast', python_way(FastCOCO, COCOeval_faster, paths, kind)))
                for name, (t, stats) in rows:
                    best[name] = min(t, best.get(name, (9e9,))[0]), stats
            off = max(abs(x - y) for x, y in zip(best['hpt'][1], best['py'][1]))
            assert off < 1e-7, off      # the JSON has eight digits
            p, h, f = best['py'][0], best['hpt'][0], best['fast'][0] if FastCOCO else None
            print(f"| {n} images, {'masks' if masks else 'boxes'} | {p:.2f} | {f'{f:.2f}' if f else '-'} | {h:.3f} | "
                + f"{p / h:.1f}x | {f'{f / h:.1f}x' if f else '-'} |", flush=True)


main()
