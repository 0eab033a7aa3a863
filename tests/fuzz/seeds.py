#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Valid inputs for the fuzz targets, of every shape that a reader knows. usage: seeds.py FOLDER writes
FOLDER/<target>/<name>. Standard library."""
import argparse, collections, gzip, io, itertools, json, os, pickle, struct, sys, types, zipfile, zlib

OUT = sys.argv[1]


def put(target, name, data):
    path = os.path.join(OUT, target, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as f:
        f.write(data if isinstance(data, bytes) else data.encode())


def noise(n, seed=1):
    x, out = seed, bytearray()
    for _ in range(n):
        x = (x * 1103515245 + 12345) & 0x7fffffff
        out.append(x >> 16 & 255)
    return bytes(out)


# ---- images ----

def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(w, h, depth, colour, interlaced=0, before=b'', level=6):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
        (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    raw = b''
    for x0, y0, dx, dy in passes:
        pw, ph = -(-(w - x0) // dx), -(-(h - y0) // dy)
        if pw > 0:
            for y in range(max(ph, 0)):
                raw += bytes([y % 5]) + noise((pw * depth * channels + 7) // 8, y + 1)
    palette = chunk(b'PLTE', noise(3 << min(depth, 8))) if colour == 3 else b''
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR',
        struct.pack('>IIBBBBB', w, h, depth, colour, 0, 0, interlaced)) + before + palette + \
        chunk(b'IDAT', zlib.compress(raw, level)) + chunk(b'IEND', b'')


for colour, depth in [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8),
        (4, 8), (4, 16), (6, 8), (6, 16)]:
    put('image', f'c{colour}-d{depth}.png', png(9, 7, depth, colour, depth % 3 == 1))
put('image', 'wide.png', png(120, 90, 8, 2))
put('image', 'text.png', png(8, 8, 8, 2, before=chunk(b'tEXt', b'a\0b')
    + chunk(b'zTXt', b'k\0\0' + zlib.compress(b'x' * 9000)) + chunk(b'tRNS', bytes(6))
    + chunk(b'gAMA', b'\0\0\xb1\x8f')))
for k, body in {'1': '0 1 1 0 1 0', '2': '0 9 11 3 2 1', '3': ' '.join(str(i % 12) for i in range(18))}.items():
    put('image', f'ascii{k}.pnm', f'P{k}\n# made\n3 2\n' + ('' if k == '1' else '11\n') + body + '\n')
put('image', 'p4.pbm', b'P4 9 2\n' + noise(4))
put('image', 'p5.pgm', b'P5 4 3 255\n' + noise(12))
put('image', 'p5-wide.pgm', b'P5 4 3 65535\n' + noise(24))
put('image', 'p6.ppm', b'P6 4 3 1000\n' + noise(72))
for bits, size in itertools.product((1, 4, 8, 16, 24, 32), (12, 40, 52, 56, 108, 124)):
    if size == 12 and bits in (16, 32):
        continue
    row = (7 * bits + 31) // 32 * 4
    table = b''.join(bytes([i * 3 & 255] * 3) + (b'\0' if size > 12 else b'')
        for i in range(1 << bits)) if bits <= 8 else b''
    head = struct.pack('<IHHHH', 12, 7, 5, 1, bits) if size == 12 else struct.pack('<IiiHHIIiiII', size, 7,
        -5 if bits == 24 else 5, 1, bits, 0, row * 5, 0, 0, 0, 0)
    at = 14 + size + len(table)
    put('image', f'b{bits}-h{size}.bmp', struct.pack('<2sIHHI', b'BM', at + row * 5, 0, 0, at)
        + head.ljust(size, b'\0') + table + noise(row * 5))
# run-length coded
rle = bytes([7, 1, 0, 0, 0, 3, 1, 2, 3, 0, 0, 1])
put('image', 'rle8.bmp', struct.pack('<2sIHHI', b'BM', 54 + 1024 + len(rle), 0, 0, 1078)
    + struct.pack('<IiiHHIIiiII', 40, 7, 2, 1, 8, 1, len(rle), 0, 0, 0, 0) + noise(1024) + rle)


def packbits(data):
    return b''.join(bytes([len(data[i:i + 128]) - 1]) + data[i:i + 128] for i in range(0, len(data), 128))


def lzw(data):          # clear code before each 200 bytes: codes stay 9 bits wide
    bits = ''.join(''.join(format(v, '09b') for v in [256, *data[i:i + 200]])
        for i in range(0, len(data), 200)) + format(257, '09b')
    bits += '0' * (-len(bits) % 8)
    return bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))


def tiff(w, h, bits, samples, photometric, compression=1, tile=0, planar=1, order='<', big=False, extra=(),
        orientation=1, predictor=1):
    per_row = (w * bits * samples + 7) // 8
    if tile:
        pieces = [noise((tile * bits * samples + 7) // 8 * tile, i + 1) for i in range(-(-w // tile) * -(-h // tile))]
    elif planar == 2:
        pieces = [noise((w * bits + 7) // 8 * h, i + 1) for i in range(samples)]
    else:
        pieces = [noise(per_row * min(4, h - y), y + 1) for y in range(0, h, 4)]
    code = {1: bytes, 5: lzw, 8: zlib.compress, 32946: zlib.compress, 32773: packbits}[compression]
    pieces = [code(p) for p in pieces]
    word, entry, head = ('Q', 20, 16) if big else ('I', 12, 8)
    tags = {256: (4, [w]), 257: (4, [h]), 258: (3, [bits] * samples), 259: (3, [compression]),
        262: (3, [photometric]), 274: (3, [orientation]), 277: (3, [samples]), 284: (3, [planar]),
            317: (3, [predictor])}
    if photometric == 3:
        tags[320] = (3, [v << 8 for v in noise(3 << bits)])
    if samples in (2, 4) and photometric != 5:
        tags[338] = (3, [2])
    tags.update(extra)
    if tile:
        tags.update({322: (4, [tile]), 323: (4, [tile]), 324: (4, [0] * len(pieces)),
            325: (4, [len(p) for p in pieces])})
    else:
        tags.update({278: (4, [h if planar == 2 else 4]), 273: (4, [0] * len(pieces)),
            279: (4, [len(p) for p in pieces])})
    where = 324 if tile else 273
    size = {3: 2, 4: 4}
    room = (8 if big else 4)
    at = head + (8 if big else 2) + entry * len(tags) + room
    place, data = {}, b''
    for k, (t, v) in sorted(tags.items()):
        if size[t] * len(v) > room:
            place[k] = at + len(data)
            data += bytes(size[t] * len(v))
    first = at + len(data)
    offsets = list(itertools.accumulate([first] + [len(p) for p in pieces]))[:-1]
    tags[where] = (4, offsets)
    out = (b'II' if order == '<' else b'MM') + (struct.pack(order + 'HHHQ', 43, 8, 0, 16) if big
        else struct.pack(order + 'HI', 42, 8))
    out += struct.pack(order + ('Q' if big else 'H'), len(tags))
    blob = bytearray(data)
    for k, (t, v) in sorted(tags.items()):
        value = struct.pack(f'{order}{len(v)}{"H" if t == 3 else "I"}', *v)
        out += struct.pack(f'{order}HH{word}', k, t, len(v))
        if k in place:
            blob[place[k] - at:place[k] - at + len(value)] = value
            out += struct.pack(order + word, place[k])
        else:
            out += value.ljust(room, b'\0')
    return out + struct.pack(order + word, 0) + bytes(blob) + b''.join(pieces)


for i, case in enumerate([(9, 7, 8, 3, 2), (9, 7, 8, 1, 1), (9, 7, 8, 1, 0), (9, 7, 1, 1, 0), (9, 7, 4, 1, 3),
        (9, 7, 8, 1, 3), (9, 7, 8, 4, 5), (9, 7, 16, 3, 2), (9, 7, 16, 1, 1), (9, 7, 8, 4, 2), (9, 7, 8, 2, 1)]):
    for compression in (1, 5, 8, 32773):
        put('image', f't{i}-{compression}.tif', tiff(*case, compression=compression))
put('image', 'tiled.tif', tiff(40, 35, 8, 3, 2, compression=8, tile=16))
put('image', 'planar.tif', tiff(9, 7, 8, 3, 2, planar=2))
put('image', 'big.tif', tiff(9, 7, 8, 3, 2, big=True, compression=5, predictor=2))
put('image', 'turned.tif', tiff(9, 7, 8, 3, 2, order='>', orientation=6))
# the two smallest lossless WebP images there are: one pixel, and one with alpha
for i, body in enumerate((b'/\0\0\0\0\x07\x10\xfd\x8f\xfe\x07"\xa2\xff\x01',
        b'/\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0')):
    vp8 = b'VP8L' + struct.pack('<I', len(body)) + body + b'\0' * (len(body) % 2)
    put('image', f'{i}.webp', b'RIFF' + struct.pack('<I', 4 + len(vp8)) + b'WEBP' + vp8)

# ---- checkpoints: classes that only have the names of torch's ----

def register(module, name, thing):
    parts = module.split('.')
    for i in range(1, len(parts) + 1):
        sys.modules.setdefault('.'.join(parts[:i]), types.ModuleType('.'.join(parts[:i])))
    setattr(sys.modules[module], name, thing)
    return thing


def named(module, name):
    return register(module, name, type(name, (), {'__module__': module}))


STORAGE = {k: named('torch', k + 'Storage') for k in ('Float', 'Double', 'Half', 'BFloat16', 'Long', 'Int', 'Short',
    'Char', 'Byte', 'Bool', 'ComplexFloat', 'QInt8')}
ITEM = {'Float': 4, 'Double': 8, 'Half': 2, 'BFloat16': 2, 'Long': 8, 'Int': 4, 'Short': 2, 'Char': 1, 'Byte': 1,
    'Bool': 1, 'ComplexFloat': 8, 'QInt8': 1}
Parameter = named('torch.nn.parameter', 'Parameter')


def function(module, name):
    def f(*a):
        return None
    f.__module__, f.__qualname__, f.__name__ = module, name, name
    return register(module, name, f)


rebuild, rebuild_parameter = function('torch._utils', '_rebuild_tensor_v2'), function('torch._utils',
    '_rebuild_parameter')


class Tensor:
    def __init__(self, shape, kind='Float', parameter=False, share=None):
        self.shape, self.kind, self.parameter = shape, kind, parameter
        self.count = 1
        for s in shape:
            self.count *= s
        self.raw = noise(self.count * ITEM[kind], len(shape) + 3)
        self.key = share or self

    def __reduce_ex__(self, protocol):
        stride = [1] * len(self.shape)
        for i in reversed(range(len(self.shape) - 1)):
            stride[i] = stride[i + 1] * self.shape[i + 1]
        made = (Store(self.key), 0, tuple(self.shape), tuple(stride), False, collections.OrderedDict())
        return (rebuild_parameter, (Again(made), True, collections.OrderedDict())) if self.parameter else (rebuild,
            made)


class Again:
    def __init__(self, made):
        self.made = made

    def __reduce_ex__(self, protocol):
        return rebuild, self.made


class Store:
    def __init__(self, tensor):
        self.tensor = tensor


def dump(obj, protocol=2, legacy=False):
    keys, out = collections.OrderedDict(), io.BytesIO()

    class P(pickle.Pickler):
        def persistent_id(self, o):
            if isinstance(o, Store):
                key = keys.setdefault(id(o.tensor), (str(len(keys)), o.tensor))[0]
                return ('storage', STORAGE[o.tensor.kind], key, 'cpu', o.tensor.count) + ((None,) if legacy else ())
    P(out, protocol).dump(obj)
    return out.getvalue(), [(k, t) for k, t in keys.values()]


def torch_zip(obj, protocol=2):
    body, stores = dump(obj, protocol)
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_STORED) as z:
        z.writestr('archive/data.pkl', body)
        z.writestr('archive/byteorder', 'little')
        for k, t in stores:
            z.writestr(f'archive/data/{k}', t.raw)
        z.writestr('archive/version', '3\n')
    return out.getvalue()


def torch_legacy(obj, protocol=2):
    body, stores = dump(obj, protocol, True)
    out = pickle.dumps(0x1950a86a20f9469cfc6c, protocol) + pickle.dumps(1001, protocol) + \
        pickle.dumps({'protocol_version': 1001, 'little_endian': True,
            'type_sizes': {'short': 2, 'int': 4, 'long': 4}}, protocol) + body + pickle.dumps([k for k, _ in stores],
            protocol)
    for _, t in stores:
        out += struct.pack('<q', t.count) + t.raw
    return out


def safetensors(items, meta=None):
    at, head, body = 0, {}, b''
    if meta:
        head['__metadata__'] = meta
    for name, kind, shape, size in items:
        head[name] = {'dtype': kind, 'shape': shape, 'data_offsets': [at, at + size]}
        body += noise(size)
        at += size
    text = json.dumps(head).encode()
    text += b' ' * (-len(text) % 8)
    return struct.pack('<Q', len(text)) + text + body


def net(prefix='', width=16, head=0, kind='Float'):
    sd = collections.OrderedDict()

    def conv(n, o, i, k):
        sd[f'{prefix}{n}.weight'] = Tensor((o, i, k, k), kind)

    def bn(n, c):
        for t in ('weight', 'bias', 'running_mean', 'running_var'):
            sd[f'{prefix}{n}.{t}'] = Tensor((c,), kind)
        sd[f'{prefix}{n}.num_batches_tracked'] = Tensor((), 'Long')
    conv('conv1', width, 3, 3)
    bn('bn1', width)
    c = width
    for layer in range(4):
        o = width << layer
        conv(f'layer{layer + 1}.0.conv1', o, c, 3)
        bn(f'layer{layer + 1}.0.bn1', o)
        conv(f'layer{layer + 1}.0.conv2', o, o, 3)
        bn(f'layer{layer + 1}.0.bn2', o)
        if layer:
            conv(f'layer{layer + 1}.0.downsample.0', o, c, 1)
            bn(f'layer{layer + 1}.0.downsample.1', o)
        c = o
    if head:
        for n, o, i in (('fc.0', 8 * width, 8 * width), ('fc.2', head, 8 * width)):
            sd[f'{prefix}{n}.weight'] = Tensor((o, i), kind)
            sd[f'{prefix}{n}.bias'] = Tensor((o,), kind)
    return sd


Meter, Hook = named('utils.misc', 'AverageMeter'), named('mmengine.hooks', 'Hook')
meter = Meter()
meter.__dict__.update(val=1.5, history=[1, 2, 3], name='loss')
anything = {'args': argparse.Namespace(lr=0.03, arch='resnet50', betas=(0.9, 0.999)), 'meter': meter,
    'when': {1, 2, 3}, 'frozen': frozenset([4]), 'raw': b'\0\1\2', 'array': bytearray(b'abc'),
            'long': 1 << 80, 'minus': -(1 << 40), 'complex': 1 + 2j, 'none': None, 'flags': [True, False],
            'text': 'x' * 300, 'counter': collections.Counter('aab'), 'dd': collections.defaultdict(list, a=[1]),
            'deque': collections.deque([1, 2]), 'range': range(3),
            'path': __import__('pathlib').PurePosixPath('/a/b'), 'date': __import__('datetime').datetime(2020, 1, 2)}
few = collections.OrderedDict((f'layer{i}.weight', Tensor((2, 3), k, i % 2 == 1)) for i, k in enumerate(STORAGE))
few['shared'] = few['again'] = Tensor((4,))
few['view'] = Tensor((2, 2), share=few['shared'])
for protocol in (2, 3, 4, 5):
    everything = {'epoch': 3, 'state_dict': few, **anything}
    for target in ('torch', 'model'):
        put(target, f'all-{protocol}.pth', torch_zip(everything, protocol))
        put(target, f'all-{protocol}-legacy.pth', torch_legacy(everything, protocol))
kinds = [('F32', 4), ('F64', 8), ('F16', 2), ('BF16', 2), ('I64', 8), ('I32', 4), ('I16', 2), ('I8', 1), ('U8', 1),
    ('BOOL', 1), ('F8_E4M3', 1), ('F8_E5M2', 1), ('U16', 2), ('U32', 4), ('U64', 8), ('C64', 8)]
for target in ('safetensors', 'model'):
    put(target, 'kinds.safetensors', safetensors([(f'a.{k}', k, [2, 3], 6 * n) for k, n in kinds]
        + [('none', 'F32', [0, 4], 0), ('scalar', 'F32', [], 4)], {'format': 'pt', 'arch': 'resnet10 width=16'}))
put('model', 'tiny.pth', torch_zip(net(kind='Half')))
put('model', 'simsiam.pth', torch_zip({'epoch': 1, 'state_dict': net('module.encoder.', kind='Half'), **anything}))
put('model', 'se.pth',
    torch_zip({'state_dict': collections.OrderedDict([*net(kind='Half').items(),
    ('layer1.0.se.fc1.weight', Tensor((2, 16, 1, 1)))])}, 4))


def efficientnet(scheme):
    """B0's names, of weights that have the shapes by which it is known and as few values as that takes."""
    out, items = [], [('classifier.weight', 'F32', [3, 0], 0)]
    stem, head = {'timm': (['conv_stem', 'bn1'], ['conv_head', 'bn2']),
        'lukemelas': (['_conv_stem', '_bn0'], ['_conv_head', '_bn1']),
        'torchvision': (['features.0.0', 'features.0.1'], ['features.8.0', 'features.8.1'])}[scheme]
    for stage, (blocks, c) in enumerate(zip((1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320))):
        for b in range(blocks):
            dw, se, pw = {'timm': (f'blocks.{stage}.{b}.conv_dw', f'blocks.{stage}.{b}.se.conv_reduce',
                f'blocks.{stage}.{b}.conv_pw' + ('l' if stage else '')),
                'lukemelas': tuple(f'_blocks.{len(out)}.{n}' for n in ('_depthwise_conv', '_se_reduce',
                    '_project_conv')),
                'torchvision': tuple(f'features.{stage + 1}.{b}.block.{n + (stage > 0)}{t}' for n, t in ((0, '.0'),
                    (1, '.fc1'), (2, '.0')))}[scheme]
            out.append(dw)
            items += [(dw + '.weight', 'F32', [32, 1, 0, 0], 0), (se + '.weight', 'F32', [8, 0, 1, 1], 0),
                (pw + '.weight', 'F32', [c, 0, 1, 1], 0)]
    return items + [(stem[0] + '.weight', 'F16', [32, 3, 3, 3], 1728), (stem[1] + '.weight', 'F16', [32], 64),
        (head[0] + '.weight', 'F32', [1280, 0, 1, 1], 0), (head[1] + '.weight', 'F32', [0], 0)]


