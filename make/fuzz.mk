# SPDX-License-Identifier: MIT
# Fuzzing: the whole library under libFuzzer, built once by clang; a target is a name of that program. New inputs stay
# in build/fuzz. The corpus of tests/fuzz is played by `make check`, too, without clang.

FUZZ_SECONDS ?= $(if $(FUZZ_RUNS),0,60)
FUZZ_RUNS    ?=
FUZZ_TARGETS ?= $(shell sed -n '/^const fuzz_target fuzz_targets/,/;$$/p' tests/fuzz/targets.c | \
                  grep -o '{"[a-z_]*"' | tr -d '{"')
FUZZ_CC      := clang -std=c11 -O1 -g -w -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
                -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION -ffp-contract=off -pthread -Itests -MMD -MP \
                $(filter -D% -I%,$(FLAGS))
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
fuzz: build/fuzz/hpt    ## libFuzzer on every parser (needs clang): FUZZ_SECONDS, FUZZ_RUNS, FUZZ_TARGETS="torch"
	$(Q)tools/fuzz "$(FUZZ_TARGETS)" $(FUZZ_SECONDS) $(FUZZ_RUNS)
.PHONY: fuzz
