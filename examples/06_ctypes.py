#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""06: libhpt from Python with nothing but ctypes: structs and calls are declared by hand, as far as they are used.

usage: 06_ctypes.py [path to libhpt.so]"""
import ctypes as C, os, sys

here = os.path.dirname(os.path.abspath(__file__))
lib = C.CDLL(sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, '..', 'lib', 'libhpt.so'))
lib.hpt_last_error.restype = lib.hpt_status_name.restype = lib.hpt_version_string.restype = C.c_char_p

class StepInfo(C.Structure):         # hpt_step_info of hpt.h; a test compares
    _fields_ = [
        ('struct_size', C.c_uint32),
        ('queue_fill', C.c_uint32),
        ('step', C.c_uint64),
        ('steps', C.c_uint64),
        ('epoch', C.c_uint64),
        ('loss', C.c_double),
        ('chance', C.c_double),
        ('acc1', C.c_double),
        ('acc5', C.c_double),
        ('z_std', C.c_double),
        ('lr', C.c_double),
        ('wait_ms', C.c_double),
        ('step_ms', C.c_double),
        ('skipped', C.c_uint32),
        ('stopped', C.c_int32),
        ('monitor', C.c_double),
        ('monitor_best', C.c_double),
        ('monitor_step', C.c_uint64),
        ('monitor_best_step', C.c_uint64),
        ('entropy', C.c_double),
        ('entropy_loss', C.c_double)]

def ok(status):
    if status < 0:
        raise RuntimeError(f'{lib.hpt_status_name(status).decode()}: {lib.hpt_last_error().decode()}')
    return status

def handle(create, *args):
    h = C.c_void_p()
    ok(create(*args, C.byref(h)))
    return h

cfg = handle(lib.hpt_config_create, None)
for key, value in dict(arch='resnet10', width='16', stem='small', image_size='16', batch_size='8', bn_group='0',
        moco_k='32', steps='3').items():
    ok(lib.hpt_config_set(cfg, key.encode(), value.encode()))
ctx = handle(lib.hpt_context_create, cfg)
pixels = bytes(i * 37 % 251 for i in range(16 * 20 * 20 * 3))
data = handle(lib.hpt_dataset_from_memory, ctx, cfg, pixels, C.c_uint64(16), 20, 20, 3, None)
model = handle(lib.hpt_model_create, ctx, cfg)
session = handle(lib.hpt_session_create, ctx, cfg, model, data)
info = StepInfo(struct_size=C.sizeof(StepInfo))
while ok(lib.hpt_session_step(session, C.byref(info))) == 0:
    print(f'step {info.step}: loss {info.loss:.3f}, chance {info.chance:.3f}')
assert info.step == 3 and info.loss > 0
try:
    ok(lib.hpt_config_set(cfg, b'moco_kk', b'1'))
    sys.exit('an unknown option was accepted')
except RuntimeError as e:
    print(e)
for destroy, h in ((lib.hpt_session_destroy, session), (lib.hpt_model_destroy, model),
        (lib.hpt_dataset_destroy, data), (lib.hpt_context_destroy, ctx), (lib.hpt_config_destroy, cfg)):
    destroy(h)
print('libhpt', lib.hpt_version_string().decode(), 'from Python: fine')
