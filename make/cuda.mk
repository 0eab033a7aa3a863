# SPDX-License-Identifier: MIT
# The cuda module: nvcc for the kernels, the C compiler for the rest. The same .cu and .c files again for the host,
# against stand-ins for CUDA, cuDNN, cuBLASLt and NCCL (tests/emu), which is how `make check` tests them. And what runs
# on a GPU.

CUDA_INC := $(if $(CUDA_HEADERS),$(addprefix -isystem ,\
              $(sort $(CUDA_HOME)/include $(CUDNN_HOME)/include $(NCCL_HOME)/include)))
CUDA_KERNELS := $(wildcard src/kernels/*.cu)
CUDA_SRC := $(wildcard src/backend/cuda/*.c)
CUDA_ARCH ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 \
             -gencode arch=compute_90,code=compute_90
NVCCFLAGS := -std=c++17 -O3 --fmad=false -lineinfo $(CUDA_ARCH) -Isrc -Iinclude $(CUDA_INC) \
             -Xcompiler -fPIC,-fvisibility=hidden,-O2
CUDA_OBJ := $(CUDA_KERNELS:%.cu=$(B)/cuda/%.o) $(CUDA_SRC:%.c=$(B)/cuda/%.o) $(B)/cuda/src/dist/watch.o
libdir    = $(firstword $(wildcard $(1)/lib64 $(1)/lib))
# wheels hold versioned names only: link by file
libfile   = $(firstword $(wildcard $(addsuffix /$(2).so,$(call libdir,$(1))) \
              $(addsuffix /$(2).so.*,$(call libdir,$(1)))))
CUDA_LIBS = $(call libfile,$(CUDNN_HOME),libcudnn) $(call libfile,$(CUDNN_HOME),libcudnn_graph) \
            $(call libfile,$(NCCL_HOME),libnccl) $(call libfile,$(CUDA_HOME),libcublasLt) \
            $(call libdir,$(CUDA_HOME))/libcudart_static.a \
            -Wl,-rpath,$(call libdir,$(CUDNN_HOME)):$(call libdir,$(NCCL_HOME)):$(call libdir,$(CUDA_HOME))
$(B)/cuda/%.o: %.cu
	@mkdir -p $(@D)
	$(call say,NVCC,$<)
	$(Q)$(NVCC) $(NVCCFLAGS) -MD -MF $(@:.o=.d) -c $< -o $@
$(B)/cuda/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALLFLAGS) $(CUDA_INC) -c $< -o $@
$(L)/hpt/libhpt-cuda.so: $(CUDA_OBJ) $(B)/src/backend/op.o lib/libhpt-module.map $(L)/.flags
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CXX) $(filter-out -Wl$(comma)-z$(comma)nodelete,$(LDSHARED)) -static-libstdc++ -static-libgcc \
	  -Wl,--version-script=lib/libhpt-module.map -o $@.new $(filter %.o,$^) $(CUDA_LIBS) -ldl -lrt -pthread -lm $(LDFLAGS)
	$(DONE)

# ---- on the emulated device ----
EMU      := $(if $(and $(CUDA_HEADERS),$(CXX_HERE)),$(B)/emu/libhpt-cuda.so)
EMU_OBJ  := $(CUDA_KERNELS:%.cu=$(B)/emu/%.o) $(CUDA_SRC:%.c=$(B)/emu/%.o) $(B)/src/dist/watch.o $(B)/src/backend/op.o \
            $(patsubst %.cpp,$(B)/emu/%.o,$(wildcard tests/emu/*.cpp))
EMU_REF  := $(addprefix $(B)/src/kernels/,conv_ref.f32.o gemm_ref.f32.o)
EMU_CXX  := -std=c++17 -g $(SAN) -O2 -Wall -Wextra -Wno-unknown-pragmas -Wno-unknown-warning-option \
            -Wno-dangling-pointer -ffp-contract=off -fPIC -pthread -Iinclude -Isrc -Itests/emu -MMD -MP \
            $(CUDA_INC) $(COVER)
$(B)/emu/%.o: %.cu
	@mkdir -p $(@D)
	$(call say,EMU,$<)
	$(Q)$(CXX) -x c++ $(EMU_CXX) -c $< -o $@
$(B)/emu/%.o: %.cpp
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(EMU_CXX) -c $< -o $@
$(B)/emu/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,"$< (emulation)")
	$(Q)$(CC) $(ALLFLAGS) $(CUDA_INC) $(COVER) -c $< -o $@
$(B)/emu/libhpt-cuda.so: $(EMU_OBJ) $(EMU_REF)
	$(call say,LD,$@)
	$(Q)$(CXX) -shared $(SAN) $(COVER) -o $@ $^ -pthread -lm
# the real cuDNN, asked without a GPU which of our networks' layers it has kernels for
$(BIN)/cudnn-plans: tests/cudnn/plans.c src/backend/cuda/conv.c src/backend/cuda/device.h src/backend/backend.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALLFLAGS) $(CUDA_INC) $(filter %.c,$^) -o $@.new $(CUDA_LIBS) -ldl -lrt -pthread -lm
	$(DONE)

# ---- on a machine with a GPU, the CUDA toolkit, cuDNN, NCCL and gcc; no package of find.mk is needed there ----
GPU_SRC  := $(addprefix src/core/,status.c text.c alloc.c rng.c options.c presets.c number.c pixels.c handle.c log.c \
              clock.c turn.c progress.c busy.c) $(addprefix src/data/,transform.c views.c) src/dist/comm_self.c \
            $(wildcard src/backend/*.c src/backend/host/*.c) src/backend/reference/reference.c \
            $(addprefix src/nn/,net.c resnet.c mlp.c graph.c layers.c fuse.c plan.c arena.c model.c classifier.c) \
            $(addprefix src/train/,trainer.c lane.c optimizer.c weights.c reduce.c schedule.c) src/ssl/moco.c
GPU_OBJ  := $(GPU_SRC:%.c=$(B)/%.o) $(REF:%.c=$(B)/%.f32.o) $(REF:%.c=$(B)/%.f64.o) $(CUDA_OBJ)
need-cuda:
	@[ -n "$(CUDA)" ] || { echo "nvcc, cuDNN and NCCL are needed: looked in" \
	  "CUDA_HOME=$(CUDA_HOME) CUDNN_HOME=$(CUDNN_HOME) NCCL_HOME=$(NCCL_HOME)"; exit 1; }
$(B)/check-gpu: $(addprefix $(B)/tests/,run.o inputs.o ops.o) $(patsubst %.c,$(B)/%.o,$(wildcard tests/gpu/*.c)) \
                $(GPU_OBJ)
	$(call say,LD,$@)
	$(Q)$(CXX) -o $@ $^ $(CUDA_LIBS) -ldl -lrt -pthread -lm
SANITIZER := $(firstword $(wildcard $(CUDA_HOME)/bin/compute-sanitizer))
check-gpu: need-cuda    ## kernels and whole steps on this machine's GPU, then under compute-sanitizer (under 9 minutes)
	$(Q)$(MAKE) --no-print-directory run-check-gpu
run-check-gpu: $(B)/check-gpu
	$(Q)tools/check-gpu $(B)/check-gpu $(SANITIZER)
$(B)/bench-gpu: $(B)/bench/gpu.o $(GPU_OBJ)
	$(call say,LD,$@)
	$(Q)$(CXX) -o $@ $^ $(CUDA_LIBS) -ldl -lrt -pthread -lm
# compiled by `make check` too, where the headers are: it calls what is inside of the library
$(B)/bench/%.o: private ALLFLAGS := $(FLAGS) -Werror=implicit-function-declaration $(CUDA_INC) $(CFLAGS)
bench-gpu: need-cuda    ## steps, kernels, memory on the GPU here, beside PyTorch if it can; fills docs/performance.md
	$(Q)$(MAKE) --no-print-directory run-bench-gpu
run-bench-gpu: $(B)/bench-gpu
	$(Q)$(PYTHON) bench/gpu.py $(B)/bench-gpu $(BENCH_ARGS)
.PHONY: need-cuda check-gpu run-check-gpu bench-gpu run-bench-gpu
