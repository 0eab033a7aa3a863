# SPDX-License-Identifier: MIT
# libhpt. This file holds what may be set, the flags, how a file is compiled, and the targets that build, install and
# clean; the rest by subject:
#   make/find.mk      which libraries are here, and what is said of those that are not
#   make/lib.mk       the library, its oneDNN and MPI modules
#   make/cuda.mk      the cuda module, the same on an emulated device, tests and benchmarks on a GPU
#   make/programs.mk  hpt, demo, examples, benchmarks
#   make/tests.mk     tests and checks
#   make/fuzz.mk      libFuzzer
# Objects lie in build/<hash of the flags>/, products in lib/ and bin/. `make help` lists the targets.

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
comma    := ,
EMPTY    :=
SPACE    := $(EMPTY) $(EMPTY)

# ---- version: from hpt.h, once ----
ver      = $(shell sed -n 's/^\#define HPT_VERSION_$(1) //p' include/hpt.h)
MAJOR   := $(call ver,MAJOR)
MINOR   := $(call ver,MINOR)
PATCH   := $(call ver,PATCH)
VERSION := $(MAJOR).$(MINOR).$(PATCH)

include make/find.mk

# ---- flags ----
WARN     := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-psabi \
            $(if $(filter 1,$(WERROR)),-Werror)
OPT      := $(if $(filter 1,$(DEBUG)),-O0,-O2)
SAN      := $(if $(filter 1,$(ASAN)),-fsanitize=address$(comma)undefined -fno-sanitize-recover=all \
              -fno-omit-frame-pointer) $(if $(filter 1,$(TSAN)),-fsanitize=thread)
HAVE     := $(if $(JPEG),-DHPT_HAVE_JPEG) $(if $(PNG),-DHPT_HAVE_PNG) $(if $(TIFF),-DHPT_HAVE_TIFF) \
            $(if $(WEBP),-DHPT_HAVE_WEBP)
FLAGS    := -std=c11 $(OPT) -g $(WARN) $(SAN) -fPIC -fvisibility=hidden -ffp-contract=off \
            -fno-semantic-interposition -pthread -Iinclude -Isrc -MMD -MP \
            $(HAVE) \
            $(shell $(PKG) --cflags $(DEPS) 2>/dev/null)
ALLFLAGS := $(FLAGS) $(CFLAGS)
LDSHARED := -shared -Wl,-z,defs -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,-z,nodelete \
            -Wl,-Bsymbolic-functions $(SAN)

# ---- where things go: sanitized products stay in the build folder; lib/ and bin/ always hold the plain ones ----
HASH     := $(shell echo '$(CC) $(ALLFLAGS) $(COVER)' | cksum | cut -d' ' -f1)
B        := build/$(HASH)
OUT      := $(if $(filter 1,$(ASAN) $(TSAN))$(COVER),$(B)/)
L        := $(OUT)lib
BIN      := $(OUT)bin
# A product is written beside its place and renamed, so that whoever runs or loads the one that is there (a test beside
# a build) never meets half a file.
DONE = @mv -f $@.new $@

# ---- how a file is compiled; what needs other flags says so where it is listed ----
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALLFLAGS) -c $< -o $@
FORCE:
.PHONY: FORCE

include make/lib.mk make/cuda.mk make/programs.mk make/tests.mk make/fuzz.mk

all: lib $(BIN)/hpt $(EXAMPLES)  ## library, module, bin/hpt and the examples
.PHONY: all

# ---- install ----
# hpt.pc and the CMake package find the prefix from where they lie, so that an installed tree can be moved.
UP_FROM   = $(shell realpath -m --relative-to=$(LIBDIR)/$(1) $(PREFIX))
BELOW     = $(shell realpath -m --relative-to=$(PREFIX) $(1))
FILL      = sed -e 's|@UP@|$(call UP_FROM,$(1))|' -e 's|@LIBDIR@|$(call BELOW,$(LIBDIR))|' \
            -e 's|@INCLUDEDIR@|$(call BELOW,$(INCLUDEDIR))|' -e 's|@VERSION@|$(VERSION)|' -e 's|@MAJOR@|$(MAJOR)|' \
            -e 's|@MINOR@|$(MINOR)|' -e 's|@PRIVATE@|$(STATIC_LIBS)|'
