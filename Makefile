# make help.  Knobs: CC= CFLAGS= LDFLAGS= MARCH= CUDA=auto|0|1 CUDA_GENCODE= SANITIZE=address,undefined
# B= PREFIX= DESTDIR=
CFLAGS   ?= -O3 -g
MARCH    ?= native
CUDA     ?= auto
PREFIX   ?= /usr/local
B        ?= build
VERSION  := $(shell git describe --always --dirty 2>/dev/null || cat VERSION)

# The CUDA backend needs nvcc and is left out of sanitizer builds; CUDA=1 makes its absence an error.
HAVE_CUDA := $(if $(wildcard kernels/cuda/*.cu),$(if $(SANITIZE),,$(shell command -v nvcc 2>/dev/null)))
ifeq ($(CUDA),1)
  ifeq ($(HAVE_CUDA),)
    $(error CUDA=1, but there is no nvcc on PATH or the CUDA backend is not in this tree)
  endif
endif
WITH_CUDA := $(if $(filter 0,$(CUDA)),,$(HAVE_CUDA))
BACKENDS  := cpu$(if $(WITH_CUDA), and cuda)
# sm_80 code runs on 8.x, sm_90a (with warpgroup products) on 9.0; the PTX of 9.0 is compiled by the driver for whatever comes after.
CUDA_GENCODE ?= $(foreach a,80 89 90a,-gencode arch=compute_$a,code=sm_$a) \
             -gencode arch=compute_90,code=compute_90
CUDA_HOME := $(if $(WITH_CUDA),$(patsubst %/bin/nvcc,%,$(shell command -v nvcc)))
CUDA_LIB  := $(dir $(firstword $(wildcard $(CUDA_HOME)/lib*/libcudart_static.a)))

PKGS      := jansson msgpack sqlite3 libpng libjpeg libpcre2-8
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS))
PKG_LIBS   = $(shell pkg-config --libs $(PKGS))
WARN      := -Wall -Wextra -Wshadow -Wvla -Wmissing-prototypes -Wstrict-prototypes -Wwrite-strings
# gcc's AddressSanitizer calls a function for each access where there are many, as in loops over matrices; checks in line
# take a fifth less.
INLINE    := $(if $(findstring address,$(SANITIZE)),$(if $(findstring clang,$(CC)),,--param=asan-instrumentation-with-call-threshold=100000))
SAN       := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer $(INLINE))
# No contraction: a*b+c rounds twice wherever the source says so, whichever compiler and CPU.
CC_ALL     = $(CC) -std=c11 -D_GNU_SOURCE -I. -I$B -MMD -MP $(WARN) -march=$(MARCH) -ffp-contract=off -fopenmp \
             $(SAN) $(PKG_CFLAGS) $(if $(WITH_CUDA),-DWITH_CUDA) $(CFLAGS)
NVCC_ALL   = nvcc -std=c++17 -O3 -I. -MMD -MP $(CUDA_GENCODE) \
             -Xcompiler -Wall,-Wextra,-fopenmp,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics \
             -DCUDA_LIBRARIES='"$(CUDA_LIB:%/=%)"' $(NVCCFLAGS)
LD_ALL     = $(CC) -fopenmp $(SAN) $(LDFLAGS)
CUDA_LIBS  = $(if $(WITH_CUDA),-L$(CUDA_LIB) -lcudart_static -lrt -ldl -lpthread)
LIBS       = -Wl,--as-needed $(PKG_LIBS) $(CUDA_LIBS) -lm

