# SPDX-License-Identifier: MIT
# Tests: one program that holds all of them, what runs it in which way, and the checks of source, documents and ABI.
# Tests lie in a folder for each subject, tests/SUBJECT/test_*.c; those of tests/gpu and tests/emu need CUDA's headers.
# What there is and what it takes: TESTING.md.

ON_GPU   := $(wildcard tests/gpu/*.c tests/emu/*.c)
TEST_SRC := $(wildcard tests/*.c) $(filter-out $(ON_GPU),$(wildcard tests/*/test_*.c)) tests/fuzz/targets.c \
            $(if $(EMU),$(ON_GPU))
TEST_OBJ := $(TEST_SRC:%.c=$(B)/%.o)
TEST_INC := -Itests -Itests/gpu -Itests/emu $(CUDA_INC) $(if $(EMU),-DHPT_TEST_EMU='"$(B)/emu"') \
            -Wno-missing-prototypes -DHPT_TEST_MODULES='"$(L)/hpt"' -DHPT_TEST_BIN='"$(BIN)"' -DHPT_TEST_LIB='"$(L)"'
$(B)/tests/%.o: private ALLFLAGS := $(FLAGS) $(TEST_INC) $(CFLAGS)
$(B)/check: $(TEST_OBJ) $(L)/libhpt.a $(EMU)
	$(call say,LD,$@)
	$(Q)$(CC) $(SAN) -o $@ $(TEST_OBJ) $(L)/libhpt.a \
	  $(if $(EMU),$(EMU) -Wl$(comma)-rpath$(comma)'$$ORIGIN/emu') $(LIBS) $(LDFLAGS)
CHECK_BUILD = lib $(if $(CUDA),$(if $(OUT),,$(BIN)/cudnn-plans)) $(if $(CUDA_HEADERS),$(B)/bench/gpu.o) \
              $(BIN)/hpt $(BIN)/demo $(BIN)/bench-ops $(EXAMPLES) $(B)/check

# ---- all of them, two at a time where there are two processors: JOBS=1 for one ----
JOBS     ?= $(if $(filter 1,$(shell nproc 2>/dev/null || echo 1)),1,2)
check: packages-test    ## build, run all tests (under 15 minutes on 2 cores); TESTS="folders names" of them
	$(Q)$(MAKE) --no-print-directory run-check
run-check: $(CHECK_BUILD)
	$(Q)$(B)/check -j $(JOBS) $(TESTS)
check-fast: packages-test   ## the short tests: under a minute on 2 cores
	$(Q)$(MAKE) --no-print-directory run-check-fast
run-check-fast: $(CHECK_BUILD)
	$(Q)$(B)/check -f -j $(JOBS) $(TESTS)
check-all:              ## the same, then again under AddressSanitizer and UndefinedBehaviorSanitizer
	$(Q)$(MAKE) --no-print-directory check
	$(Q)$(MAKE) --no-print-directory check-asan
check-asan: packages-test   ## the tests under ASan and UBSan
	$(Q)ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 HPT_TEST_SLOW=1 \
	  $(MAKE) --no-print-directory ASAN=1 run-check
# Every long call on a model and a recipe cancelled from another thread, a session destroyed while it runs, steps given
# up in the middle, many threads on one context: on the reference backend, some on onednn with its team too (oneDNN
# itself is not instrumented).
TSAN_TESTS := cancel_from_another cancelled_from_another destroyed_while_it_runs one_context_many_threads \
              turns_are_taken callbacks_call an_abandoned_step stopped_calls_go
check-tsan: packages-test   ## the tests of several threads under ThreadSanitizer (about 2 minutes)
	$(Q)TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
	  $(MAKE) --no-print-directory TSAN=1 TESTS="$(TSAN_TESTS)" run-check
coverage-cuda:          ## lines of src/backend/cuda that the tests without a GPU run; fails below 90 %
	$(Q)$(MAKE) --no-print-directory COVER=--coverage measure-coverage
measure-coverage: $(CHECK_BUILD)
	$(Q)find $(B)/emu -name '*.gcda' -delete; $(B)/check -j $(JOBS) cuda
	$(Q)tools/coverage-cuda $(B)
check-bare:             ## README's lines on a bare Debian 12, as root and as a user (needs root, debootstrap, a mirror)
	$(Q)tools/check-bare
.PHONY: check run-check check-fast run-check-fast check-all check-asan check-tsan coverage-cuda measure-coverage \
        check-bare

# ---- source and documents: parts of check ----
check-layers:           ## no include points upward
	$(Q)tools/check-layers
check-style:            ## columns, head comments, names, memory: what docs/style.md asks and a machine can see
	$(Q)tools/check-style
check-docs: $(BIN)/hpt   ## documents name files, targets, commands and options that exist
	$(Q)tools/check-docs $(BIN)/hpt
.PHONY: check-layers check-style check-docs

# ---- what must stay as it is, and how the record is made anew ----
record-plans: $(CHECK_BUILD)   ## tests/golden/plans anew: only by a change that means to change plans
	$(Q)HPT_RECORD_PLANS=tests/golden/plans $(B)/check -j $(JOBS) golden_plans
record-golden: $(CHECK_BUILD)   ## tests/golden/MAJOR.MINOR: files of this version, once, to be read for ever
	$(Q)HPT_RECORD_GOLDEN=1 $(B)/check files_load_for_ever
record-operations: $(CHECK_BUILD)   ## docs/operations.md from src/backend/ops.def and the lists of the backends
	$(Q)HPT_RECORD_OPERATIONS=docs/operations.md $(B)/check operations_page
ABIDW := --no-corpus-path --no-comp-dir-path --drop-private-types --headers-dir include --no-show-locs \
         --no-parameter-names --exported-interfaces-only
ABI   := tests/abi/hpt-$(MAJOR).$(MINOR).abi
check-abi: lib          ## exported symbols against lib/libhpt.symbols, types against the record if abidiff is here
	$(Q)nm -D --defined-only $(SO) | awk '$$2 != "A" {print $$3}' | sed 's/@.*//' | sort | \
	  diff - <(cut -d' ' -f1 lib/libhpt.symbols | sort)
	$(Q)if command -v abidw >/dev/null; then abidw $(ABIDW) $(SO) > $(B)/now.abi; \
	  abidiff --no-added-syms $(ABI) $(B)/now.abi > $(B)/now.diff; rc=$$?; \
	  if [ $$((rc & 11)) != 0 ] || \
	    grep -qE 'offset changed|deletion|enumerator.* (change|from value)|subrange' $(B)/now.diff; then \
	    cat $(B)/now.diff; echo "not compatible with $(ABI)"; exit 1; fi; \
	  echo "compatible with $(ABI): what is new is appended"; \
	  else echo "abidiff is not here (apt-get install abigail-tools): symbols compared, types not"; fi
record-abi: lib         ## the ABI of now becomes the recorded one: at a release, or when what was appended stays
	$(Q)$(MAKE) --no-print-directory check-abi
	$(Q)abidw $(ABIDW) $(SO) > $(ABI)
.PHONY: record-plans record-golden record-operations check-abi record-abi
