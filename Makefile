# SPDX-License-Identifier: MIT
# libhpt. Objects lie in build/<hash of the flags>/; products in lib/ and bin/. `make help` lists the targets.

CC       ?= gcc
CXX      ?= g++
AR       ?= ar
PYTHON   ?= python3
PREFIX   ?= /usr/local
LIBDIR   ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR   ?= $(PREFIX)/bin
DOCDIR   ?= $(PREFIX)/share/doc/hpt
DESTDIR  ?=
V        ?= 0
WERROR   ?= 0
DEBUG    ?= 0
ASAN     ?= 0
TSAN     ?= 0
SHELL    := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

ifeq ($(origin CC),default)
CC := gcc
endif
Q := $(if $(filter 1,$(V)),,@)
# make -s says nothing of what it compiles
SILENT := $(findstring s,$(filter-out --%,$(firstword -$(MAKEFLAGS))))
say = $(if $(filter 1,$(V))$(SILENT),,@printf '  %-5s %s\n' $(1) $(2))

# ---- version: from hpt.h, once ----
ver      = $(shell sed -n 's/^\#define HPT_VERSION_$(1) //p' include/hpt.h)
MAJOR   := $(call ver,MAJOR)
MINOR   := $(call ver,MINOR)
PATCH   := $(call ver,PATCH)
VERSION := $(MAJOR).$(MINOR).$(PATCH)

# ---- what is there ----
PKG      := pkg-config
have      = $(shell $(PKG) --exists $(1) 2>/dev/null && echo 1)
header    = $(shell echo '\#include <$(1)>' | $(CC) -E -xc - >/dev/null 2>&1 && echo 1)
JPEG     ?= $(call have,libjpeg)
PNG      ?= $(call have,libpng)
# libtiff from 4.5 on: older ones report errors through handlers of the whole process
TIFF     ?= $(shell $(PKG) --atleast-version=4.5 libtiff-4 2>/dev/null && echo 1)
WEBP     ?= $(call have,libwebp)
ONEDNN   ?= $(call header,dnnl.h)
CUDA_HOME ?= /usr/local/cuda
NVCC     ?= $(CUDA_HOME)/bin/nvcc
# cuDNN and NCCL beside the toolkit, else from the Python wheels nvidia-cudnn and nvidia-nccl
wheel     = $(shell $(PYTHON) -c 'import importlib.util as u; print(list(u.find_spec("nvidia.$(1)").submodule_search_locations)[0])' 2>/dev/null)
CUDNN_HOME ?= $(if $(wildcard $(CUDA_HOME)/include/cudnn.h),$(CUDA_HOME),$(call wheel,cudnn))
NCCL_HOME ?= $(if $(wildcard $(CUDA_HOME)/include/nccl.h),$(CUDA_HOME),$(call wheel,nccl))
CUDA_HEADERS := $(shell [ -f $(CUDA_HOME)/include/cuda_runtime_api.h ] && [ -f $(CUDNN_HOME)/include/cudnn.h ] && [ -f $(NCCL_HOME)/include/nccl.h ] && echo 1)
CUDA     ?= $(and $(CUDA_HEADERS),$(wildcard $(NVCC)))
MPI      ?= $(call have,ompi-c)
BASE_OK  := $(and $(call have,zlib),$(call have,jansson),$(call have,libxxhash),$(call header,stb/stb_image.h))
PACKAGES := gcc make pkg-config zlib1g-dev libjansson-dev libxxhash-dev libstb-dev libjpeg62-turbo-dev libpng-dev libtiff-dev libwebp-dev libdnnl-dev
DEMO_PACKAGES := dataset-fashion-mnist openclipart-png
TEST_PACKAGES := python3 g++ binutils openmpi-bin libopenmpi-dev

# ---- flags ----
comma    := ,
WARN     := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-psabi $(if $(filter 1,$(WERROR)),-Werror)
OPT      := $(if $(filter 1,$(DEBUG)),-O0,-O2)
SAN      := $(if $(filter 1,$(ASAN)),-fsanitize=address$(comma)undefined -fno-sanitize-recover=all -fno-omit-frame-pointer) \
            $(if $(filter 1,$(TSAN)),-fsanitize=thread)
DEPS     := $(if $(TIFF),libtiff-4) $(if $(WEBP),libwebp) $(if $(PNG),libpng) $(if $(JPEG),libjpeg) jansson libxxhash zlib
HAVE     := $(if $(JPEG),-DHPT_HAVE_JPEG) $(if $(PNG),-DHPT_HAVE_PNG) $(if $(TIFF),-DHPT_HAVE_TIFF) $(if $(WEBP),-DHPT_HAVE_WEBP)
FLAGS    := -std=c11 $(OPT) -g $(WARN) $(SAN) -fPIC -fvisibility=hidden -ffp-contract=off \
            -fno-semantic-interposition -pthread -Iinclude -Isrc -MMD -MP \
            $(HAVE) \
            $(shell $(PKG) --cflags $(DEPS) 2>/dev/null)
