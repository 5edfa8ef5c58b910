set(scratch ${CMAKE_CURRENT_SOURCE_DIR}/../data/scratch.c)
beam_test(train_optim SOURCES optim.c LINK beam_test_support beam_optim beam_comm LABELS unit)
beam_test(train_resume SOURCES resume.c tiny_run.c ${scratch} LINK beam_train LABELS train TIMEOUT 120)
beam_test(train_behaviour SOURCES behaviour.c tiny_run.c ${scratch} LINK beam_train LABELS train TIMEOUT 120)
