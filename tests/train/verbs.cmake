# In double, over the double kernels.
beam_test(train_grads SOURCES grads.c ${CMAKE_CURRENT_SOURCE_DIR}/../data/scratch.c ${CMAKE_SOURCE_DIR}/train/grads.c
          LINK beam_model_fixture beam_test_support beam_model_f64 LABELS train TIMEOUT 60)