ALLFLAGS := $(FLAGS) $(CFLAGS)
HASH     := $(shell echo '$(CC) $(ALLFLAGS) $(COVER)' | cksum | cut -d' ' -f1)
B        := build/$(HASH)
LIBS     := $(shell $(PKG) --libs $(DEPS) 2>/dev/null) -lm -ldl -pthread
# for programs that link libhpt.a: with what the libraries need in turn, in an order that a static linker accepts
# (libtiff rests on Lerc, which is C++ and does not say so)
STATIC_LIBS := $(shell $(PKG) --static --libs $(DEPS) 2>/dev/null) $(if $(TIFF),-lstdc++) -lm -ldl -pthread
LDSHARED := -shared -Wl,-z,defs -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,-z,nodelete -Wl,-Bsymbolic-functions $(SAN)

# ---- sources ----
SRC := $(wildcard $(addsuffix /*.c,$(addprefix src/,core io data nn train eval ssl api recipe backend backend/host))) src/dist/comm_self.c \
       src/backend/reference/reference.c
# compiled for float and for double; the second are the operations of the reference backend over the first
REF_KERNELS := $(wildcard src/kernels/*_ref.c)
REF := $(REF_KERNELS) src/backend/reference/ops_ref.c
# compiled for each instruction set
CPU := $(wildcard src/kernels/*_cpu.c) src/kernels/cpu_table.c
ISAS := base avx2 avx512
ISA_base :=
ISA_avx2 := -mavx2 -mfma
ISA_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mprefer-vector-width=512

OBJ := $(SRC:%.c=$(B)/%.o) $(REF:%.c=$(B)/%.f32.o) $(REF:%.c=$(B)/%.f64.o)
MODULE_SRC := $(wildcard src/backend/onednn/*.c src/backend/host/*.c) src/backend/op.c
MODULE_OBJ := $(MODULE_SRC:%.c=$(B)/%.o) $(foreach i,$(ISAS),$(CPU:%.c=$(B)/%.$(i).o)) $(REF_KERNELS:%.c=$(B)/%.f32.o) $(REF_KERNELS:%.c=$(B)/%.f64.o)
# sanitized products stay in the build folder, so that lib/ and bin/ always hold the plain ones
OUT     := $(if $(filter 1,$(ASAN) $(TSAN))$(COVER),$(B)/)
L       := $(OUT)lib
SO      := $(L)/libhpt.so.$(VERSION)
MODULE  := $(if $(ONEDNN),$(L)/hpt/libhpt-onednn.so) $(if $(MPI),$(L)/hpt/libhpt-mpi.so)
# the cuda module has no sanitized form: under ASAN=1 the emulated one is tested
CUDA_SO := $(if $(CUDA),$(if $(OUT),,$(L)/hpt/libhpt-cuda.so))
BIN     := $(OUT)bin
CXX_HERE := $(shell command -v $(firstword $(CXX)) 2>/dev/null)
EXAMPLES := $(patsubst examples/%.c,$(BIN)/%,$(filter-out $(if $(MPI),,examples/07_mpi_gpus.c),$(wildcard examples/0*.c))) \
            $(if $(CXX_HERE),$(patsubst examples/%.cpp,$(BIN)/%,$(wildcard examples/*.cpp)))

all: lib $(BIN)/hpt $(EXAMPLES)  ## library, module, bin/hpt and the examples
lib: $(SO) $(L)/libhpt.a $(MODULE) $(CUDA_SO)

EMPTY    :=
SPACE    := $(EMPTY) $(EMPTY)
# What was found and what is missing, with the line to type: said once, and again when it changed. Nothing is compiled without the needed
# packages: with root, `make demo` and `make check` install them; else this says what to type.
found = $(if $(1),@  found    $(2),@  missing  $(2): $(3))
FOUND := $(call found,$(JPEG),libjpeg-turbo,JPEG files are read by stb_image$(comma) slower  (apt-get install libjpeg62-turbo-dev)) \
         $(call found,$(PNG),libpng,PNG files are read by stb_image$(comma) slower  (apt-get install libpng-dev)) \
         $(call found,$(TIFF),libtiff,compressed TIFF files are not read  (apt-get install libtiff-dev$(comma) 4.5 or later)) \
         $(call found,$(WEBP),libwebp,WebP files are not read  (apt-get install libwebp-dev)) \
         $(call found,$(ONEDNN),oneDNN,only the slow reference backend is built  (apt-get install libdnnl-dev)) \
         $(call found,$(MPI),MPI,no training over several processes  (apt-get install libopenmpi-dev)) \
         $(call found,$(CUDA),CUDA$(comma) cuDNN$(comma) NCCL,no cuda module  (CUDA_HOME=$(CUDA_HOME) CUDNN_HOME=$(CUDNN_HOME) NCCL_HOME=$(NCCL_HOME) say where to look)) \
         $(call found,$(CXX_HERE),C++ compiler,no C++ example  (apt-get install g++))
# Goals that compile nothing of the library, or see to its packages themselves.
FREE := help clean uninstall demo demo-paper check check-all check-asan check-tsan check-bare coverage-cuda check-layers packages-% %-gpu need-cuda
ifeq ($(BASE_OK),)
ifneq ($(filter-out $(FREE),$(or $(MAKECMDGOALS),all)),)
$(info Packages are missing. As root:)
$(info $(SPACE)  apt-get update && apt-get install --no-install-recommends $(PACKAGES))
$(info Or with what `make check` and `make demo` need besides:)
$(info $(SPACE)  apt-get update && apt-get install --no-install-recommends $(PACKAGES) $(TEST_PACKAGES) $(DEMO_PACKAGES))
$(error nothing was built)
endif
endif
say-found:
	@mkdir -p build; echo '$(FOUND)' | tr '@' '\n' | sed '1d; s/ *$$//' > build/.found.new; \
	  cmp -s build/.found.new build/.found || { cat build/.found.new; mv build/.found.new build/.found; }; rm -f build/.found.new
lib: | say-found
.PHONY: say-found all lib

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALLFLAGS) -c $< -o $@
# nobody but the reference backend calls these, on one thread, and they take nearly all of its time
ifeq ($(TSAN),1)
$(addprefix $(B)/src/kernels/,conv_ref.f32.o gemm_ref.f32.o): private ALLFLAGS += -fno-sanitize=thread
endif
$(B)/%.f32.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,"$< (float)")
	$(Q)$(CC) $(ALLFLAGS) -O3 -c $< -o $@
$(B)/%.f64.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,"$< (double)")
	$(Q)$(CC) $(ALLFLAGS) -O3 -DHPT__REAL_DOUBLE -c $< -o $@
define isa_rule
$(B)/%.$(1).o: %.c
	@mkdir -p $$(@D)
	$$(call say,CC,"$$< ($(1))")
	$$(Q)$$(CC) $$(ALLFLAGS) -O3 $(ISA_$(1)) -DHPT__ISA=$(1) -c $$< -o $$@
endef
$(foreach i,$(ISAS),$(eval $(call isa_rule,$(i))))
# image loops gain from -O3; contraction is allowed in the fast CPU kernels except where the written rounding is the contract
$(B)/src/data/transform.o: private OPT := -O3
$(foreach i,$(ISAS),$(foreach f,act norm infonce pool,$(eval $(B)/src/kernels/$(f)_cpu.$(i).o: private ALLFLAGS := $(FLAGS) -ffp-contract=fast $(CFLAGS))))
$(B)/src/data/transform.o: private ALLFLAGS := $(FLAGS) -O3 $(CFLAGS)

# Products are linked again when the flags (so the object folder) changed. A product is written beside its place and renamed, so that whoever
# runs or loads the one that is there (a test beside a build) never meets half a file.
DONE = @mv -f $@.new $@
$(L)/.flags: FORCE
	@mkdir -p $(@D); echo $(HASH) | cmp -s - $@ || echo $(HASH) > $@
FORCE:
$(SO): $(OBJ) lib/libhpt.map $(L)/.flags
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDSHARED) -Wl,-soname,libhpt.so.$(MAJOR) -Wl,--version-script=lib/libhpt.map -o $@.new $(OBJ) $(LIBS) $(LDFLAGS)
	$(DONE)
	@ln -sf $(@F) $(L)/libhpt.so.$(MAJOR); ln -sf libhpt.so.$(MAJOR) $(L)/libhpt.so
$(L)/libhpt.a: $(OBJ) $(L)/.flags
	@mkdir -p $(@D)
	$(call say,AR,$@)
	@rm -f $@.new
	$(Q)$(AR) rcs $@.new $(OBJ)
	$(DONE)
# libgomp by its file: clang has no path to it
GOMP := $(shell gcc -print-file-name=libgomp.so 2>/dev/null)
$(L)/hpt/libhpt-onednn.so: $(MODULE_OBJ) lib/libhpt-module.map $(L)/.flags
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDSHARED) -Wl,--version-script=lib/libhpt-module.map -o $@.new $(MODULE_OBJ) -ldnnl $(GOMP) -lm $(LDFLAGS)
	$(DONE)

$(L)/hpt/libhpt-mpi.so: $(B)/src/dist/mpi/comm_mpi.o $(B)/src/dist/watch.o lib/libhpt-module.map $(L)/.flags
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDSHARED) -Wl,--version-script=lib/libhpt-module.map -o $@.new $(filter %.o,$^) $(shell $(PKG) --libs ompi-c 2>/dev/null) -pthread $(LDFLAGS)
	$(DONE)
$(B)/src/dist/mpi/%.o: private ALLFLAGS := $(FLAGS) $(subst -I,-isystem ,$(shell $(PKG) --cflags-only-I ompi-c 2>/dev/null)) $(CFLAGS)

# ---- the cuda module: nvcc for the kernels, the C compiler for the rest ----
CUDA_INC := $(if $(CUDA_HEADERS),$(addprefix -isystem ,$(sort $(CUDA_HOME)/include $(CUDNN_HOME)/include $(NCCL_HOME)/include)))
CUDA_KERNELS := $(wildcard src/kernels/*.cu)
CUDA_SRC := $(wildcard src/backend/cuda/*.c)
CUDA_ARCH ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 -gencode arch=compute_90,code=compute_90
NVCCFLAGS := -std=c++17 -O3 --fmad=false -lineinfo $(CUDA_ARCH) -Isrc -Iinclude $(CUDA_INC) -Xcompiler -fPIC,-fvisibility=hidden,-O2
CUDA_OBJ := $(CUDA_KERNELS:%.cu=$(B)/cuda/%.o) $(CUDA_SRC:%.c=$(B)/cuda/%.o) $(B)/cuda/src/dist/watch.o
libdir    = $(firstword $(wildcard $(1)/lib64 $(1)/lib))
# wheels hold versioned names only: link by file
libfile   = $(firstword $(wildcard $(addsuffix /$(2).so,$(call libdir,$(1))) $(addsuffix /$(2).so.*,$(call libdir,$(1)))))
CUDA_LIBS = $(call libfile,$(CUDNN_HOME),libcudnn) $(call libfile,$(CUDNN_HOME),libcudnn_graph) $(call libfile,$(NCCL_HOME),libnccl) $(call libfile,$(CUDA_HOME),libcublasLt) \
            $(call libdir,$(CUDA_HOME))/libcudart_static.a -Wl,-rpath,$(call libdir,$(CUDNN_HOME)):$(call libdir,$(NCCL_HOME)):$(call libdir,$(CUDA_HOME))
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
	$(Q)$(CXX) $(filter-out -Wl$(comma)-z$(comma)nodelete,$(LDSHARED)) -static-libstdc++ -static-libgcc -Wl,--version-script=lib/libhpt-module.map -o $@.new $(filter %.o,$^) $(CUDA_LIBS) -ldl -lrt -pthread -lm $(LDFLAGS)
	$(DONE)

RPATH := -Wl,-rpath,'$$ORIGIN/../lib'
$(BIN)/hpt: $(wildcard examples/hpt/*.c examples/hpt/*.h) $(SO) include/hpt.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=c11 $(OPT) -g $(WARN) $(SAN) -Iinclude $(filter %.c,$^) -o $@.new -L$(L) -lhpt $(RPATH) -ljansson -lm -pthread
	$(DONE)
$(BIN)/demo: $(wildcard examples/demo/*.c examples/demo/*.h) $(SO) include/hpt.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=c11 $(OPT) -g $(WARN) $(SAN) -Iinclude $(filter %.c,$^) -o $@.new -L$(L) -lhpt $(RPATH) -lpng -ljansson -lm
	$(DONE)
$(BIN)/07_mpi_gpus: examples/07_mpi_gpus.c $(SO) include/hpt.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=c99 $(OPT) -g $(WARN) $(SAN) -Iinclude $(subst -I,-isystem ,$(shell $(PKG) --cflags-only-I ompi-c 2>/dev/null)) $< -o $@.new -L$(L) -lhpt $(RPATH) $(shell $(PKG) --libs ompi-c 2>/dev/null)
	$(DONE)
$(BIN)/%: examples/%.c $(SO) include/hpt.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=c99 $(OPT) -g $(WARN) $(SAN) -Iinclude $< -o $@.new -L$(L) -lhpt $(RPATH)
	$(DONE)
$(BIN)/%: examples/%.cpp $(SO) include/hpt.h
	@mkdir -p $(@D)
	$(call say,CXX,$@)
	$(Q)$(CXX) -std=c++17 $(OPT) -g -Wall -Wextra -Wpedantic $(if $(filter 1,$(WERROR)),-Werror) $(SAN) -Iinclude $< -o $@.new -L$(L) -lhpt $(RPATH)
	$(DONE)

# ---- the cuda backend on the host: the same .cu and .c files against stand-ins for CUDA, cuDNN, cuBLASLt and NCCL (tests/emu) ----
EMU      := $(if $(and $(CUDA_HEADERS),$(CXX_HERE)),$(B)/emu/libhpt-cuda.so)
EMU_OBJ  := $(CUDA_KERNELS:%.cu=$(B)/emu/%.o) $(CUDA_SRC:%.c=$(B)/emu/%.o) $(B)/src/dist/watch.o $(B)/src/backend/op.o $(patsubst %.cpp,$(B)/emu/%.o,$(wildcard tests/emu/*.cpp))
EMU_REF  := $(addprefix $(B)/src/kernels/,conv_ref.f32.o gemm_ref.f32.o)
EMU_CXX  := -std=c++17 -g $(SAN) -O2 -Wall -Wextra -Wno-unknown-pragmas -Wno-unknown-warning-option -Wno-dangling-pointer -ffp-contract=off -fPIC -pthread -Iinclude -Isrc -Itests/emu -MMD -MP $(CUDA_INC) $(COVER)
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

# ---- tests ----
# A folder a subject; tests/gpu and tests/emu need CUDA's headers.
ON_GPU   := $(wildcard tests/gpu/*.c tests/emu/*.c)
TEST_SRC := $(wildcard tests/*.c) $(filter-out $(ON_GPU),$(wildcard tests/*/test_*.c)) tests/fuzz/targets.c $(if $(EMU),$(ON_GPU))
TEST_OBJ := $(TEST_SRC:%.c=$(B)/%.o)
$(B)/tests/%.o: private ALLFLAGS := $(FLAGS) -Itests -Itests/gpu -Itests/emu $(CUDA_INC) $(if $(EMU),-DHPT_TEST_EMU='"$(B)/emu"') -Wno-missing-prototypes -DHPT_TEST_MODULES='"$(L)/hpt"' -DHPT_TEST_BIN='"$(BIN)"' -DHPT_TEST_LIB='"$(L)"' $(CFLAGS)
$(B)/check: $(TEST_OBJ) $(L)/libhpt.a $(EMU)
	$(call say,LD,$@)
	$(Q)$(CC) $(SAN) -o $@ $(TEST_OBJ) $(L)/libhpt.a $(if $(EMU),$(EMU) -Wl$(comma)-rpath$(comma)'$$ORIGIN/emu') $(LIBS) $(LDFLAGS)

