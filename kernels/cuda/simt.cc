/* Threads of a block as fibers, one at a time. A fiber runs thread after thread; it keeps its stack for one
 * that has to wait, and the next fiber goes on. A kernel without barriers therefore needs a single fiber. */
#include "kernels/cuda/simt.h"

#include <csetjmp>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>

#include "kernels/cuda/cuda.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt
{
namespace
{

constexpr size_t stack_bytes = 256 << 10, guard_bytes = 4096;

struct copy {
    void *to;
    const void *from;
    size_t used, bytes;
    int group;
};

struct thread {
    int index = 0;
    std::vector<copy> copies;
    int groups = 0; /* committed so far */
};

/* A call that lanes of a warp make together. */
struct meeting {
    unsigned mask, arrived, left;
    size_t bytes;
    uint64_t complete;
    unsigned char value[32][64];
};

/* One of a pair of stacks to switch between: a fiber's, or the scheduler's. */
struct context {
    jmp_buf registers;
    const void *bottom = nullptr;
    size_t size = 0;
    void *fake_stack = nullptr;
};

struct fiber {
    context own;
    char *memory = nullptr;
    bool begun = false;
    thread running;
    place where;
    const uint64_t *watched = nullptr; /* parked until this differs from `seen`; nullptr: not parked */
    uint64_t seen = 0;

    fiber()
    {
        void *p = mmap(nullptr, stack_bytes + guard_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || mprotect(p, guard_bytes, PROT_NONE) != 0)
            stop("no memory for a stack");
        memory = static_cast<char *>(p);
        own.bottom = memory + guard_bytes;
        own.size = stack_bytes;
    }
    fiber(const fiber &) = delete;
    fiber &operator=(const fiber &) = delete;
    ~fiber()
    {
        munmap(memory, stack_bytes + guard_bytes);
    }
};

struct array {
    const void *key;
    void *data;
};

/* The block that runs. */
struct block {
    const std::function<void()> *body = nullptr;
    place where;
    size_t dynamic_bytes = 0;
    int threads = 0, started = 0, finished = 0;
    uint64_t changes = 0; /* grows whenever anybody gets anywhere */

    int arrived = 0, votes = 0;
    vote last = {0, 0};
    uint64_t generation = 0;

    std::vector<std::list<meeting>> warp;
    std::vector<array> arrays;
};

struct machine {
    context scheduler;
    fiber *current = nullptr;
    block now;
    bool backwards = false;
    int64_t launches = 0;
    std::vector<std::unique_ptr<fiber>> fibers;
    std::vector<fiber *> idle, parked;
    bool recording = false;
    std::vector<std::function<void()>> kept; /* while recording */
    std::vector<std::function<void()>> late; /* until the host waits */
};

machine &self()
{
    static machine m;
    return m;
}

void leave(context &from, const context &to)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
#else
    (void)from, (void)to;
#endif
}

/* `left` learns the bounds of its stack: nobody else knows those of the scheduler. */
void arrive(context &at, context *left)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(at.fake_stack, left ? &left->bottom : nullptr,
                                    left ? &left->size : nullptr);
#else
    (void)at, (void)left;
#endif
}

/* From a fiber to the scheduler, until that resumes it. */
__attribute__((noinline)) void yield()
{
    machine &m = self();
    fiber *me = m.current;
    leave(me->own, m.scheduler);
    if (_setjmp(me->own.registers) == 0)
        _longjmp(m.scheduler.registers, 1);
    arrive(me->own, nullptr);
}

void release_block(block &b)
{
    b.last = {b.votes, b.threads - b.finished};
    b.arrived = b.votes = 0;
    b.generation++;
}

void run_thread(fiber &f, int started)
{
    machine &m = self();
    block &b = m.now;
    const int i = m.backwards ? b.threads - 1 - started : started;
    const dim3 size = b.where.block_size;
    const unsigned u = static_cast<unsigned>(i);
    f.running = thread();
    f.running.index = i;
    f.where = b.where;
    f.where.thread = dim3(u % size.x, u / size.x % size.y, u / (size.x * size.y));
    (*b.body)();
    if (!f.running.copies.empty())
        stop("a thread returned without waiting for its asynchronous copies");
    b.finished++;
    b.changes++;
    if (b.arrived > 0 && b.arrived == b.threads - b.finished)
        release_block(b);
}

