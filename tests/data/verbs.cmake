beam_test(data_ids SOURCES ids.c scratch.c LINK beam_data LABELS unit)
beam_test(data_hf_export SOURCES hf_export.c scratch.c LINK beam_families LABELS unit)