$(BIN)/cudnn-plans: tests/cudnn/plans.c src/backend/cuda/conv.c src/backend/cuda/device.h src/backend/backend.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALLFLAGS) $(CUDA_INC) $(filter %.c,$^) -o $@.new $(CUDA_LIBS) -ldl -lrt -pthread -lm
	$(DONE)
CHECK_BUILD = lib $(if $(CUDA),$(if $(OUT),,$(BIN)/cudnn-plans)) $(BIN)/hpt $(BIN)/demo $(EXAMPLES) $(B)/check
check: packages-test    ## build and run all tests (under 15 minutes on 2 cores); TESTS="folders names" those whose names hold one of these
	$(Q)$(MAKE) --no-print-directory run-check
# Tests run two at a time where there are two processors: JOBS=1 for one
JOBS     ?= $(if $(filter 1,$(shell nproc 2>/dev/null || echo 1)),1,2)
run-check: $(CHECK_BUILD)
	$(Q)$(B)/check -j $(JOBS) $(TESTS)
record-plans: $(CHECK_BUILD)   ## the plans of now become those that tests/golden/plans holds: only by a change that means to change plans
	$(Q)HPT_RECORD_PLANS=tests/golden/plans $(B)/check -j $(JOBS) golden_plans
record-operations: $(CHECK_BUILD)   ## docs/operations.md from src/backend/ops.def and the lists of the backends
	$(Q)HPT_RECORD_OPERATIONS=docs/operations.md $(B)/check operations_page
