#include "kernels/cuda/cudnn_plan.h"

enum { MOST_CHOICES = 8, MOST_NOTES = CUDNN_NUMERICAL_NOTE_TYPE_COUNT };

static void set_item(beam_cudnn_graph *g, beam_cudnn_item item, cudnnBackendAttributeName_t name,
                     beam_cudnn_item value)
{
    beam_cudnn_set(g, item, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static bool ok(const beam_cudnn_plan *p)
{
    return p->graph.status == CUDNN_STATUS_SUCCESS;
}

static bool get(const beam_cudnn_plan *p, beam_cudnn_item item, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, void *value)
{
    int64_t n = 0;
    return ok(p) && p->graph.lib->item_get(item, name, type, 1, &n, value) == CUDNN_STATUS_SUCCESS && n == 1;
}

/* Whether the engine of a configuration is one that cuDNN does not call nondeterministic; notes its number.
 */
static bool is_repeatable(beam_cudnn_plan *p, beam_cudnn_item configuration)
{
    cudnnBackendNumericalNote_t notes[MOST_NOTES];
    int64_t n = 0;
    beam_cudnn_item engine = beam_cudnn_make(&p->graph, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    if (!get(p, configuration, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, &engine) ||
        !get(p, engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, &p->engine) ||
        p->graph.lib->item_get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                               MOST_NOTES, &n, notes) != CUDNN_STATUS_SUCCESS)
        return false;
    for (int64_t i = 0; i < n; i++)
        if (notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)
            return false;
    return true;
}

bool beam_cudnn_plan_propose(beam_cudnn_plan *p)
{
    beam_cudnn_graph *g = &p->graph;
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    const beam_cudnn_item heuristic = beam_cudnn_make(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    set_item(g, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, p->operations);
    set_item(g, heuristic, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, g->lib->device);
    beam_cudnn_set(g, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    beam_cudnn_finish(g, heuristic);
    beam_cudnn_item proposed[MOST_CHOICES];
    for (int i = 0; i < MOST_CHOICES; i++)
        proposed[i] = beam_cudnn_make(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    int64_t n = 0;
    if (!ok(p) || g->lib->item_get(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                   MOST_CHOICES, &n, proposed) != CUDNN_STATUS_SUCCESS)
        return false;
    for (int64_t i = 0; i < n && i < MOST_CHOICES && !p->choice; i++)
        if (is_repeatable(p, proposed[i]))
            p->choice = proposed[i];
    return p->choice != NULL;
}

/* What the heuristic proposes for the backward pass adds up dq with atomic additions, without saying so in
 * its notes (github.com/karpathy/llm.c, pull request 652, has measured it). From 9.25 on, engine 6 of an H100
 * or H200 adds them in order if asked for 4 stages, in tiles of 64 x 64 (github.com/NVIDIA/cudnn-frontend,
 * pull request 398). */
static bool choose_ordered(beam_cudnn_plan *p)
{
    static const struct {
        cudnnBackendKnobType_t type;
        int64_t value;
    } knob[] = {
        {CUDNN_KNOB_TYPE_TILE_M, 2},   {CUDNN_KNOB_TYPE_TILE_N, 1},     {CUDNN_KNOB_TYPE_KERNEL_CFG, 2},
        {CUDNN_KNOB_TYPE_STREAM_K, 0}, {CUDNN_KNOB_TYPE_TILE_CGA_M, 0}, {CUDNN_KNOB_TYPE_STAGES, 4},
    };
    enum { KNOBS = sizeof knob / sizeof knob[0] };
    beam_cudnn_graph *g = &p->graph;
    if (g->lib->version < BEAM_CUDNN_ORDERED || g->lib->major != 9)
        return false;
    p->engine = 6;
    const beam_cudnn_item engine = beam_cudnn_make(g, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    set_item(g, engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, p->operations);
    set_item(g, engine, CUDNN_ATTR_ENGINE_DEVICEPROP, g->lib->device);
    beam_cudnn_set(g, engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &p->engine);
    beam_cudnn_finish(g, engine);
    beam_cudnn_item chosen[KNOBS];
    for (int i = 0; i < KNOBS; i++) {
        chosen[i] = beam_cudnn_make(g, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
        beam_cudnn_set(g, chosen[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1,
                       &knob[i].type);
        beam_cudnn_set(g, chosen[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &knob[i].value);
        beam_cudnn_finish(g, chosen[i]);
    }
    p->choice = beam_cudnn_make(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    set_item(g, p->choice, CUDNN_ATTR_ENGINECFG_ENGINE, engine);
    beam_cudnn_set(g, p->choice, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, KNOBS,
                   chosen);
    beam_cudnn_finish(g, p->choice);
    return ok(p);
}

bool beam_cudnn_plan_graph(beam_cudnn_plan *p, const beam_cudnn_library *lib, const beam_cudnn_shape *s,
                           bool grad)
{
    *p = (beam_cudnn_plan){.choice = NULL};
    beam_cudnn_graph *g = &p->graph;
    beam_cudnn_graph_open(g, lib);
    if (grad)
        beam_cudnn_attention_grad(g, s);
    else
        beam_cudnn_attention(g, s);
    p->operations = beam_cudnn_make(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    beam_cudnn_set(g, p->operations, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                   g->operations, g->operation);
    beam_cudnn_finish(g, p->operations);
    return ok(p);
}

bool beam_cudnn_plan_attention(beam_cudnn_plan *p, const beam_cudnn_library *lib, const beam_cudnn_shape *s,
                               bool grad)
{
    return beam_cudnn_plan_graph(p, lib, s, grad) &&
           (grad ? choose_ordered(p) : beam_cudnn_plan_propose(p)) &&
           get(p, p->choice, CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE, CUDNN_TYPE_INT64, &p->workspace);
}

bool beam_cudnn_plan_compile(beam_cudnn_plan *p)
{
    beam_cudnn_graph *g = &p->graph;
    p->plan = beam_cudnn_make(g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    set_item(g, p->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, p->choice);
    set_item(g, p->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, g->lib->device);
    beam_cudnn_finish(g, p->plan);
    return get(p, p->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, &p->workspace);
}

void beam_cudnn_plan_close(beam_cudnn_plan *p)
{
    beam_cudnn_graph_close(&p->graph);
    *p = (beam_cudnn_plan){.choice = NULL};
}