void fiber_main()
{
    machine &m = self();
    fiber *me = m.current;
    arrive(me->own, &m.scheduler);
    for (;;) {
        while (m.now.started < m.now.threads)
            run_thread(*me, m.now.started++);
        yield();
    }
}

/* Runs the fiber until it parks or finds no more threads to start. */
__attribute__((noinline)) void resume(fiber &f)
{
    machine &m = self();
    m.current = &f;
    leave(m.scheduler, f.own);
    if (_setjmp(m.scheduler.registers) == 0) {
        if (f.begun)
            _longjmp(f.own.registers, 1);
        f.begun = true;
        ucontext_t c;
        getcontext(&c);
        c.uc_stack.ss_sp = f.memory + guard_bytes;
        c.uc_stack.ss_size = stack_bytes;
        c.uc_link = nullptr;
        makecontext(&c, fiber_main, 0);
        setcontext(&c);
    }
    arrive(m.scheduler, nullptr);
    m.current = nullptr;
}

void start_threads(machine &m)
{
    if (m.idle.empty()) {
        m.fibers.push_back(std::make_unique<fiber>());
        m.idle.push_back(m.fibers.back().get());
    }
    fiber *f = m.idle.back();
    m.idle.pop_back();
    resume(*f);
    (f->watched ? m.parked : m.idle).push_back(f);
}

void resume_parked(machine &m)
{
    const uint64_t before = m.now.changes;
    std::vector<fiber *> waiting;
    waiting.swap(m.parked);
    bool resumed = false;
    for (fiber *f : waiting) {
        if (*f->watched != f->seen) {
            f->watched = nullptr;
            resumed = true;
            resume(*f);
        }
        (f->watched ? m.parked : m.idle).push_back(f);
    }
    if (!resumed && before == m.now.changes)
        stop("deadlock: a barrier that not all threads reach, or lanes missing from a call of their warp");
}

void run_block(dim3 at)
{
    machine &m = self();
    block &b = m.now;
    b.where.block = at;
    b.started = b.finished = b.arrived = b.votes = 0;
    b.warp.assign(static_cast<size_t>(b.threads + 31) / 32, {});
    while (b.finished < b.threads)
        if (b.started < b.threads)
            start_threads(m);
        else
            resume_parked(m);
    for (const array &a : b.arrays)
        std::free(a.data);
    b.arrays.clear();
}

void park(const uint64_t *watched, uint64_t seen)
{
    fiber *f = self().current;
    f->watched = watched;
    f->seen = seen;
    yield();
}

/* The lanes that the warp has. */
unsigned existing(int warp, int threads)
{
    const int n = threads - warp * 32;
    return n >= 32 ? 0xffffffffu : (1u << n) - 1;
}

meeting &join(std::list<meeting> &open, unsigned mask, unsigned bit, size_t bytes)
{
    for (meeting &m : open)
        if (m.mask == mask && m.arrived != mask && !(m.arrived & bit)) {
            if (m.bytes != bytes)
                stop("the lanes of a warp make different calls");
            return m;
        }
    open.push_back(meeting());
    meeting &m = open.back();
    m.mask = mask;
    m.arrived = m.left = 0;
    m.bytes = bytes;
    m.complete = 0;
    std::memset(m.value, 0xff, sizeof m.value);
    return m;
}

void finish_copies(thread &t, int upto)
{
    std::vector<copy> rest;
    for (const copy &c : t.copies) {
        if (c.group >= upto) {
            rest.push_back(c);
            continue;
        }
        if (c.used > 0)
            std::memcpy(c.to, c.from, c.used);
        std::memset(static_cast<char *>(c.to) + c.used, 0, c.bytes - c.used);
    }
    t.copies.swap(rest);
}

} // namespace

void stop(const char *what)
{
    const fiber *f = self().current;
    if (f)
        std::fprintf(stderr, "simt: %s (thread %d of block %u,%u,%u)\n", what, f->running.index,
                     f->where.block.x, f->where.block.y, f->where.block.z);
    else
        std::fprintf(stderr, "simt: %s\n", what);
    std::abort();
}

const place &here()
{
    return self().current->where;
}