check-all:              ## the same, then again under AddressSanitizer and UndefinedBehaviorSanitizer
	$(Q)$(MAKE) --no-print-directory check
	$(Q)$(MAKE) --no-print-directory check-asan
check-asan: packages-test   ## the tests under ASan and UBSan
	$(Q)ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 HPT_TEST_SLOW=1 $(MAKE) --no-print-directory ASAN=1 run-check
# Every long call on a model and a recipe cancelled from another thread, a session destroyed while it runs, steps given up in the middle, many
# threads on one context: on the reference backend, some on onednn with its team too (oneDNN itself is not instrumented).
TSAN_TESTS := cancel_from_another cancelled_from_another destroyed_while_it_runs one_context_many_threads turns_are_taken callbacks_call an_abandoned_step stopped_calls_go
check-tsan: packages-test   ## the tests of several threads under ThreadSanitizer (about 2 minutes)
	$(Q)TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 $(MAKE) --no-print-directory TSAN=1 TESTS="$(TSAN_TESTS)" run-check
coverage-cuda:          ## lines of src/backend/cuda that the tests without a GPU run; fails below 90 %
	$(Q)$(MAKE) --no-print-directory COVER=--coverage measure-coverage
measure-coverage: $(CHECK_BUILD)
	$(Q)find $(B)/emu -name '*.gcda' -delete; $(B)/check -j $(JOBS) cuda
	$(Q)tools/coverage-cuda $(B)
