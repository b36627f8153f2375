# The kernel table and its levels, for this folder and for the cross build of tests/conformance/aarch64.
# Sets kernel_sources.
set(kernel_sources dispatch.cpp kernels_scalar.cpp)

# One file per instruction set level with its own flags; see simd/common.h for what such files must not
# contain. Operations on floats stay as they are written: levels and compilers agree bit for bit.
# Sanitisers would take minutes to compile each of them, so they stay out; the scalar kernels have them.
set(flags_kernels_scalar -ffp-contract=off)
set(level_flags -ffp-contract=off -fno-sanitize=all)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(avx2 -mavx2 -mfma -mf16c -mbmi -mbmi2 ${level_flags})
  set(avx512 ${avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND avx512 -Wno-maybe-uninitialized -Wno-uninitialized)  # the compiler's own intrinsics
  endif()
  list(APPEND kernel_sources kernels_avx2.cpp kernels_avx_vnni.cpp kernels_avx512.cpp)
  set(flags_kernels_avx2 ${avx2})
  set(flags_kernels_avx_vnni ${avx2} -mavxvnni)
  set(flags_kernels_avx512 ${avx512})
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  list(APPEND kernel_sources kernels_neon.cpp)
  set(flags_kernels_neon -march=armv8.2-a+dotprod ${level_flags})
endif()

list(TRANSFORM kernel_sources PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
foreach(source ${kernel_sources})
  get_filename_component(name ${source} NAME_WE)
  if(DEFINED flags_${name})
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${flags_${name}}")
  endif()
endforeach()
