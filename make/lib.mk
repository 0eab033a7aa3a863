# SPDX-License-Identifier: MIT
# The library, shared and static, and its modules of the CPU: oneDNN (the fast backend) and MPI. Source folders are read
# by wildcard; a file's name says how it is compiled: <f>_ref.c for float and for double, <f>_cpu.c once for each
# instruction set.

SRC := $(wildcard $(addsuffix /*.c,$(addprefix src/,core io data nn train eval ssl api recipe backend backend/host))) \
       src/dist/comm_self.c src/backend/reference/reference.c
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
MODULE_OBJ := $(MODULE_SRC:%.c=$(B)/%.o) $(foreach i,$(ISAS),$(CPU:%.c=$(B)/%.$(i).o)) \
              $(REF_KERNELS:%.c=$(B)/%.f32.o) $(REF_KERNELS:%.c=$(B)/%.f64.o)
SO      := $(L)/libhpt.so.$(VERSION)
MODULE  := $(if $(ONEDNN),$(L)/hpt/libhpt-onednn.so) $(if $(MPI),$(L)/hpt/libhpt-mpi.so)
# the cuda module has no sanitized form: under ASAN=1 the emulated one is tested
CUDA_SO := $(if $(CUDA),$(if $(OUT),,$(L)/hpt/libhpt-cuda.so))
lib: $(SO) $(L)/libhpt.a $(MODULE) $(CUDA_SO)
lib: | say-found
.PHONY: lib

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
# nobody but the reference backend calls these, on one thread, and they take nearly all of its time
ifeq ($(TSAN),1)
$(addprefix $(B)/src/kernels/,conv_ref.f32.o gemm_ref.f32.o): private ALLFLAGS += -fno-sanitize=thread
endif
# image loops gain from -O3; contraction is allowed in the fast CPU kernels except where the written rounding is the
# contract
$(B)/src/data/transform.o: private OPT := -O3
CONTRACTED := $(foreach i,$(ISAS),$(foreach f,act depthwise norm infonce pool,$(B)/src/kernels/$(f)_cpu.$(i).o))
$(CONTRACTED): private ALLFLAGS := $(FLAGS) -ffp-contract=fast $(CFLAGS)
$(B)/src/data/transform.o: private ALLFLAGS := $(FLAGS) -O3 $(CFLAGS)
# what runs once a call and never in a loop over values is compiled for size: the library stays under a megabyte
COLD := $(addprefix $(B)/src/,recipe/% api/% ssl/% core/options% data/known.o data/annotations.o data/list.o \
  data/folders.o nn/recognise.o nn/%_names.o eval/truth%)
$(filter $(COLD),$(OBJ)): private ALLFLAGS := $(subst -O2,-Os,$(FLAGS)) $(CFLAGS)

# products are linked again when the flags (so the object folder) changed
$(L)/.flags: FORCE
	@mkdir -p $(@D); echo $(HASH) | cmp -s - $@ || echo $(HASH) > $@
$(L)/libhpt.map: lib/libhpt.symbols tools/make-map
	@mkdir -p $(@D); LC_ALL=C tools/make-map < $< > $@.new && mv $@.new $@
$(SO): $(OBJ) $(L)/libhpt.map $(L)/.flags
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDSHARED) -Wl,-soname,libhpt.so.$(MAJOR) -Wl,--version-script=$(L)/libhpt.map -o $@.new \
	  $(OBJ) $(LIBS) $(LDFLAGS)
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

MPI_CFLAGS = $(subst -I,-isystem ,$(shell $(PKG) --cflags-only-I ompi-c 2>/dev/null))
MPI_LIBS   = $(shell $(PKG) --libs ompi-c 2>/dev/null)
$(L)/hpt/libhpt-mpi.so: $(B)/src/dist/mpi/comm_mpi.o $(B)/src/dist/watch.o lib/libhpt-module.map $(L)/.flags
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDSHARED) -Wl,--version-script=lib/libhpt-module.map -o $@.new $(filter %.o,$^) $(MPI_LIBS) \
	  -pthread $(LDFLAGS)
	$(DONE)
$(B)/src/dist/mpi/%.o: private ALLFLAGS := $(FLAGS) $(MPI_CFLAGS) $(CFLAGS)
