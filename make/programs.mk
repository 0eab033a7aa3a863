# SPDX-License-Identifier: MIT
# Programs over the library: the command hpt, the demo, the examples, the benchmarks. They see include/hpt.h and nothing
# else, and find the library in ../lib.

EXAMPLES := $(patsubst examples/%.c,$(BIN)/%,\
              $(filter-out $(if $(MPI),,examples/07_mpi_gpus.c),$(wildcard examples/[0-9]*.c))) \
            $(if $(CXX_HERE),$(patsubst examples/%.cpp,$(BIN)/%,$(wildcard examples/*.cpp)))
RPATH := -Wl,-rpath,'$$ORIGIN/../lib'
$(BIN)/hpt: $(wildcard examples/hpt/*.c examples/hpt/*.h) $(SO) include/hpt.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=c11 $(OPT) -g $(WARN) $(SAN) -Iinclude $(filter %.c,$^) -o $@.new -L$(L) -lhpt $(RPATH) \
	  -ljansson -lm -pthread
	$(DONE)
$(BIN)/demo: $(wildcard examples/demo/*.c examples/demo/*.h) $(SO) include/hpt.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=c11 $(OPT) -g $(WARN) $(SAN) -Iinclude $(filter %.c,$^) -o $@.new -L$(L) -lhpt $(RPATH) \
	  -lpng -ljansson -lm
	$(DONE)
$(BIN)/07_mpi_gpus: examples/07_mpi_gpus.c $(SO) include/hpt.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=c99 $(OPT) -g $(WARN) $(SAN) -Iinclude $(MPI_CFLAGS) $< -o $@.new -L$(L) -lhpt $(RPATH) $(MPI_LIBS)
	$(DONE)
$(BIN)/%: examples/%.c $(SO) include/hpt.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=c99 $(OPT) -g $(WARN) $(SAN) -Iinclude $< -o $@.new -L$(L) -lhpt $(RPATH)
	$(DONE)
$(BIN)/%: examples/%.cpp $(SO) include/hpt.h
	@mkdir -p $(@D)
	$(call say,CXX,$@)
	$(Q)$(CXX) -std=c++17 $(OPT) -g -Wall -Wextra -Wpedantic $(if $(filter 1,$(WERROR)),-Werror) $(SAN) -Iinclude $< \
	  -o $@.new -L$(L) -lhpt $(RPATH)
	$(DONE)

demo: packages-demo     ## hierarchical pretraining on real images, 9 minutes on 2 cores; report in demo/out/report.html
	$(Q)$(MAKE) --no-print-directory $(BIN)/demo $(BIN)/hpt lib
	$(Q)$(BIN)/demo $(DEMO_ARGS)
	@echo "Your own images next, starting from weights of your choice (small images: --stem small --image_size 32):"
	@echo "  bin/hpt pretrain --data FOLDER --init base.pth --out run --batch_size 64 --steps 200"
# goes on where it was stopped
demo-paper: packages-demo-paper   ## figures of the paper in small, 45 minutes on 2 cores; demo/paper/report.html
	$(Q)$(MAKE) --no-print-directory $(BIN)/hpt lib
	$(Q)$(BIN)/hpt run examples/recipes/small-paper.ini
demo-adapt: packages-demo-adapt   ## table 3 of the paper in small; demo/table3/report.html
	$(Q)$(MAKE) --no-print-directory $(BIN)/hpt lib
	$(Q)sh examples/demo/icon-lists.sh demo/icons
	$(Q)$(BIN)/hpt run examples/recipes/small-table3.ini

bench: lib $(BIN)/hpt $(BIN)/bench-step $(BIN)/bench-images ## steps, images, boxes, beside what PYTHON=... can import
	$(Q)$(PYTHON) bench/bench.py $(BENCH_ARGS)
$(BIN)/bench-%: bench/%.c bench/common.h $(SO)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=c11 -O2 -g $(WARN) -Iinclude $< -o $@.new -L$(L) -lhpt $(RPATH) -lm
	$(DONE)
# it calls what is inside of the library
$(BIN)/bench-ops: bench/ops.c bench/common.h $(L)/libhpt.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=c11 -O2 -g $(WARN) $(SAN) -Iinclude -Isrc $< -o $@.new $(L)/libhpt.a $(LIBS) $(LDFLAGS)
	$(DONE)
bench-ops: lib $(BIN)/bench-ops   ## operations at EfficientNet's shapes, beside PyTorch where PYTHON=... can import it
	$(Q)$(PYTHON) bench/ops.py $(BIN)/bench-ops $(BENCH_ARGS)
.PHONY: demo demo-paper demo-adapt bench bench-ops
