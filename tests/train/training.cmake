set(scratch ${CMAKE_CURRENT_SOURCE_DIR}/../data/scratch.c)
beam_test(train_optim SOURCES optim.c LINK beam_test_support beam_optim beam_comm LABELS unit)
beam_test(train_shard SOURCES shard.c LINK beam_test_support beam_train LABELS unit)
beam_test(train_resume SOURCES resume.c tiny_run.c ${scratch} LINK beam_train LABELS train TIMEOUT 120)
beam_test(train_folder SOURCES folder.c tiny_run.c ${scratch} LINK beam_train LABELS train TIMEOUT 120)
beam_test(train_behaviour SOURCES behaviour.c tiny_run.c ${scratch} LINK beam_train LABELS train TIMEOUT 120)
beam_test(train_terms SOURCES terms.c tiny_run.c ${scratch} LINK beam_train LABELS train TIMEOUT 120)
beam_test(train_tensorboard SOURCES tensorboard.c tiny_run.c ${scratch} ${CMAKE_CURRENT_SOURCE_DIR}/../data/events.c
  LINK beam_train LABELS train)
beam_test(train_experts SOURCES experts.c planted.c tiny_run.c ${scratch} LINK beam_train LABELS train)
beam_test(train_protect SOURCES protect.c planted.c tiny_run.c ${scratch} LINK beam_train beam_serve LABELS train TIMEOUT 120)
beam_test(train_estimate SOURCES estimate.c ${scratch} LINK beam_train LABELS train)

# Several ranks. Without MPI there is nothing to start them, and the tests are skipped.
if(BEAM_MPI_TARGET)
  list(JOIN BEAM_MPIRUN " " mpirun)
  set(job BEAM_MPIRUN=${mpirun} BEAM_PROGRAM=$<TARGET_FILE:beam> OMP_NUM_THREADS=1 ${BEAM_MPIRUN_ENVIRONMENT})
endif()
foreach(name ranks ranks_failing expert_parallel)
  beam_test(train_${name} SOURCES ${name}.c job.c planted.c tiny_run.c ${scratch} LINK beam_train beam_serve LABELS train mpi
    TIMEOUT 120 ENVIRONMENT ${job})
endforeach()