for scheme in ('timm', 'lukemelas', 'torchvision'):
    put('model', f'efficientnet-{scheme}.safetensors',
        safetensors(efficientnet(scheme), {'arch': 'tf_efficientnet_b0'}))
put('model', 'numbered.safetensors', safetensors([(n.replace('blocks.', '2.').replace('conv_stem', '0').replace(
    'bn1', '1').replace('conv_head', '3').replace('bn2', '4'), *rest) for n, *rest in efficientnet('timm')]))
put('model', 'mobilenet.safetensors', safetensors([('features.1.block.0.0.weight', 'F32', [16, 1, 0, 3], 0)]))
sd = collections.OrderedDict([('module.queue', Tensor((8, 16))), ('module.queue_ptr', Tensor((1,), 'Byte'))])
sd.update(net('module.encoder_q.', head=8, kind='Half'))
sd.update(net('module.encoder_k.', head=8, kind='Half'))
params = [t for k, t in sd.items() if 'encoder_q' in k and not k.rsplit('.', 1)[1].startswith(('running', 'num'))]
optimizer = {'state': {i: {'momentum_buffer': Tensor(t.shape, 'Half')} for i, t in enumerate(params)},
    'param_groups': [{'lr': 0.03, 'params': list(range(2 * len(params)))}]}
