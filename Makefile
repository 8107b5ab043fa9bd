# A thin front for Meson, so that each step is one short command.

BUILD ?= build
PREFIX ?= /usr/local

.PHONY: all deps demo test bench install clean

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	meson setup $(BUILD) --prefix $(PREFIX)

# Debian packages, with apt-get, and only what is missing.
deps:
	tools/install-deps

# These three run on a fresh Debian: they install what is missing first.
demo: deps
	$(MAKE) all
	tools/demo $(BUILD)/src/cli/lodge

test: deps
	$(MAKE) all
	tools/run-tests $(BUILD) $(BUILD)-asan

bench: deps
	$(MAKE) all
	bench/run --build $(BUILD)

install: all
	meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD) $(BUILD)-asan
