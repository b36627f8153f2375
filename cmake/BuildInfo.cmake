# Run at build time: writes OUTPUT, the definition of build_info() for the commit that SOURCE has checked out.
# Nothing is written, and nothing rebuilt, while the commit is the same.
set(commit unknown)
set(number 0)
find_program(GIT git)
if(GIT)
  execute_process(COMMAND ${GIT} rev-parse --short HEAD WORKING_DIRECTORY ${SOURCE}
                  OUTPUT_VARIABLE head OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(commit ${head})
    execute_process(COMMAND ${GIT} rev-list --count HEAD WORKING_DIRECTORY ${SOURCE}
                    OUTPUT_VARIABLE number OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT [[
#include "apps/build_info.h"

sluice::apps::BuildInfo sluice::apps::build_info() {
  return {"@commit@", @number@};
}
]] @ONLY)