put('resume', 'moco.pth', torch_zip({'epoch': 1, 'arch': 'resnet10', 'state_dict': sd, 'optimizer': optimizer}))
put('resume', 'small.pth', torch_zip({'epoch': 1,
    'state_dict': collections.OrderedDict([('module.queue', Tensor((8, 16))),
    ('module.queue_ptr', Tensor((1,), 'Byte'))]), 'hpt': {'step': 2, 'format': 1, 'filled': 16}}))

# ---- arrays ----

def idx(shape):
    n = 1
    for s in shape:
        n *= s
    return struct.pack('>HBB', 0, 8, len(shape)) + struct.pack(f'>{len(shape)}I', *shape) + noise(n)


for name, shape in {'labels': (40,), 'images': (20, 8, 8), 'rgb': (3, 8, 8, 3)}.items():
    put('idx', name, idx(shape))
    put('idx', name + '.gz', gzip.compress(idx(shape), mtime=0))


def npy(shape, descr='|u1', fortran=False, version=1):
    n = int(descr[-1])
    for s in shape:
        n *= s
    h = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    h += ' ' * (-(len(h) + 11) % 64) + '\n'
    return b'\x93NUMPY' + bytes([version, 0]) + struct.pack('<H' if version == 1 else '<I',
        len(h)) + h.encode() + noise(n)