static void run_grid(dim3 grid, dim3 size, size_t shared_bytes, const std::function<void()> &body)
{
    machine &m = self();
    m.now = block();
    m.now.body = &body;
    m.now.where.block_size = size;
    m.now.where.grid_size = grid;
    m.now.dynamic_bytes = shared_bytes;
    m.now.threads = static_cast<int>(size.x * size.y * size.z);
    const uint64_t n = static_cast<uint64_t>(grid.x) * grid.y * grid.z;
    for (uint64_t k = 0; k < n; k++) {
        const uint64_t i = m.backwards ? n - 1 - k : k;
        run_block(dim3(static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                       static_cast<unsigned>(i / grid.x / grid.y)));
    }
}

void launch(dim3 grid, dim3 size, size_t shared_bytes, const std::function<void()> &body)
{
    const unsigned threads = size.x * size.y * size.z;
    if (threads == 0 || threads > 1024 || grid.y > 65535 || grid.z > 65535 || grid.x > 0x7fffffffu)
        stop("a launch of this shape fails on the device");
    if (shared_bytes > 227 << 10)
        stop("a launch asks for more shared memory than a block can have");
    self().launches++;
    in_order([=] { run_grid(grid, size, shared_bytes, body); });
}

void in_order(std::function<void()> work)
{
    machine &m = self();
    if (m.recording)
        m.kept.push_back(std::move(work));
    else
        work();
}

void later(std::function<void()> work)
{
    self().late.push_back(std::move(work));
}

void wait()
{
    for (const std::function<void()> &work : std::exchange(self().late, {}))
        work();
}

void record()
{
    self().recording = true;
}

std::vector<std::function<void()>> end_record()
{
    machine &m = self();
    m.recording = false;
    return std::move(m.kept);
}

bool is_recording()
{
    return self().recording;
}

vote sync_block(bool value)
{
    block &b = self().now;
    b.votes += value;
    b.arrived++;
    b.changes++;
    if (b.arrived == b.threads - b.finished)
        release_block(b);
    else
        park(&b.generation, b.generation);
    return b.last;
}

void exchange(unsigned mask, const void *value, size_t bytes, void *values)
{
    machine &m = self();
    block &b = m.now;
    const int index = m.current->running.index, warp = index / 32;
    const unsigned bit = 1u << (index % 32);
    mask &= existing(warp, b.threads);
    if (!(mask & bit))
        stop("a lane is not in the mask of its own call");
    if (bytes > sizeof meeting().value[0])
        stop("a value is too large for an exchange");
    std::list<meeting> &open = b.warp[static_cast<size_t>(warp)];
    meeting &all = join(open, mask, bit, bytes);
    std::memcpy(all.value[index % 32], value, bytes);
    all.arrived |= bit;
    b.changes++;
    if (all.arrived == mask)
        all.complete = 1;
    else
        park(&all.complete, 0);
    for (size_t i = 0; i < 32; i++)
        std::memcpy(static_cast<char *>(values) + i * bytes, all.value[i], bytes);
    all.left |= bit;
    if (all.left == mask)
        open.remove_if([&](const meeting &x) { return &x == &all; });
}

void *shared(const void *key, size_t bytes)
{
    block &b = self().now;
    for (const array &a : b.arrays)
        if (a.key == key)
            return a.data;
    const size_t rounded = (bytes + 127) / 128 * 128;
    void *data = std::aligned_alloc(128, rounded > 0 ? rounded : 128);
    if (!data)
        stop("no memory");
    std::memset(data, 0xff, rounded);
    b.arrays.push_back({key, data});
    return data;
}

void *dynamic_shared()
{
    static const char key = 0;
    return shared(&key, self().now.dynamic_bytes);
}

void copy_later(void *to, const void *from, size_t used, size_t bytes)
{
    thread &t = self().current->running;
    t.copies.push_back({to, from, used, bytes, t.groups});
}

void commit_copies()
{
    self().current->running.groups++;
}

void wait_copies(int pending)
{
    thread &t = self().current->running;
    finish_copies(t, t.groups - pending);
}

} // namespace simt

void beam_simt_backwards(bool backwards)
{
    simt::self().backwards = backwards;
}

int64_t beam_simt_launches(void)
{
    return simt::self().launches;
}
