fuzz_target(http SOURCES http.cpp DEPS sluice_server)
