# What a config.json means, without any model.
foreach(name read each rope keys)
  beam_test(model.families_${name} SOURCES families_${name}.c family_text.c ../data/scratch.c LINK beam_families
            LABELS unit)
  target_compile_definitions(model.families_${name} PRIVATE BEAM_SOURCE_FOLDER="${CMAKE_SOURCE_DIR}")
endforeach()
target_sources(model.families_rope PRIVATE ${CMAKE_SOURCE_DIR}/model/rope.c)
