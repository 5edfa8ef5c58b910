# beam_embed(OUT_VARIABLE SYMBOL file ...): a C file that holds these files of the source tree byte for byte, as the
# table `const beam_embedded SYMBOL[]` of core/embedded.h with their paths as names.
function(beam_embed out symbol)
  set(arrays "")
  set(rows "")
  set(n 0)
  foreach(file ${ARGN})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${file})
    file(READ ${CMAKE_SOURCE_DIR}/${file} bytes HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
    string(APPEND arrays "static const unsigned char file_${n}[] = {${bytes}};\n")
    string(APPEND rows "    {\"${file}\", file_${n}, sizeof file_${n}},\n")
    math(EXPR n "${n} + 1")
  endforeach()
  set(source ${CMAKE_CURRENT_BINARY_DIR}/${symbol}.c)
  file(CONFIGURE OUTPUT ${source} CONTENT
    "#include \"core/embedded.h\"\n\n@arrays@\nconst beam_embedded ${symbol}[] = {\n@rows@};\nconst int ${symbol}_n = ${n};\n" @ONLY)
  set(${out} ${source} PARENT_SCOPE)
endfunction()
