fuzz_target(grammar SOURCES grammar.cpp DEPS sluice_text)
