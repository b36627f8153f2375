# What `cmake --install` and the packages put where: bin/sluice, the library with its header, pkg-config and CMake
# package, and what the program writes about itself (manual page, completion of shells).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS sluice RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS sluice_library EXPORT SluiceTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} INCLUDES DESTINATION include)
install(FILES ${PROJECT_SOURCE_DIR}/include/sluice/sluice.h DESTINATION include/sluice)
install(EXPORT SluiceTargets NAMESPACE sluice:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Sluice)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/SluiceConfig.cmake.in ${PROJECT_BINARY_DIR}/SluiceConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Sluice)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/SluiceConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/SluiceConfig.cmake ${PROJECT_BINARY_DIR}/SluiceConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Sluice)
# The prefix is known when it is installed, not before (cmake --install --prefix).
install(CODE "
  set(PROJECT_VERSION ${PROJECT_VERSION})
  set(SLUICE_PC_LIBDIR \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}\")
  configure_file(\"${PROJECT_SOURCE_DIR}/cmake/sluice.pc.in\" \"${PROJECT_BINARY_DIR}/sluice.pc\" @ONLY)
  file(INSTALL \"${PROJECT_BINARY_DIR}/sluice.pc\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig\")")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION share/doc/sluice RENAME copyright)

if(NOT CMAKE_CROSSCOMPILING AND NOT SLUICE_SANITIZE AND NOT SLUICE_FUZZ)
  set(share ${PROJECT_BINARY_DIR}/share)
  set(written ${share}/sluice.1 ${share}/sluice.bash ${share}/_sluice ${share}/sluice.fish)
  add_custom_command(OUTPUT ${written}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${share}
    COMMAND sluice completion man > ${share}/sluice.1
    COMMAND sluice completion bash > ${share}/sluice.bash
    COMMAND sluice completion zsh > ${share}/_sluice
    COMMAND sluice completion fish > ${share}/sluice.fish
    DEPENDS sluice VERBATIM)
  add_custom_target(sluice_share ALL DEPENDS ${written})
  install(FILES ${share}/sluice.1 DESTINATION share/man/man1)
  install(FILES ${share}/sluice.bash DESTINATION share/bash-completion/completions RENAME sluice)
  install(FILES ${share}/_sluice DESTINATION share/zsh/vendor-completions)
  install(FILES ${share}/sluice.fish DESTINATION share/fish/vendor_completions.d)
endif()

# cpack -G DEB
set(CPACK_PACKAGE_NAME sluice)
set(CPACK_PACKAGE_VENDOR Sluice)
set(CPACK_PACKAGE_CONTACT "The Sluice authors <sluice@example.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "inference of sparse mixture-of-experts models larger than memory")
set(CPACK_PACKAGE_DESCRIPTION "Sluice runs mixture-of-experts language models from GGUF files, with experts in the GPU's memory, in\nmain memory and on the disk. The program, a C library, manual page and shell completion.")
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "ca-certificates")
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
include(CPack)