for i, (images, labels) in enumerate([(npy((6, 8, 8, 3)), npy((6,), '<i8')), (npy((6, 8, 8)), npy((6, 1))),
        (npy((6, 8, 8, 1), fortran=True), npy((6, 3), '|i1', version=2)), (npy((6, 3, 8, 8)), npy((6,), '<f4'))]):
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        out = io.BytesIO()
        with zipfile.ZipFile(out, 'w', method) as z:
            z.writestr('images.npy', images)
            z.writestr('labels.npy', labels)
        put('npz', f'{i}-{method}.npz', out.getvalue())


def mat_element(kind, data):
    return struct.pack('<II', kind, len(data)) + data + b'\0' * (-len(data) % 8)


def mat_array(name, kind, data, n):
    return mat_element(14, mat_element(6, struct.pack('<II', 6, 0)) + mat_element(5, struct.pack('<ii', 1, n))
        + mat_element(1, name) + mat_element(kind, data))


for packed in (0, 1):
    body = b''
    for name, kind, data, n in ((b'other', 9, bytes(80), 10), (b'labels', 2, noise(30), 30)):
        e = mat_array(name, kind, data, n)
        if packed:
            e = zlib.compress(e)
            e = struct.pack('<II', 15, len(e)) + e
        body += e
    put('mat', f'{packed}.mat', b'MATLAB 5.0 MAT-file'.ljust(124) + struct.pack('<H', 0x100) + b'IM' + body)

