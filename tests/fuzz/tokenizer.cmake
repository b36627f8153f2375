fuzz_target(tokenizer SOURCES tokenizer.cpp DEPS sluice_text)