check-bare:             ## README's lines on a bare Debian 12, as root and as an ordinary user (needs root, debootstrap, Debian's mirror)
	$(Q)tools/check-bare
check-layers:           ## no include points upward
	$(Q)tools/check-layers
check-docs: $(BIN)/hpt   ## documents name files, targets, commands and options that exist
	$(Q)tools/check-docs $(BIN)/hpt
ABIDW := --no-corpus-path --no-comp-dir-path --drop-private-types --headers-dir include --no-show-locs --no-parameter-names --exported-interfaces-only
ABI   := tests/abi/hpt-$(MAJOR).$(MINOR).abi
check-abi: lib          ## exported symbols against lib/libhpt.symbols, and types against the recorded ABI if abidiff is here
	$(Q)nm -D --defined-only $(SO) | awk '$$2 != "A" {print $$3}' | sed 's/@.*//' | sort | diff - <(cut -d' ' -f1 lib/libhpt.symbols | sort)
	$(Q)if command -v abidw >/dev/null; then abidw $(ABIDW) $(SO) > $(B)/now.abi; abidiff --no-added-syms $(ABI) $(B)/now.abi > $(B)/now.diff; rc=$$?; \
	  if [ $$((rc & 11)) != 0 ] || grep -qE 'offset changed|deletion|enumerator.* (change|from value)|subrange' $(B)/now.diff; then \
	    cat $(B)/now.diff; echo "not compatible with $(ABI)"; exit 1; fi; echo "compatible with $(ABI): what is new is appended"; \
	  else echo "abidiff is not here (apt-get install abigail-tools): symbols compared, types not"; fi