# ---- text ----

for target in ('list', 'csv'):
    for name, text in {'plain': 'a.png 0\na.png 1\n', 'tabs': 'a.png\t3\n', 'bom': '\ufeffa.png 0\r\na.png 1\r\n',
            'multi': 'a.png 0,1,1\na.png 1,0,0\n', 'quoted': '"a.png",0\n"a.png",1\n',
                       'names': 'a.png,cat\na.png,dog\n', 'header': 'filename,label\na.png,1\n',
                       'header-names': 'label,path\ncat,a.png\n', 'bare': '# list\n\na.png\na.png\n',
                       'blank': './a.png 1\n',
                       'columns': 'image,cat,dog\na.png,0,1\na.png,1,0\n',
                       'doubled': '"a.png","say ""cat"""\n'}.items():
        put(target, name, text)
put('voc', 'one.xml',
    '<?xml version="1.0"?>\n<!DOCTYPE a>\n<annotation><!-- made '
    '--><folder>x</folder><object><name>cat</name><difficult>0</difficult><part><name>head</name></part>'
    '<bndbox><xmin>1</xmin></bndbox></object><object><name>\n dog '
    '</name><difficult>1</difficult></object></annotation>\n')
put('truth_voc', 'one.xml', '<annotation><size><width>9</width><height>8</height></size><object><name>cat</name>'
    '<difficult>0</difficult><part><name>head</name></part><bndbox><ymax>7</ymax><xmin>1</xmin><ymin>2.5</ymin>'
    '<xmax>6</xmax></bndbox></object></annotation>')