install: lib $(BIN)/hpt ## DESTDIR, PREFIX, LIBDIR, INCLUDEDIR, BINDIR, DOCDIR
	$(Q)$(MAKE) --no-print-directory install-built
install-built:          ## what lies in lib/ and bin/ as it is, whatever flags it was built with: builds nothing
	$(Q)install -d $(addprefix $(DESTDIR),$(LIBDIR)/hpt $(LIBDIR)/pkgconfig $(LIBDIR)/cmake/hpt $(INCLUDEDIR) $(BINDIR) \
	  $(DOCDIR)/examples/recipes)
	$(Q)install -m 644 include/hpt.h $(DESTDIR)$(INCLUDEDIR)/
	$(Q)install -m 755 $(SO) $(DESTDIR)$(LIBDIR)/
	$(Q)ln -sf $(notdir $(SO)) $(DESTDIR)$(LIBDIR)/libhpt.so.$(MAJOR)
	$(Q)ln -sf libhpt.so.$(MAJOR) $(DESTDIR)$(LIBDIR)/libhpt.so
	$(Q)install -m 644 $(L)/libhpt.a $(DESTDIR)$(LIBDIR)/
	$(Q)for m in $(wildcard $(MODULE) $(CUDA_SO)); do install -m 755 $$m $(DESTDIR)$(LIBDIR)/hpt/ || exit 1; done
	$(Q)install -m 755 $(BIN)/hpt $(DESTDIR)$(BINDIR)/
	$(Q)install -m 644 README.md CHANGELOG.md LICENSE docs/*.md $(DESTDIR)$(DOCDIR)/
	$(Q)install -m 644 $(wildcard examples/[0-9]*) examples/README.md $(DESTDIR)$(DOCDIR)/examples/
	$(Q)install -m 644 examples/recipes/* $(DESTDIR)$(DOCDIR)/examples/recipes/
	$(Q)$(call FILL,pkgconfig) pkgconfig/hpt.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/hpt.pc
	$(Q)for f in hptConfig hptConfigVersion; do \
	  $(call FILL,cmake/hpt) pkgconfig/$$f.cmake.in > $(DESTDIR)$(LIBDIR)/cmake/hpt/$$f.cmake; done
	$(Q)if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ] && command -v ldconfig >/dev/null; then ldconfig; fi
uninstall:              ## remove what install put there
	$(Q)rm -f $(DESTDIR)$(LIBDIR)/libhpt.* $(DESTDIR)$(LIBDIR)/hpt/libhpt-*.so \
	  $(DESTDIR)$(LIBDIR)/pkgconfig/hpt.pc $(DESTDIR)$(INCLUDEDIR)/hpt.h $(DESTDIR)$(BINDIR)/hpt
	$(Q)rm -rf $(DESTDIR)$(LIBDIR)/cmake/hpt $(DESTDIR)$(DOCDIR)
	$(Q)for d in $(LIBDIR)/hpt $(LIBDIR)/cmake $(LIBDIR)/pkgconfig; do rmdir $(DESTDIR)$$d 2>/dev/null || true; done
clean:                  ## remove builds and products (not demo/out)
	$(Q)rm -rf build bin lib/*.so* lib/*.a lib/hpt lib/.flags
.PHONY: install install-built uninstall clean

PARTS := Makefile $(addprefix make/,lib.mk tests.mk cuda.mk programs.mk fuzz.mk)
help:                   ## this list
	@echo "libhpt $(VERSION): $(LIBRARIES)"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' $(PARTS) | column -t -s'|' 2>/dev/null || \
	  sed -n 's/^\([a-z-]*\):.*## /  \1: /p' $(PARTS)
	@echo "  variables: CC CFLAGS V=1 DEBUG=1 WERROR=1 ASAN=1 TSAN=1 PREFIX DESTDIR LIBDIR INCLUDEDIR BINDIR"
.PHONY: help

-include $(shell find $(B) build/fuzz -name '*.d' 2>/dev/null)
