/* Any bytes as an evaluation, as a run's metrics, and as scores of lm-evaluation-harness: refused, or its
 * numbers are in their ranges. */
#include <math.h>

#include "data/lm_eval.h"
#include "data/results.h"
#include "fuzz/fuzz.h"

void fuzz_seeds(fuzz_taker take, void *context)
{
    fuzz_seed_text(
        take, context,
        "{\"model\":\"m\",\"data\":\"v.h5\",\"targets\":100,\"top_k\":4,\"loss\":1.2,\"accuracy\":0.5,"
        "\"avg_active\":1.5,\"moe_flops_saved\":0.6,\"masks\":true,\"pruned_to\":2,"
        "\"expert_load\":[[0.5,0,1,0],[0.25,null,0,0.5]],\"distinct_experts\":{\"1\":4,\"2\":null},"
        "\"sample\":{\"tokenizer\":\"byte\",\"ids\":[1,2],\"kept\":[3,4.5]}}");
    fuzz_seed_text(
        take, context,
        "{\"step\":1,\"loss\":2,\"task_loss\":null,\"avg_active\":3,\"lr\":2e-4,\"active\":[2,4]}\n"
        "{\"step\":1,\"eval_loss\":1.25,\"eval_accuracy\":0.6}\n{\"step\":2,\"loss\":1,\"active\":[1,0]}\n"
        "{\"step\":2,\"other\":1}\n{\"step\":3,");
    fuzz_seed_text(
        take, context,
        "{\"results\":{\"g\":{\"alias\":\"g\",\"acc,none\":0.5,\"acc_stderr,none\":0.1},\"t\":{\"acc,none\":"
        "1,"
        "\"acc_stderr,none\":\"N/A\",\"ppl,x\":9.5}},\"group_subtasks\":{\"g\":[\"t\"]},\"n-shot\":{\"t\":5},"
        "\"n-samples\":{\"t\":{\"original\":9,\"effective\":7}},\"higher_is_better\":{\"t\":{\"acc\":true,"
        "\"ppl\":null}},\"model_name\":\"org/model\"}");
}

static void check_evaluation(const char *path)
{
    beam_evaluation e;
    if (beam_evaluation_read(path, &e) != BEAM_OK)
        return;
    BEAM_ASSERT(!(e.accuracy < 0 || e.accuracy > 1) && e.top_k > 0 && e.targets >= 0);
    BEAM_ASSERT((e.load != NULL) == (e.layers > 0));
    for (int64_t i = 0; i < e.layers * e.experts; i++)
        BEAM_ASSERT(isnan(e.load[i]) || e.load[i] >= 0);
    for (int64_t i = 0; i < e.sample.n; i++)
        BEAM_ASSERT(e.sample.id[i] >= 0 && (isnan(e.sample.kept[i]) || e.sample.kept[i] >= 0));
    beam_evaluation_free(&e);
}

static void check_history(void)
{
    beam_history h;
    if (beam_history_read(fuzz_folder(), &h) != BEAM_OK)
        return;
    const double *step = beam_column(&h.steps, BEAM_STEP);
    BEAM_ASSERT(h.steps.rows > 0 && h.steps.columns == BEAM_STEP_COLUMNS + h.layers);
    for (int64_t i = 1; i < h.steps.rows; i++)
        BEAM_ASSERT(step[i] > step[i - 1]);
    beam_history_free(&h);
}

static void check_scores(const char *path)
{
    beam_lm_eval e;
    bool known = false;
    if (beam_lm_eval_read(path, &e) != BEAM_OK)
        return;
    BEAM_ASSERT(beam_lm_eval_recognise(path, &known) == BEAM_OK && known && e.n > 0);
    for (int64_t i = 0; i < e.n; i++) {
        const beam_lm_eval_score *s = &e.score[i];
        BEAM_ASSERT(beam_lm_eval_find(&e, s) == s && s->task[0] && s->metric[0] && s->filter[0]);
        BEAM_ASSERT(isfinite(s->value) && (isnan(s->error) || s->error >= 0));
        BEAM_ASSERT(s->questions >= -1 && s->n_shot >= -1);
    }
    beam_lm_eval_free(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *path = fuzz_file("metrics.jsonl", bytes, size);
    check_evaluation(path);
    check_scores(path);
    check_history();
    return 0;
}