put('truth_csv', 'sizes',
    'image,class,x,y,width,height,difficult\na.jpg,dog,1,2,3,4,0\n"b.jpg","c""t",1,2,3,4,\nc.jpg,,,,,,\n')
put('truth_csv', 'edges', 'filename,width,height,class,xmin,ymin,xmax,ymax,crowd\na.jpg,9,9,7,1,2,3.5,4,1\n')
put('voc_list', 'list', 'a\na 1\n')
coco = {'info': {'year': 2014}, 'images': [{'id': i, 'file_name': 'a.jpg', 'width': 3} for i in range(3)],
    'categories': [{'id': i * 3, 'name': f'c{i}'} for i in range(4)],
        'annotations': [{'id': i, 'image_id': i, 'category_id': 3 * i, 'bbox': [1, 2.5, 3e2, -4]} for i in range(3)]}
put('coco', 'one.json', json.dumps(coco))
put('coco', 'other-order.json', json.dumps(dict(reversed(coco.items())), indent=1))
put('json', 'coco.json', json.dumps(coco))
put('json', 'words.json', '{"a": [null, true, false, -1.5e-3, 0, "\\u00e9\\ud83d\\ude00\\n"], "b": {}, "c": [[]]}')
put('bdd', 'one.json',
    json.dumps([{'name': 'a.jpg', 'attributes': {'weather': w, 'scene': 'x'}, 'labels': [{'id': 1}]}
    for w in ('clear', 'snowy', 'undefined')]))
