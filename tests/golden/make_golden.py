#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checkpoints as other projects write them, by those projects' own code: tests/golden/*.gz, golden.json and the table
in docs/checkpoints.md.

usage: make_golden.py [HPT]     in the project's root; HPT: the program (bin/hpt), asked what each file was recognised
    as
needs: torch torchvision timm lightly pytorch-lightning; solo-learn (pip install --no-deps, with scipy scikit-learn
    pandas einops wandb) if it is there

The classes, names, dictionaries and pickles are the projects' own; only the widths are divided by four (in the source
of the class, so that files stay small) and the numbers are a short periodic sequence (so that they compress).
golden.json holds, for each file, what libhpt must find and some values, taken from the living network by its
attributes and not by the names in the file."""
import argparse, copy, gzip, inspect, json, logging, os, re, subprocess, sys, tempfile, types, warnings
import torch, torch.nn as nn, torchvision, timm, lightly, pytorch_lightning as pl
import timm.models.resnet as timm_resnet
import torchvision.models.resnet as tv_resnet
from lightly.models import ResNetGenerator
from lightly.models.modules import (BYOLPredictionHead, BYOLProjectionHead, DINOProjectionHead, MoCoProjectionHead,
                                     SimCLRProjectionHead)
from lightly.models.utils import deactivate_requires_grad
from timm.utils import CheckpointSaver, ModelEmaV3

warnings.filterwarnings('ignore')
logging.getLogger('pytorch_lightning').setLevel(logging.ERROR)
HERE, DOCS = 'tests/golden', 'docs/checkpoints.md'
torch.manual_seed(1)

# ---- small networks ----

def thin(module, cls, rules):
    """cls with the numbers of its source changed."""
    source = inspect.getsource(cls)
    for old, new in rules:
        source, n = re.subn(old, new, source)
        assert n, old
    space = dict(vars(module))
    exec(source, space)
    return space[cls.__name__]

TV = thin(tv_resnet, tv_resnet.ResNet, [(r'self\.inplanes = 64', 'self.inplanes = 16'), (r'block, 64,', 'block, 16,'),
    (r'block, 128,', 'block, 32,'),
                                        (r'block, 256,', 'block, 64,'), (r'block, 512,', 'block, 128,'),
                                        (r'512 \* block', '128 * block')])
TIMM = thin(timm_resnet, timm_resnet.ResNet,
    [(r'else 64\b', 'else 16'), (r'\(64, 128, 256, 512\)', '(16, 32, 64, 128)')])
def tv18(**k): return TV(tv_resnet.BasicBlock, [2, 2, 2, 2], **k)
def tv10(**k): return TV(tv_resnet.BasicBlock, [1, 1, 1, 1], **k)
def tv50(**k): return TV(tv_resnet.Bottleneck, [3, 4, 6, 3], **k)
def timm10(block=timm_resnet.BasicBlock, **k): return TIMM(block, [1, 1, 1, 1], num_classes=10, **k)

def pattern(module, start):
    """Numbers of period 251, other ones for each tensor."""
    seq = torch.sin(torch.arange(251, dtype=torch.float64) * 1.7).float()
    for i, t in enumerate(list(module.parameters()) + list(module.buffers()) if isinstance(module, nn.Module)
            else module):
        if not t.is_floating_point(): continue
        n, at = t.numel(), (start + 37 * i) % 251
        x = seq.repeat((n + at) // 251 + 1)[at:at + n].reshape(t.shape)
        t.data.copy_(x.abs() + 0.5 if t.ndim == 1 else x)
    return module
def train(model, optimizer):
    """One step, so that optimizer, scheduler and callbacks have a state; then the numbers are made periodic again."""
    model(torch.zeros(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    for s in optimizer.state.values(): pattern([v for v in s.values() if torch.is_tensor(v) and v.ndim], 5)
    return optimizer

# ---- what is written ----

FILES = []
def golden(name, producer, how, write, reference, **expect):
    """write(path) makes the file; reference: the backbone as torch module (None: refused, expect says=a word of the
    reason)."""
    path = os.path.join(tempfile.mkdtemp(), name)
    write(path)
    with open(path, 'rb') as f: data = f.read()
    with open(f'{HERE}/{name}.gz', 'wb') as f, gzip.GzipFile(filename='', mode='wb', fileobj=f, compresslevel=9,
            mtime=0) as z:
        z.write(data)
    entry = dict(file=name, producer=producer, how=how, **expect)
    if reference is not None:
        r = reference
        entry['width'], entry['stem'] = r.conv1.weight.shape[0], 'small' if r.conv1.weight.shape[2] == 3 else 'imagenet'
        last = r.layer4[-1]
        down = r.layer3[0].downsample if hasattr(r.layer3[0], 'downsample') else r.layer3[0].shortcut
        bottleneck = hasattr(last, 'conv3')
        picks = {'conv1.weight': r.conv1.weight, 'bn1.running_mean': r.bn1.running_mean,
            'layer1.0.conv2.weight': r.layer1[0].conv2.weight,
                 'layer2.0.bn1.bias': r.layer2[0].bn1.bias, 'layer3.0.downsample.0.weight': down[0].weight,
                 'layer3.0.downsample.1.running_var': down[1].running_var,
                 f'layer4.{len(r.layer4) - 1}.conv{3 if bottleneck else 2}.weight': last.conv3.weight if bottleneck
                 else last.conv2.weight}
        entry['values'] = [[k, i, float(t.detach().reshape(-1)[i])] for k, t in picks.items()
            for i in (0, t.numel() // 3, t.numel() - 1)]
        entry['sizes'] = {k: t.numel() for k, t in picks.items()}
    FILES.append(entry)
    print(f'{name:32} {len(data):9} bytes, {os.path.getsize(f"{HERE}/{name}.gz"):7} compressed')

def save(obj, **k): return lambda path: torch.save(obj, path, **k)
ARGS = argparse.Namespace(lr=0.03, arch='resnet18', milestones=[120, 160], output=None)

def of_torchvision():
    P = f'torchvision {torchvision.__version__.split("+")[0]}'
    m = pattern(tv18(), 1)
    golden('torchvision-resnet18.pth', P, 'state_dict()', save(m.state_dict()), m, arch='resnet18', prefix='')
    golden('torchvision-legacy.pth', P, 'state_dict(), legacy stream',
        save(m.state_dict(), _use_new_zipfile_serialization=False), m, arch='resnet18', prefix='')
    m = pattern(tv50(), 2)
    golden('torchvision-resnet50.pth', P, 'state_dict()', save(m.state_dict()), m, arch='resnet50', prefix='')
    m = pattern(tv10(num_classes=10), 3)
    ema = torch.optim.swa_utils.AveragedModel(m, device='cpu')
    pattern(ema, 60)
    opt = train(m, torch.optim.SGD(m.parameters(), 0.1, momentum=0.9))
    pattern(m, 3)
    sched = torch.optim.lr_scheduler.MultiStepLR(opt, [30, 60])
    golden('torchvision-references.pth', P, 'reference training script: model, model_ema, optimizer, args', save(
        {'model': m.state_dict(), 'optimizer': opt.state_dict(), 'lr_scheduler': sched.state_dict(), 'epoch': 3,
        'args': ARGS, 'model_ema': ema.state_dict()}),
        ema.module, arch='resnet10', prefix='model_ema/module.')
    golden('torchvision-resnext.pth', P, 'state_dict() of a ResNeXt',
        save(pattern(TV(tv_resnet.Bottleneck, [3, 4, 6, 3], groups=4, width_per_group=32), 4).state_dict()), None,
        says='ResNeXt')

def of_torch():
    P = f'torch {torch.__version__.split("+")[0]}'
    m = pattern(tv10(num_classes=10), 5)
    golden('torch-compile.pth', P, 'torch.compile(model).state_dict()',
        save({'state_dict': torch.compile(m).state_dict()}), m, arch='resnet10', prefix='state_dict/_orig_mod.')
    golden('torch-compile-parallel.pth', P, 'torch.compile(DataParallel(model))',
        save({'net': torch.compile(nn.DataParallel(m)).state_dict(), 'acc': 93.1, 'epoch': 7}), m,
           arch='resnet10', prefix='net/_orig_mod.module.')
    class SimSiam(nn.Module):           # names of the original program
        def __init__(self):
            super().__init__()
            self.encoder = tv10(num_classes=64)
            self.encoder.fc = nn.Sequential(nn.Linear(128, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(),
                nn.Linear(128, 64), nn.BatchNorm1d(64, affine=False))
            self.predictor = nn.Sequential(nn.Linear(64, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(),
                nn.Linear(16, 64))
    s = nn.DataParallel(pattern(SimSiam(), 6))
    golden('simsiam-like.pth.tar', P, 'SimSiam: epoch, arch, state_dict, optimizer', save(
        {'epoch': 1, 'arch': 'resnet50', 'state_dict': s.state_dict(),
        'optimizer': torch.optim.SGD(s.parameters(), 0.05, momentum=0.9).state_dict()}),
        s.module.encoder, arch='resnet10', prefix='state_dict/module.encoder.')
    class Wrapper(nn.Module):           # DINO's MultiCropWrapper
        def __init__(self, head):
            super().__init__()
            self.backbone, self.head = tv10(), head
            self.backbone.fc = nn.Identity()
    student, teacher = (pattern(Wrapper(DINOProjectionHead(128, 64, 32, 48)), k) for k in (7, 90))
    golden('dino-like.pth', P, 'DINO: student, teacher, optimizer, epoch, args, fp16_scaler, dino_loss', save(
        {'student': nn.DataParallel(student).state_dict(), 'teacher': teacher.state_dict(),
        'optimizer': torch.optim.AdamW(student.parameters()).state_dict(), 'epoch': 2,
         'args': ARGS, 'fp16_scaler': None, 'dino_loss': {'center': torch.zeros(1, 48)}}), teacher.backbone,
         arch='resnet10', prefix='teacher/backbone.')
    class Barlow(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = tv10()
            self.backbone.fc = nn.Identity()
            self.projector = nn.Sequential(nn.Linear(128, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
                nn.Linear(64, 64, bias=False))
            self.bn = nn.BatchNorm1d(64, affine=False)
    b = pattern(Barlow(), 8)
    golden('barlow-like.pth', P, 'Barlow Twins: epoch, model, optimizer',
        save({'epoch': 1, 'model': nn.DataParallel(b).state_dict(), 'optimizer': {}}), b.backbone,
           arch='resnet10', prefix='model/module.backbone.')

def of_timm():
    P = f'timm {timm.__version__}'
    def saver(m, ema):
        def write(path):
            where = tempfile.mkdtemp()
            opt = train(m, torch.optim.SGD(m.parameters(), 0.1, momentum=0.9))
            pattern(m, 10)
            args = argparse.Namespace(model='resnet10', lr=0.1, amp=False)
            CheckpointSaver(m, opt, args=args, model_ema=ema, checkpoint_dir=where,
                recovery_dir=where).save_checkpoint(4, metric=71.5)
            os.rename(where + '/last.pth.tar', path)
        return write
    m = pattern(timm10(), 10)
    golden('timm-train.pth.tar', P, 'training script: state_dict, optimizer, args', saver(m, None), m,
        arch='resnet10', prefix='state_dict/')
    m = pattern(timm10(), 10)
    ema = ModelEmaV3(m)
    pattern(ema, 120)
    golden('timm-train-ema.pth.tar', P, 'the same with --model-ema', saver(m, ema), ema.module, arch='resnet10',
        prefix='state_dict_ema/')
    B = timm_resnet.BasicBlock
    for name, how, word, m in (('se', 'SE-ResNet', 'SE-ResNet', timm10(block_args=dict(attn_layer='se'))),
            ('eca', 'ECA-ResNet', 'ECA-ResNet', timm10(block_args=dict(attn_layer='eca'))),
                          ('d', 'ResNet-D', 'deep stem', timm10(stem_type='deep', stem_width=8, avg_down=True)),
                          ('avgdown', 'ResNet with averaging shortcuts', 'ResNet-D', timm10(avg_down=True)),
                          ('groupnorm', 'ResNet with group norm', 'group norm',
                          timm10(norm_layer=lambda c, **k: nn.GroupNorm(4, c)))):
        golden(f'timm-{name}.pth', P, how, save(pattern(m, 11).state_dict()), None, says=word)

class Lit(pl.LightningModule):
    def __init__(self, **parts):
        super().__init__()
        for k, v in parts.items(): setattr(self, k, v)
    def training_step(self, batch, batch_idx): return self.backbone(batch[0]).sum() * 0
    def configure_optimizers(self): return torch.optim.SGD(self.parameters(), 0.06, momentum=0.9)
def lightning(module, numbers):
    """One step of the trainer, then its own checkpoint."""
    def write(path):
        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(4, 3, 32, 32)), 2)
        t = pl.Trainer(max_steps=1, accelerator='cpu', logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False)
        t.fit(module, data)
        numbers()
        for o in t.optimizers:
            for s in o.state.values(): pattern([v for v in s.values() if torch.is_tensor(v) and v.ndim], 5)
        t.save_checkpoint(path)
    return write

def of_lightly():
    P = f'lightly {lightly.__version__}'
    r = tv18()
    body = nn.Sequential(*list(r.children())[:-1])
    lit = Lit(backbone=body, projection_head=SimCLRProjectionHead(128, 64, 32))
    golden('lightly-simclr.ckpt', P, 'SimCLR example: Sequential of torchvision\'s children, Lightning',
        lightning(lit, lambda: pattern(lit, 13)), r, arch='resnet18', prefix='state_dict/backbone.')
    r = ResNetGenerator('resnet-9', width=0.25)
    body = nn.Sequential(*list(r.children())[:-1], nn.AdaptiveAvgPool2d(1))
    lit = Lit(backbone=body, projection_head=MoCoProjectionHead(128, 128, 32))
    lit.backbone_momentum, lit.projection_head_momentum = copy.deepcopy(body), copy.deepcopy(lit.projection_head)
    deactivate_requires_grad(lit.backbone_momentum)
    golden('lightly-moco.ckpt', P, 'MoCo example: its own CIFAR ResNet, Lightning',
        lightning(lit, lambda: pattern(lit, 14)), r, arch='resnet10', prefix='state_dict/backbone.')
    t, s = tv10(), tv10()
    lit = Lit(teacher_backbone=nn.Sequential(*list(t.children())[:-1]),
        student_backbone=nn.Sequential(*list(s.children())[:-1]),
              student_head=DINOProjectionHead(128, 32, 16, 24), teacher_head=DINOProjectionHead(128, 32, 16, 24))
    lit.training_step = lambda batch, batch_idx: lit.student_backbone(batch[0]).sum() * 0
    golden('lightly-dino.ckpt', P, 'DINO example, Lightning', lightning(lit, lambda: pattern(lit, 15)), t,
        arch='resnet10', prefix='state_dict/teacher_backbone.')

def of_solo():
    try:
        for name in ('pl_bolts', 'pl_bolts.optimizers', 'pl_bolts.optimizers.lr_scheduler'):
            sys.modules[name] = types.ModuleType(name)
        sys.modules['pl_bolts.optimizers.lr_scheduler'].LinearWarmupCosineAnnealingLR = object
        import importlib.metadata, solo.methods as methods
    except ImportError as e:
        return print('no solo-learn:', e)
    P = f'solo-learn {importlib.metadata.version("solo-learn")}'
    torchvision.models.resnet18 = lambda pretrained=False, **k: tv18(**k)
    k = dict(encoder='resnet18', num_classes=10, backbone_args=dict(cifar=False, zero_init_residual=False),
        max_epochs=2, batch_size=2, optimizer='sgd', lars=False, lr=0.1, weight_decay=0.,
             classifier_lr=0.1, exclude_bias_n_norm=False, accumulate_grad_batches=1, extra_optimizer_args={},
             scheduler='none', min_lr=0., warmup_start_lr=0., warmup_epochs=0,
             num_large_crops=2, num_small_crops=0, proj_output_dim=32, proj_hidden_dim=64, temperature=0.2)
    def fit(m):     # its training step needs its own loaders; a step of the encoder does for the optimizer
        m.training_step = lambda batch, batch_idx: m.encoder(batch[0]).sum() * 0
        m.validation_epoch_end = m.training_epoch_end = m.test_epoch_end = None      # hooks that Lightning 2 refuses
        m.on_train_start = m.on_train_batch_end = lambda *a, **k: None
        m.configure_optimizers = lambda: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9)
        return m
    m = fit(methods.SimCLR(**k))
    golden('solo-simclr.ckpt', P, 'SimCLR, Lightning', lightning(m, lambda: pattern(m, 16)), m.encoder,
        arch='resnet18', prefix='state_dict/encoder.')
    m2 = fit(methods.MoCoV2Plus(queue_size=16, base_tau_momentum=0.99, final_tau_momentum=1.,
        momentum_classifier=False, **k))
    golden('solo-mocov2plus.ckpt', P, 'MoCo v2+ (with momentum encoder and queue), Lightning',
        lightning(m2, lambda: pattern(m2, 17)), m2.encoder, arch='resnet18', prefix='state_dict/encoder.')

def table(hpt):
    rows = ['| producer | what | network and prefix as `hpt info` shows them |', '|---|---|---|']
    for e in FILES:
        with tempfile.TemporaryDirectory() as d:
            with gzip.open(f'{HERE}/{e["file"]}.gz') as z, open(f'{d}/{e["file"]}', 'wb') as f: f.write(z.read())
            j = json.loads(subprocess.run([hpt, 'info', '--json', f'{d}/{e["file"]}'], check=True,
                capture_output=True).stdout)
        why = j.get('refused', '').split('; unused=')[0]
        rows.append(f'| {e["producer"]} | {e["how"]} | '
            + (f'{j["arch"]}, `{j["prefix"] or "none"}`, {j["naming"]}' if j['loads'] else f'refused: {why}') + ' |')
    with open(DOCS) as f: text = f.read()
    begin, end = '<!-- made by tests/golden/make_golden.py -->\n', '<!-- end -->'
    assert begin in text, DOCS
    with open(DOCS, 'w') as f:
        f.write(text[:text.index(begin) + len(begin)] + '\n'.join(rows) + '\n' + text[text.index(end):])

if __name__ == '__main__':
    for f in (of_torchvision, of_torch, of_timm, of_lightly, of_solo): f()
    with open(f'{HERE}/golden.json', 'w') as f: f.write('[\n' + ',\n'.join(json.dumps(e) for e in FILES) + '\n]\n')
    table(sys.argv[1] if len(sys.argv) > 1 else 'bin/hpt')
