fuzz_target(template SOURCES template.cpp DEPS sluice_text)
