# How do files travel inside the executable? fathom_embed(target name BASE dir FILES ...) adds to `target` the files as
# they are, by the assembler's .incbin, and the function that lists them: fathom::embedded_<name>(), declared by who uses
# it (see base/embedded.h). A file's name there is its path below BASE. Building again after a change takes it along.
function(fathom_embed target name)
  cmake_parse_arguments(ARG "" "BASE" "FILES" ${ARGN})
  get_filename_component(base ${ARG_BASE} ABSOLUTE)
  list(SORT ARG_FILES)
  set(symbols "")
  set(entries "")
  set(number 0)
  foreach(file IN LISTS ARG_FILES)
    get_filename_component(file ${file} ABSOLUTE)
    file(RELATIVE_PATH path ${base} ${file})
    set(begin "fathom_${name}_${number}_begin")
    set(end "fathom_${name}_${number}_end")
    string(APPEND symbols
      "asm(\".pushsection .rodata\\n${begin}: .incbin \\\"${file}\\\"\\n${end}: .byte 0\\n.popsection\\n\");\n"
      "__attribute__((visibility(\"hidden\"))) extern const char begin_${number}[] asm(\"${begin}\");\n"
      "__attribute__((visibility(\"hidden\"))) extern const char end_${number}[] asm(\"${end}\");\n")
    string(APPEND entries
      "      {\"${path}\", {begin_${number}, static_cast<size_t>(end_${number} - begin_${number})}},\n")
    math(EXPR number "${number} + 1")
  endforeach()
  set(source ${CMAKE_CURRENT_BINARY_DIR}/embedded_${name}.cpp)
  file(CONFIGURE OUTPUT ${source} @ONLY CONTENT "// Made by cmake/Embed.cmake.
#include \"base/embedded.h\"

@symbols@
namespace fathom {
std::span<const EmbeddedFile> embedded_@name@();
std::span<const EmbeddedFile> embedded_@name@() {
  static const EmbeddedFile files[] = {
@entries@  };
  return files;
}
}  // namespace fathom
")
  set_source_files_properties(${source} PROPERTIES OBJECT_DEPENDS "${ARG_FILES}" SKIP_PRECOMPILE_HEADERS ON)
  target_sources(${target} PRIVATE ${source})
endfunction()