frame = {'images': [{'id': 1, 'width': 12, 'height': 9}, {'id': 7, 'width': 5, 'height': 4, 'file_name': 'b.jpg'}],
    'categories': [{'id': 2, 'name': 'a'}, {'id': 90, 'name': 'b'}]}
shapes = [[[1, 1, 9.5, 2, 6, 7.25]], [[0, 0, 4, 0, 4, 3, 0, 3], [5, 5, 8, 5, 8, 8]],
    {'size': [9, 12], 'counts': [3, 4, 101]}, {'size': [9, 12], 'counts': 'm0450000000R1'}]
marks = [{'id': i, 'image_id': 1, 'category_id': (2, 90)[i % 2], 'iscrowd': i // 3, 'area': 6.5,
    'bbox': [i, 2, 3.5, 4], 'segmentation': s} for i, s in enumerate(shapes)]
found = [{'image_id': 1, 'category_id': 2, 'score': .5 + i / 9, 'bbox': [i, 2, 3, 4],
    'segmentation': {'size': [9, 12], 'counts': [10 + i, 20, 78 - i]}} for i in range(3)]
put('boxes', 'boxes', json.dumps({**frame, 'annotations': marks}) + '\n' + json.dumps(found))
put('boxes', 'none', json.dumps({**frame, 'annotations': []}) + '\n[]')
put('boxes', 'string', json.dumps({**frame, 'annotations': marks[3:]}) + '\n' + json.dumps([{**found[0],
    'segmentation': {'size': [9, 12], 'counts': 'm0450000000R1'}}]))
corners = {'x1': 1, 'y1': 2, 'x2': 3.5, 'y2': 4}
put('boxes', 'frames', json.dumps({'frames': [{'name': 'a.jpg', 'labels': [{'category': 'car',
    'attributes': {'crowd': 0}, 'box2d': corners}, {'category': 'lane'}]}, {'name': 'b.jpg', 'labels': None}]}) + '\n' +
    json.dumps([{'image_id': 'a', 'category_id': 'car', 'score': 1, 'bbox': [1, 2, 3, 4]}]))
put('boxes', 'first', json.dumps([{'name': 'a.jpg', 'labels': [{'category': 'bike', 'box2d': corners}]}]) + '\n[]')
names = 'Path,Sex,Atelectasis,Cardiomegaly,Consolidation,Edema,Pleural Effusion\n'
put('chexpert', 'one.csv', names + 'CheXpert-v1.0-small/a.jpg,Male,1.0,0.0,-1.0,,1.0\n"a.jpg",F,0,1,,,\n')
put('descriptor', 'own.ini',
    '[dataset]\nname = shop\ntitle = My shop\nclasses = 3\nlabels = one\nroot = data\ntrain = train\nval = '
    'val.txt\ntest = test\nimages = 10,2,3\nmean = 0.1,0.2,0.3\nstd = 0.2,0.2,0.2\nlabel_map = 1.0=1,=0\n')
put('recipe', 'whole.ini', '''[recipe]
name = try
out = out
seeds = 1,2
[options]
image_size = 32
[template base]
arch = resnet10
width = 16
[data t]
path = /nowhere/train
[data few]
from = t
sweep.per_class = 1,5
[pretrain p]
like = base
data = t
init = random
steps = 10
sweep.lr = 0.03,
 0.1
variant.plain = aug_gray=0 aug_jitter=0
variant.full =
[linear l]
model = p
train = few
test = t
[choose best]
of = l
over = lr
[similarity s]
of = p
metric = rv2
data = t
[table one]
stages = l[lr=0.1], l
[plot two]
kind = bars
stages = l
[finding three]
claim = more is better
left = l[lr=0.1]
right = l[lr=0.03]
''')
put('state', 'bad-sum', b'hptstate' + struct.pack('<QQQQ', 1, 3, 24, 0) + b'{}\0' + bytes(24))
put('state', 'short', b'hptstate')