TOOLS     := $(patsubst tools/%.c,%,$(wildcard tools/*.c))
UNITS     := $(patsubst %.c,$B/%,$(wildcard tests/unit/*.c))
GOLDENS   := $(addprefix $B/tests/unit/,forward scores model_forms keep)
BENCHES   := $(patsubst %.c,$B/%,$(wildcard tests/bench/*.c))
FUZZERS   := $(patsubst %.c,$B/%,$(filter-out %/driver.c,$(wildcard tests/fuzz/*.c)))
GPU_TESTS := $(if $(WITH_CUDA),$(patsubst %.c,$B/%,$(wildcard tests/gpu/*.c)))
GPU_BENCH := $(patsubst %.c,$B/%,$(wildcard tests/bench/gpu/*.c))
SPEED     := $(patsubst %.c,$B/%.c.o,$(wildcard tests/bench/gpu/parts/*.c))
OBJ       := $(patsubst %,$B/%.o,$(wildcard common/*/*.c kernels/*.c kernels/cpu/*.c kernels/plain/*.c) \
             $(if $(WITH_CUDA),$(wildcard kernels/cuda/*.cu)))
MAN       := $(wildcard man/*.[157])

export CONFIG = $(CC_ALL) | $(LD_ALL) | $(PKG_LIBS) | $(if $(WITH_CUDA),$(NVCC_ALL))
stamp      = @mkdir -p $B; printf '%s\n' $(1) | cmp -s - $@ || printf '%s\n' $(1) >$@

.DEFAULT_GOAL := all

deps:                                ## install what building, running and testing need (Debian, apt)
	pipelines/deps.sh

all: $(TOOLS:%=$B/tools/%)           ## build every tool into build/tools
	@echo "octet $(VERSION): $(words $(TOOLS)) tools in $B/tools, backends: $(BACKENDS)"

install: all                         ## install tools and man pages under DESTDIR/PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(foreach s,1 5 7,$(DESTDIR)$(PREFIX)/share/man/man$s)
	install -m 755 $(TOOLS:%=$B/tools/%) $(DESTDIR)$(PREFIX)/bin
	$(foreach s,1 5 7,install -m 644 $(wildcard man/*.$s) $(DESTDIR)$(PREFIX)/share/man/man$s;)

uninstall:                           ## remove what install put there
	rm -f $(TOOLS:%=$(DESTDIR)$(PREFIX)/bin/%) \
	    $(foreach m,$(MAN),$(DESTDIR)$(PREFIX)/share/man/man$(subst .,,$(suffix $m))/$(notdir $m))

# Points of a small model run side by side; several of a large one might not fit into memory, and a GPU takes one at a
# time.
JOBS      ?= $(if $(filter cuda%,$(DEVICE)),1,$(shell [ "$$(du -skL $(or $(MODEL),data/tiny-qwen2_5-vl) 2>/dev/null | cut -f1)0" -lt 10000000 ] && nproc || echo 1))
sweep report: all
	@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS)) -f pipelines/sweep.mk TOOLS=$B/tools JOBS=$(JOBS) $@
sweep:                               ## calibrate, score, export and measure: MODEL= DATA= COVERAGE= OUT= (pipelines/sweep.mk)
report:                              ## the sweep, and plots of it in OUT (gnuplot)

quantize: all                        ## one or more recipes: calibrate, export, check, measure: MODEL= PRESET= SAMPLES= OUT= (pipelines/quantize.mk)
	@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS)) -f pipelines/quantize.mk TOOLS=$B/tools JOBS=$(JOBS) quantize

results: all                         ## every metrics.json below out into out/results.db (RESULTS=)
	@find $(or $(OUT),out) -name metrics.json | grep -q . || { echo "results: there is no metrics.json below" \
	    "'$(or $(OUT),out)': run make sweep or make quantize first, or give OUT=" >&2; exit 4; }
	find $(or $(OUT),out) -name metrics.json -exec $B/tools/store-metrics -d $(or $(RESULTS),out/results.db) {} + >$B/stored.txt

check: all $(UNITS) $(FUZZERS)       ## every test: unit, command line, man pages; no GPU, no network
	B=$B OMP_WAIT_POLICY=passive CUDA_VISIBLE_DEVICES= prove -j2 --timer $(UNITS) $(FUZZERS) $(wildcard tests/*.t tests/cli/*.t)

check-gpu: all $(GPU_TESTS) $(GOLDENS) ## every operation against the CPU's, and the golden models, on the GPU
	$(if $(WITH_CUDA),,$(error check-gpu needs a build with the CUDA backend: nvcc on PATH, no SANITIZE))
	prove --timer $(GPU_TESTS)
	TEST_DEVICE=cuda prove --timer $(GOLDENS)
	B=$B prove --timer $(wildcard tests/gpu/*.t)

check-peers: all                     ## transformers and compressed-tensors, from PyPI, load our checkpoints and agree
	B=$B tests/peers/run.sh

bench: all $(BENCHES)                ## measure speed; never passes or fails on time (tests/bench)
	B=$B tests/bench/run.sh

bench-gpu: all $(GPU_BENCH)          ## speed of DEVICE= (default cuda), and with MODEL= of whole passes and the tools
	@B=$B tests/bench/gpu/run.sh $(or $(DEVICE),cuda) $(MODEL)

fuzz:                                ## made-up input for every reader (clang, libclang-rt-dev): FUZZ_SECONDS= each, FUZZ=NAME
	@$(MAKE) --no-print-directory CC=clang SANITIZE=fuzzer-no-link,address,undefined B=$B/fuzz \
	    CFLAGS='-O1 -g -Wno-pass-failed' fuzz-run

fuzz-run: $(FUZZERS:=.fuzz)
	B=$B tests/fuzz/run.sh $(or $(FUZZ),$(notdir $(FUZZERS)))

clean:                               ## remove the build and what sweep and quantize left in out/
	rm -rf $B out

help:                                ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 14

$B/liboctet.a: $(OBJ)
	@rm -f $@; ar rcs $@ $^
$(TOOLS:%=$B/tools/%) $(UNITS) $(BENCHES) $(GPU_TESTS) $(GPU_BENCH): $B/%: $B/%.c.o $B/liboctet.a
	@echo '  LD   $@'; $(LD_ALL) -o $@ $(filter %.o,$^) $B/liboctet.a $(LIBS)
$B/tests/bench/gpu/speed: $(SPEED)
$(FUZZERS): $B/%: $B/%.c.o $B/tests/fuzz/driver.c.o $B/liboctet.a
	@echo '  LD   $@'; $(LD_ALL) -o $@ $^ $(LIBS)
$(FUZZERS:=.fuzz): $B/%.fuzz: $B/%.c.o $B/liboctet.a
	@echo '  LD   $@'; $(LD_ALL) -fsanitize=fuzzer -o $@ $^ $(LIBS)
$B/%.c.o: %.c $B/config | $B/version.h
	@mkdir -p $(@D); echo '  CC   $<'; $(CC_ALL) -c -o $@ $<
$B/%.cu.o: %.cu $B/config
	@mkdir -p $(@D); echo '  NVCC $<'; $(NVCC_ALL) -c -o $@ $<
$B/config: FORCE ; $(call stamp,"$$CONFIG")
$B/version.h: FORCE ; $(call stamp,'#define VERSION "$(VERSION)"' '#define BACKENDS "$(BACKENDS)"')

# FORCE must be phony: .SECONDARY alone would skip the stamps.
.PHONY: all check check-gpu check-peers deps sweep report quantize results bench bench-gpu fuzz fuzz-run install uninstall clean help FORCE
.SECONDARY:
-include $(OBJ:.o=.d) $(SPEED:.o=.d) $(patsubst %,$B/%.c.d,$(TOOLS:%=tools/%) $(UNITS:$B/%=%) $(BENCHES:$B/%=%) \
    $(FUZZERS:$B/%=%) $(GPU_TESTS:$B/%=%) $(GPU_BENCH:$B/%=%) tests/fuzz/driver)
