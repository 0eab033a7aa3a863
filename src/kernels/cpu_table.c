/* SPDX-License-Identifier: MIT
 * The table of the instruction set that this file is compiled for: every kernel of cpu_list.h. The loader of the
 * module takes one of the three tables by what the processor has. */
#include "kernels/cpu_kernels.h"
#include "kernels/vec.h"

#define STR2(x) #x
#define STR(x) STR2(x)
const hpt__cpu_kernels CPU(table) = {
    .isa = STR(HPT__ISA),
    .block = HPT__VB,
#define KERNEL(result, name, arguments) .name = CPU(name),
#include "kernels/cpu_list.h"
#undef KERNEL
};
