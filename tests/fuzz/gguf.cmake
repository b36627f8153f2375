fuzz_target(gguf SOURCES gguf.cpp DEPS sluice_gguf)
