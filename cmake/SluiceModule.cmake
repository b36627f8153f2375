# One library per module of src/, one test program per folder of tests/unit.

add_library(sluice_flags INTERFACE)
target_compile_options(sluice_flags INTERFACE -Wall -Wextra -Wshadow -Wno-missing-field-initializers)
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  # Where the base instruction set has fused multiply-adds: operations on floats stay as they are written.
  target_compile_options(sluice_flags INTERFACE -ffp-contract=off)
endif()
if(SLUICE_WERROR)
  target_compile_options(sluice_flags INTERFACE -Werror)
endif()
if(SLUICE_SANITIZE)
  target_compile_options(sluice_flags INTERFACE -fsanitize=${SLUICE_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(sluice_flags INTERFACE -fsanitize=${SLUICE_SANITIZE})
  if(SLUICE_SANITIZE MATCHES "undefined")
    target_compile_options(sluice_flags INTERFACE -fno-sanitize-recover=undefined)
  endif()
endif()
if(SLUICE_FUZZ)
  # Coverage for every module, the fuzzing main only for the targets in tests/fuzz.
  target_compile_options(sluice_flags INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(sluice_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# sluice_module(name SOURCES ... DEPS ...): static library sluice_<name>.
function(sluice_module name)
  cmake_parse_arguments(M "" "" "SOURCES;DEPS" ${ARGN})
  add_library(sluice_${name} STATIC ${M_SOURCES})
  target_include_directories(sluice_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  set_target_properties(sluice_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(sluice_${name} PUBLIC ${M_DEPS} PRIVATE sluice_flags)
endfunction()

# sluice_test(name SOURCES ... DEPS ...): GoogleTest program <name>_test, known to ctest as one test.
# The program finds its data through SLUICE_TEST_DATA (tests/) and SLUICE_ROOT (the checkout).
function(sluice_test name)
  cmake_parse_arguments(T "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name}_test ${T_SOURCES})
  target_link_libraries(${name}_test PRIVATE ${T_DEPS} GTest::gtest GTest::gmock GTest::gtest_main sluice_flags)
  # Only for sources that want them: the others compile the same in every checkout, for a compiler cache.
  foreach(source ${T_SOURCES})
    file(STRINGS ${source} wants REGEX "SLUICE_(TEST_DATA|ROOT)" LIMIT_COUNT 1)
    if(wants)
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_DEFINITIONS
                   SLUICE_TEST_DATA="${PROJECT_SOURCE_DIR}/tests" SLUICE_ROOT="${PROJECT_SOURCE_DIR}")
    endif()
  endforeach()
  add_test(NAME ${name} COMMAND ${name}_test)
endfunction()
