set(scratch ${CMAKE_CURRENT_SOURCE_DIR}/../data/scratch.c)
beam_test(train_optim SOURCES optim.c LINK beam_test_support beam_optim beam_comm LABELS unit)
beam_test(train_resume SOURCES resume.c tiny_run.c ${scratch} LINK beam_train LABELS train TIMEOUT 120)
beam_test(train_folder SOURCES folder.c tiny_run.c ${scratch} LINK beam_train LABELS train TIMEOUT 120)
beam_test(train_behaviour SOURCES behaviour.c tiny_run.c ${scratch} LINK beam_train LABELS train TIMEOUT 120)
beam_test(train_tensorboard SOURCES tensorboard.c tiny_run.c ${scratch} ${CMAKE_CURRENT_SOURCE_DIR}/../data/events.c
  LINK beam_train LABELS train)
beam_test(train_estimate SOURCES estimate.c ${scratch} LINK beam_train LABELS train)
