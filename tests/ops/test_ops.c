/* SPDX-License-Identifier: MIT
 * Every operation of every backend against the reference (ops.c), and docs/operations.md, which is made of their
 * lists. The cuda backend: tests/gpu/test_device.c. */
#include "backend/op.h"
#include "core/context.h"
#include "ops.h"
#include "support.h"

/* The reference in double against itself proves nothing about values (test_kernels.c does, by PyTorch), but that in
 * place and float are right. */
TEST(ops_reference) {
    hpt_context *c = context("reference", 1);
    ops_against_reference(c->be, c->dev, c->dev, HPT__F64);
    ops_against_reference(c->be, c->dev, c->dev, HPT__F32);
}
TEST_LIMIT(ops_onednn, 300) {
    hpt_context *two = fast_context(), *one = context("onednn", 1);
    ops_against_reference(two->be, two->dev, one->dev, HPT__F32);
}
TEST_LIMIT(ops_onednn_bf16, 300) {
    hpt_context *two = fast_context(), *one = context("onednn", 1);
    if (!two->be->device.supports(two->dev, HPT__BF16)) SKIP("no bf16 on this processor");
    ops_against_reference(two->be, two->dev, one->dev, HPT__BF16);
}
