# SPDX-License-Identifier: MIT
# What is on this machine: libraries by pkg-config or by their header, CUDA by its folder. Each variable may be given
# on the command line, empty to build without (make WEBP= TIFF=). Then the packages of Debian that go with them, what
# `make` says of what it found, and the rule that installs packages where this is root.

PKG      := pkg-config
have      = $(shell $(PKG) --exists $(1) 2>/dev/null && echo 1)
header    = $(shell echo '\#include <$(1)>' | $(CC) -E -xc - >/dev/null 2>&1 && echo 1)
JPEG     ?= $(call have,libjpeg)
PNG      ?= $(call have,libpng)
# libtiff from 4.5 on: older ones report errors through handlers of the whole process
TIFF     ?= $(shell $(PKG) --atleast-version=4.5 libtiff-4 2>/dev/null && echo 1)
WEBP     ?= $(call have,libwebp)
ONEDNN   ?= $(call header,dnnl.h)
MPI      ?= $(call have,ompi-c)
BASE_OK  := $(and $(call have,zlib),$(call have,jansson),$(call have,libxxhash),$(call header,stb/stb_image.h))
CXX_HERE := $(shell command -v $(firstword $(CXX)) 2>/dev/null)

# ---- CUDA: cuDNN and NCCL beside the toolkit, else from the Python wheels nvidia-cudnn and nvidia-nccl ----
CUDA_HOME ?= /usr/local/cuda
NVCC     ?= $(CUDA_HOME)/bin/nvcc
wheel     = $(shell $(PYTHON) -c 'import importlib.util as u; \
  print(list(u.find_spec("nvidia.$(1)").submodule_search_locations)[0])' 2>/dev/null)
CUDNN_HOME ?= $(if $(wildcard $(CUDA_HOME)/include/cudnn.h),$(CUDA_HOME),$(call wheel,cudnn))
NCCL_HOME ?= $(if $(wildcard $(CUDA_HOME)/include/nccl.h),$(CUDA_HOME),$(call wheel,nccl))
CUDA_HEADERS := $(shell [ -f $(CUDA_HOME)/include/cuda_runtime_api.h ] && [ -f $(CUDNN_HOME)/include/cudnn.h ] && \
  [ -f $(NCCL_HOME)/include/nccl.h ] && echo 1)
CUDA     ?= $(and $(CUDA_HEADERS),$(wildcard $(NVCC)))

# ---- what a program is linked with ----
DEPS     := $(if $(TIFF),libtiff-4) $(if $(WEBP),libwebp) $(if $(PNG),libpng) $(if $(JPEG),libjpeg) \
            jansson libxxhash zlib
LIBS     := $(shell $(PKG) --libs $(DEPS) 2>/dev/null) -lm -ldl -pthread
# for programs that link libhpt.a: with what the libraries need in turn, in an order that a static linker accepts
# (libtiff rests on Lerc, which is C++ and does not say so)
STATIC_LIBS := $(shell $(PKG) --static --libs $(DEPS) 2>/dev/null) $(if $(TIFF),-lstdc++) -lm -ldl -pthread

# ---- packages: installed when this is root on a Debian system, else the line to type; never with HPT_INSTALL=0 ----
PACKAGES := gcc make pkg-config zlib1g-dev libjansson-dev libxxhash-dev libstb-dev libjpeg62-turbo-dev libpng-dev \
            libtiff-dev libwebp-dev libdnnl-dev
DEMO_PACKAGES := dataset-fashion-mnist openclipart-png
TEST_PACKAGES := python3 g++ binutils openmpi-bin libopenmpi-dev
HPT_INSTALL ?= 1
define packages
	@missing=""; for p in $(1); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ "$(HPT_INSTALL)" = 1 ]; then \
	    echo "installing$$missing"; \
	    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	      apt-get install -y -qq --no-install-recommends $$missing) >/dev/null || \
	      { echo "apt-get install$$missing failed"; exit 1; }; \
	  else echo "Packages are missing. As root:"; \
	    echo "  apt-get update && apt-get install --no-install-recommends$$missing"; exit 1; fi; fi
endef
packages-demo:
	$(call packages,$(PACKAGES) $(DEMO_PACKAGES))
packages-demo-paper:
	$(call packages,$(PACKAGES) $(DEMO_PACKAGES) oxygen-icon-theme)
packages-demo-adapt:
	$(call packages,$(PACKAGES) openclipart-png oxygen-icon-theme faenza-icon-theme)
packages-test:
	$(call packages,$(PACKAGES) $(TEST_PACKAGES))
.PHONY: packages-demo packages-demo-paper packages-demo-adapt packages-test

# ---- what was found and what is missing, with the line to type: said once, and again when it changed ----
found = $(if $(1),@  found    $(2),@  missing  $(2): $(3))
FOUND := \
  $(call found,$(JPEG),libjpeg-turbo,JPEG files are read by stb_image$(comma) slower  \
    (apt-get install libjpeg62-turbo-dev)) \
  $(call found,$(PNG),libpng,PNG files are read by stb_image$(comma) slower  (apt-get install libpng-dev)) \
  $(call found,$(TIFF),libtiff,compressed TIFF files are not read  (apt-get install libtiff-dev$(comma) 4.5 or later)) \
  $(call found,$(WEBP),libwebp,WebP files are not read  (apt-get install libwebp-dev)) \
  $(call found,$(ONEDNN),oneDNN,only the slow reference backend is built  (apt-get install libdnnl-dev)) \
  $(call found,$(MPI),MPI,no training over several processes  (apt-get install libopenmpi-dev)) \
  $(call found,$(CUDA),CUDA$(comma) cuDNN$(comma) NCCL,no cuda module  \
    (CUDA_HOME=$(CUDA_HOME) CUDNN_HOME=$(CUDNN_HOME) NCCL_HOME=$(NCCL_HOME) say where to look)) \
  $(call found,$(CXX_HERE),C++ compiler,no C++ example  (apt-get install g++))
say-found:
	@mkdir -p build; echo '$(FOUND)' | tr '@' '\n' | sed '1d; s/ *$$//' > build/.found.new; \
	  cmp -s build/.found.new build/.found || { cat build/.found.new; mv build/.found.new build/.found; }; \
	  rm -f build/.found.new
.PHONY: say-found
yes       = $(if $($(1)),yes,no)
LIBRARIES := jpeg-turbo $(call yes,JPEG), libpng $(call yes,PNG), libtiff $(call yes,TIFF), libwebp $(call yes,WEBP), \
             oneDNN $(call yes,ONEDNN)

# Nothing is compiled without the needed packages: with root, `make demo` and `make check` install them; else this says
# what to type. FREE: goals that compile nothing of the library, or see to its packages themselves.
FREE := help clean uninstall demo demo-paper demo-adapt check check-fast check-all check-asan check-tsan check-bare \
        coverage-cuda check-layers check-style packages-% %-gpu need-cuda
ifeq ($(BASE_OK),)
ifneq ($(filter-out $(FREE),$(or $(MAKECMDGOALS),all)),)
$(info Packages are missing. As root:)
$(info $(SPACE)  apt-get update && apt-get install --no-install-recommends $(PACKAGES))
$(info Or with what `make check` and `make demo` need besides:)
$(info $(SPACE)  apt-get update && apt-get install --no-install-recommends \
  $(PACKAGES) $(TEST_PACKAGES) $(DEMO_PACKAGES))
$(error nothing was built)
endif
endif
