beam_test(train_config_load SOURCES config_load.c LINK beam_train LABELS unit)
beam_test(train_config_refuse SOURCES config_refuse.c LINK beam_train LABELS unit)
beam_test(train_config_dump SOURCES config_dump.c LINK beam_train LABELS unit)
beam_test(train_nearest SOURCES nearest.c LINK beam_train LABELS unit)