record-abi: lib         ## the ABI of now becomes the recorded one: at a release, or when something was appended that must stay where it is
	$(Q)$(MAKE) --no-print-directory check-abi
	$(Q)abidw $(ABIDW) $(SO) > $(ABI)
# On a machine with a GPU, the CUDA toolkit, cuDNN, NCCL and gcc, and nothing else: no package of this list is needed.
GPU_SRC  := $(addprefix src/core/,status.c text.c alloc.c rng.c options.c presets.c number.c pixels.c handle.c log.c clock.c turn.c progress.c busy.c) $(addprefix src/data/,transform.c augment.c) src/dist/comm_self.c \
            $(wildcard src/backend/*.c src/backend/host/*.c) src/backend/reference/reference.c $(addprefix src/nn/,net.c resnet.c mlp.c graph.c layers.c fuse.c plan.c arena.c model.c classifier.c schedule.c) $(wildcard src/train/*.c) src/ssl/moco.c
GPU_OBJ  := $(GPU_SRC:%.c=$(B)/%.o) $(REF:%.c=$(B)/%.f32.o) $(REF:%.c=$(B)/%.f64.o) $(CUDA_OBJ)
need-cuda:
	@[ -n "$(CUDA)" ] || { echo "nvcc, cuDNN and NCCL are needed: looked in CUDA_HOME=$(CUDA_HOME) CUDNN_HOME=$(CUDNN_HOME) NCCL_HOME=$(NCCL_HOME)"; exit 1; }
$(B)/check-gpu: $(addprefix $(B)/tests/,run.o inputs.o ops.o) $(patsubst %.c,$(B)/%.o,$(wildcard tests/gpu/*.c)) $(GPU_OBJ)
	$(call say,LD,$@)
	$(Q)$(CXX) -o $@ $^ $(CUDA_LIBS) -ldl -lrt -pthread -lm
SANITIZER := $(firstword $(wildcard $(CUDA_HOME)/bin/compute-sanitizer))
check-gpu: need-cuda    ## the kernels and whole steps on this machine's GPU, then kernels under compute-sanitizer (under 9 minutes)
	$(Q)$(MAKE) --no-print-directory run-check-gpu
run-check-gpu: $(B)/check-gpu
	$(Q)tools/check-gpu $(B)/check-gpu $(SANITIZER)
$(B)/bench-gpu: $(B)/bench/gpu.o $(GPU_OBJ)
	$(call say,LD,$@)
	$(Q)$(CXX) -o $@ $^ $(CUDA_LIBS) -ldl -lrt -pthread -lm
$(B)/bench/%.o: private ALLFLAGS := $(FLAGS) $(CUDA_INC) $(CFLAGS)
bench-gpu: need-cuda    ## steps, kernels and memory on this machine's GPU, beside PyTorch where it is installed; fills docs/performance.md (under 9 minutes)
	$(Q)$(MAKE) --no-print-directory run-bench-gpu
run-bench-gpu: $(B)/bench-gpu
	$(Q)$(PYTHON) bench/gpu.py $(B)/bench-gpu $(BENCH_ARGS)
.PHONY: need-cuda run-check-gpu run-bench-gpu
bench: lib $(BIN)/bench-step $(BIN)/bench-images   ## step and image benchmarks; beside PyTorch if `python3 -c 'import torch'` works (PYTHON=...)
	$(Q)$(PYTHON) bench/bench.py $(BENCH_ARGS)
$(BIN)/bench-%: bench/%.c bench/common.h $(SO)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=c11 -O2 -g $(WARN) -Iinclude $< -o $@.new -L$(L) -lhpt $(RPATH) -lm
	$(DONE)

# ---- fuzzing: the whole library under libFuzzer, once; a target is a name of that program. New inputs stay in build/fuzz ----
FUZZ_SECONDS ?= $(if $(FUZZ_RUNS),0,60)
FUZZ_RUNS    ?=
FUZZ_TARGETS ?= $(shell sed -n '/^const fuzz_target fuzz_targets/,/;$$/p' tests/fuzz/targets.c | grep -o '{"[a-z_]*"' | tr -d '{"')
FUZZ_CC      := clang -std=c11 -O1 -g -w -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
                -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION -ffp-contract=off -pthread -Itests -MMD -MP $(filter -D% -I%,$(FLAGS))
FUZZ_SRC     := $(SRC) tests/heap.c tests/fuzz/main.c tests/fuzz/targets.c
FUZZ_OBJ     := $(FUZZ_SRC:%.c=build/fuzz/obj/%.o) $(REF:%.c=build/fuzz/obj/%.f32.o) $(REF:%.c=build/fuzz/obj/%.f64.o)
build/fuzz/obj/%.f32.o: %.c
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) -c $< -o $@
build/fuzz/obj/%.f64.o: %.c
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) -DHPT__REAL_DOUBLE -c $< -o $@
build/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) -c $< -o $@
build/fuzz/hpt: $(FUZZ_OBJ)
	$(Q)clang -fsanitize=fuzzer,address,undefined $^ -o $@ $(LIBS)
	$(Q)for t in $(FUZZ_TARGETS); do ln -sf hpt build/fuzz/$$t; done
	$(Q)$(PYTHON) tests/fuzz/seeds.py build/fuzz/seeds
fuzz: build/fuzz/hpt    ## libFuzzer on every parser (needs clang): FUZZ_SECONDS=60 each, or FUZZ_RUNS=1000000; FUZZ_TARGETS="image torch"
	$(Q)tools/fuzz "$(FUZZ_TARGETS)" $(FUZZ_SECONDS) $(FUZZ_RUNS)

# ---- demo ----
demo: packages-demo     ## hierarchical pretraining on real images, about 9 minutes on 2 cores; report in demo/out/report.html
	$(Q)$(MAKE) --no-print-directory $(BIN)/demo $(BIN)/hpt lib
	$(Q)$(BIN)/demo $(DEMO_ARGS)
	@echo "Your own images next, starting from weights of your choice (small images: --stem small --image_size 32):"
	@echo "  bin/hpt pretrain --data FOLDER --init base.pth --out run --batch_size 64 --steps 200"

demo-paper: packages-demo-paper   ## the paper's figures 2, 5, 6 and 11 in small, three seeds, about 40 minutes on 2 cores; goes on where it was stopped; report in demo/paper/report.html
	$(Q)$(MAKE) --no-print-directory $(BIN)/hpt lib
	$(Q)$(BIN)/hpt run examples/recipes/small-paper.ini

# Packages: installed when this is root on a Debian system, else the line to type. HPT_INSTALL=0 never installs.
HPT_INSTALL ?= 1
define packages
	@missing=""; for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ "$(HPT_INSTALL)" = 1 ]; then echo "installing$$missing"; \
	    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing) >/dev/null || { echo "apt-get install$$missing failed"; exit 1; }; \
	  else echo "Packages are missing. As root:"; echo "  apt-get update && apt-get install --no-install-recommends$$missing"; exit 1; fi; fi
endef
packages-demo:
	$(call packages,$(PACKAGES) $(DEMO_PACKAGES))
packages-demo-paper:
	$(call packages,$(PACKAGES) $(DEMO_PACKAGES) oxygen-icon-theme)
packages-test:
	$(call packages,$(PACKAGES) $(TEST_PACKAGES))

# ---- install ----
# hpt.pc and the CMake package find the prefix from where they lie, so that an installed tree can be moved.
UP_FROM   = $(shell realpath -m --relative-to=$(LIBDIR)/$(1) $(PREFIX))
BELOW     = $(shell realpath -m --relative-to=$(PREFIX) $(1))
FILL      = sed -e 's|@UP@|$(call UP_FROM,$(1))|' -e 's|@LIBDIR@|$(call BELOW,$(LIBDIR))|' -e 's|@INCLUDEDIR@|$(call BELOW,$(INCLUDEDIR))|' \
            -e 's|@VERSION@|$(VERSION)|' -e 's|@MAJOR@|$(MAJOR)|' -e 's|@MINOR@|$(MINOR)|' -e 's|@PRIVATE@|$(STATIC_LIBS)|'
install: lib $(BIN)/hpt ## DESTDIR, PREFIX, LIBDIR, INCLUDEDIR, BINDIR, DOCDIR
	$(Q)$(MAKE) --no-print-directory install-built
install-built:          ## what lies in lib/ and bin/ as it is, whatever flags it was built with: builds nothing
	$(Q)install -d $(addprefix $(DESTDIR),$(LIBDIR)/hpt $(LIBDIR)/pkgconfig $(LIBDIR)/cmake/hpt $(INCLUDEDIR) $(BINDIR) $(DOCDIR)/examples/recipes)
	$(Q)install -m 644 include/hpt.h $(DESTDIR)$(INCLUDEDIR)/
	$(Q)install -m 755 $(SO) $(DESTDIR)$(LIBDIR)/
	$(Q)ln -sf $(notdir $(SO)) $(DESTDIR)$(LIBDIR)/libhpt.so.$(MAJOR)
	$(Q)ln -sf libhpt.so.$(MAJOR) $(DESTDIR)$(LIBDIR)/libhpt.so
	$(Q)install -m 644 $(L)/libhpt.a $(DESTDIR)$(LIBDIR)/
	$(Q)for m in $(wildcard $(MODULE) $(CUDA_SO)); do install -m 755 $$m $(DESTDIR)$(LIBDIR)/hpt/ || exit 1; done
	$(Q)install -m 755 $(BIN)/hpt $(DESTDIR)$(BINDIR)/
	$(Q)install -m 644 README.md CHANGELOG.md LICENSE docs/*.md $(DESTDIR)$(DOCDIR)/
	$(Q)install -m 644 $(wildcard examples/0*) examples/README.md $(DESTDIR)$(DOCDIR)/examples/
	$(Q)install -m 644 examples/recipes/* $(DESTDIR)$(DOCDIR)/examples/recipes/
	$(Q)$(call FILL,pkgconfig) pkgconfig/hpt.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/hpt.pc
	$(Q)for f in hptConfig hptConfigVersion; do $(call FILL,cmake/hpt) pkgconfig/$$f.cmake.in > $(DESTDIR)$(LIBDIR)/cmake/hpt/$$f.cmake; done
	$(Q)if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ] && command -v ldconfig >/dev/null; then ldconfig; fi
uninstall:              ## remove what install put there
	$(Q)rm -f $(DESTDIR)$(LIBDIR)/libhpt.* $(DESTDIR)$(LIBDIR)/hpt/libhpt-*.so $(DESTDIR)$(LIBDIR)/pkgconfig/hpt.pc $(DESTDIR)$(INCLUDEDIR)/hpt.h $(DESTDIR)$(BINDIR)/hpt
	$(Q)rm -rf $(DESTDIR)$(LIBDIR)/cmake/hpt $(DESTDIR)$(DOCDIR)
	$(Q)for d in $(LIBDIR)/hpt $(LIBDIR)/cmake $(LIBDIR)/pkgconfig; do rmdir $(DESTDIR)$$d 2>/dev/null || true; done
clean:                  ## remove builds and products (not demo/out)
	$(Q)rm -rf build bin lib/*.so* lib/*.a lib/hpt lib/.flags
help:                   ## this list
	@echo "libhpt $(VERSION): jpeg-turbo $(if $(JPEG),yes,no), libpng $(if $(PNG),yes,no), libtiff $(if $(TIFF),yes,no), libwebp $(if $(WEBP),yes,no), oneDNN $(if $(ONEDNN),yes,no)"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | column -t -s'|' 2>/dev/null || sed -n 's/^\([a-z-]*\):.*## /  \1: /p' Makefile
	@echo "  variables: CC CFLAGS V=1 DEBUG=1 WERROR=1 ASAN=1 TSAN=1 PREFIX DESTDIR LIBDIR INCLUDEDIR BINDIR"
.PHONY: coverage-cuda measure-coverage record-plans record-operations check run-check check-all check-asan check-tsan check-layers check-docs check-abi record-abi check-gpu bench bench-gpu fuzz demo demo-paper packages-demo packages-demo-paper packages-test check-bare install install-built uninstall clean help

-include $(shell find $(B) build/fuzz -name '*.d' 2>/dev/null)
