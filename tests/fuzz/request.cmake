fuzz_target(request SOURCES request.cpp ../unit/engine/tiny_model.cpp ../unit/model/test_model.cpp
  DEPS sluice_server)
