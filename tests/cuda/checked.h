/* Memory that watches its users, for kernels on the CPU. Included after device.h; the source is rewritten to use it.
 *
 * Every access is checked: inside the array, aligned, of memory that somebody wrote, and in no race: between two barriers
 * nobody may touch shared memory that another thread writes, and in a whole launch nobody global memory that another
 * thread writes. What is copied into shared memory in passing is there when the thread that copies has waited for it; until
 * then nobody may touch that place. But what a block wrote can be read by one that found its count in a counter: the writes, a barrier, a fence
 * and the count, then the other's count, a fence, a barrier and the reads. Nothing is read or written before the kernel
 * has waited for the ones before it.
 */
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <vector>

extern "C" {
int cnncc_bank_conflicts, cnncc_wide_accesses; /* of all launches since a test cleared them */
}

namespace checked {

enum : unsigned { NOBODY = 0, SEVERAL = ~0u };

static unsigned me() {
    const auto *g = ::emulator::now->grid;
    unsigned block = (blockIdx.z * g[1] + blockIdx.y) * g[0] + blockIdx.x;
    return block * ::emulator::now->threads + threadIdx.x + 1;
}

/* Of one number in memory. */
struct history {
    unsigned writer, reader;
    unsigned long written, read; /* epochs */
};

/* A copy into shared memory that is on its way. */
struct on_the_way {
    std::function<void()> land;
    unsigned long group;
};
/* Of a thread: its copies, and the group that the next one belongs to. */
struct copies {
    std::deque<on_the_way> waiting;
    unsigned long group;
};
static std::map<unsigned, copies> copying; /* by thread, of this block */

/* Accesses of 16 bytes to shared memory are made for eight threads at a time, and take longer if two of these want
 * different words of a bank. By the eight threads, and which of their accesses it is: the place that each group of four
 * banks was asked for. */
typedef std::map<unsigned, long> places;
static std::map<std::pair<unsigned, unsigned>, places> asked;
static std::map<unsigned, unsigned> accesses; /* of each thread */

/* What counters order. Of a block: the epoch of its fence before it counted itself, of the blocks that it found counted the
 * same, and the epoch of its fence after that. */
static unsigned long of_launch, of_block, fenced, found_at;
static unsigned counting; /* the thread that counts the block */
typedef std::map<unsigned, unsigned long> fences; /* by block */
static fences found, known;
static std::map<const void *, fences> counted;
static std::set<unsigned> following; /* threads that waited for the kernels before this one */

/* Forgets what was before this launch, or this block. */
static void keep_up() {
    if (of_launch != ::emulator::launches) {
        of_launch = ::emulator::launches;
        counted.clear();
        following.clear();
    }
    if (of_block == ::emulator::block_epoch) return;
    of_block = ::emulator::block_epoch;
    fenced = found_at = counting = 0;
    found.clear();
    known.clear();
    copying.clear();
    asked.clear();
    accesses.clear();
}

static void follow() {
    keep_up();
    following.insert(me());
}

static void need_following() {
    keep_up();
    if (!following.count(me())) ::emulator::fail("touches memory before it waits for the kernels before it");
}

static void fence() {
    keep_up();
    if (counting && counting != me()) return;
    fenced = ::emulator::epoch;
    counting = me();
    if (found.empty()) return;
    known = found;
    found_at = ::emulator::epoch;
}

/* Whether a thread of another block wrote before, so that this one sees it. */
static bool is_before(unsigned writer, unsigned long written) {
    keep_up();
    auto block = known.find((writer - 1) / ::emulator::now->threads);
    return block != known.end() && written < block->second && found_at < ::emulator::epoch;
}

/* `array + i` of the source. */
template <class A> struct place {
    A *array;
    long index;
};
/* `array[i]` of the source. */
template <class A> struct number {
    A *array;
    long index;
    operator typename A::element() const {
        array->check(index, 1);
        return array->read(index);
    }
    void operator=(typename A::element value) const {
        array->check(index, 1);
        array->write(index, value);
    }
    place<A> operator&() const { return {array, index}; }
};
/* An array in global memory, as the launcher passes it: `allowed` says which numbers belong to the kernel. */
template <class T> struct global {
    typedef T element;
    T *data;
    history *past;
    const unsigned char *allowed;
    long count;

    void check(long i, long lanes) const {
        if (i < 0 || i + lanes > count) ::emulator::fail("outside of an array");
        if (i % lanes) ::emulator::fail("misaligned vector");
        for (long lane = 0; lane < lanes; lane++)
            if (!allowed[i + lane]) ::emulator::fail("memory of another value");
    }
    T read(long i) const {
        history &h = past[i];
        need_following();
        if (h.writer != NOBODY && h.writer != me() && !is_before(h.writer, h.written))
            ::emulator::fail("race: reads global memory that another thread writes");
        h.reader = h.reader == NOBODY || h.reader == me() ? me() : (unsigned)SEVERAL;
        return data[i];
    }
    void write(long i, T value) const {
        history &h = past[i];
        need_following();
        if (h.writer != NOBODY && h.writer != me()) ::emulator::fail("race: two threads write global memory");
        if (h.reader != NOBODY && h.reader != me()) ::emulator::fail("race: writes global memory that another thread reads");
        h.writer = me();
        h.written = ::emulator::epoch;
        data[i] = value;
    }
    place<const global> operator+(long i) const { return {this, i}; }
    number<const global> operator[](long i) const { return {this, i}; }
};

/* An array in shared memory. */
template <class T, long N> struct shared {
    typedef T element;
    T data[N];
    history past[N];
    unsigned long expected[N]; /* the block for which a copy is on its way to this place, as its first epoch */

    bool is_expected(long i) const { return expected[i] == ::emulator::block_epoch; }

    void check(long i, long lanes) {
        if (i < 0 || i + lanes > N) ::emulator::fail("outside of a shared array");
        if (i % lanes) ::emulator::fail("misaligned vector in shared memory");
    }
    T read(long i) {
        history &h = past[i];
        if (is_expected(i)) ::emulator::fail("reads shared memory that a copy is on its way to");
        if (h.written < ::emulator::block_epoch) ::emulator::fail("reads shared memory that nobody wrote");
        if (h.written == ::emulator::epoch && h.writer != me())
            ::emulator::fail("race: reads shared memory written since the last barrier");
        bool alone = h.read != ::emulator::epoch || h.reader == me();
        h.reader = alone ? me() : (unsigned)SEVERAL;
        h.read = ::emulator::epoch;
        return data[i];
    }
    void check_write(long i) {
        history &h = past[i];
        if (is_expected(i)) ::emulator::fail("writes shared memory that a copy is on its way to");
        if (h.written == ::emulator::epoch && h.writer != me()) ::emulator::fail("race: two threads write shared memory");
        if (h.read == ::emulator::epoch && h.reader != me())
            ::emulator::fail("race: writes shared memory read since the last barrier");
    }
    /* A copy to this place starts. */
    void expect(long i) {
        check_write(i);
        expected[i] = ::emulator::block_epoch;
    }
    void land(long i, T value) {
        expected[i] = 0;
        write(i, value);
    }
    void write(long i, T value) {
        history &h = past[i];
        check_write(i);
        h.writer = me();
        h.written = ::emulator::epoch;
        data[i] = value;
    }
    place<shared> operator+(long i) { return {this, i}; }
    number<shared> operator[](long i) { return {this, i}; }
};

/* `*(V*)(array + i)` of the source, V a vector of N numbers. */
template <class V, long N, class A> struct several {
    A *array;
    long index;
    operator V() const {
        typename A::element parts[N];
        array->check(index, N);
        for (long i = 0; i < N; i++) parts[i] = array->read(index + i);
        V whole;
        memcpy(&whole, parts, sizeof whole);
        return whole;
    }
    void operator=(V whole) const {
        typename A::element parts[N];
        memcpy(parts, &whole, sizeof whole);
        array->check(index, N);
        for (long i = 0; i < N; i++) array->write(index + i, parts[i]);
    }
    void operator=(const several &other) const { *this = (V)other; }
    template <class B> void operator=(const several<V, N, B> &other) const { *this = (V)other; }
};
template <class V, class A> several<V, (long)(sizeof(V) / sizeof(typename A::element)), A> vector(place<A> p) {
    return {p.array, p.index};
}
template <class V, class T> V &vector(T *p) {
    if ((uintptr_t)p % sizeof(V)) ::emulator::fail("misaligned vector of a thread");
    return *(V *)p;
}

/* Notes an access of 16 bytes at a word of shared memory. */
static void ask(long word) {
    places &of_eight = asked[{threadIdx.x / 8, accesses[threadIdx.x]++}];
    auto before = of_eight.insert({(unsigned)(word / 4 % 8), word});
    cnncc_bank_conflicts += before.first->second != word;
    cnncc_wide_accesses++;
}

/* 16 bytes on their way to shared memory, zeros where `size` is 0: read at once, written when they are waited for. The
 * arrays check that vectors begin at multiples of their length. */
template <class T, long N, class S>
static void copy_or_clear(shared<T, N> &to, long word, const global<S> &from, long number, int size) {
    keep_up();
    const long words = 16 / sizeof(T), numbers = 16 / sizeof(S);
    std::vector<T> whole(words);
    S read[numbers];
    if (size && size != 16) ::emulator::fail("a copy of a part");
    if (size) {
        from.check(number, numbers);
        for (long i = 0; i < numbers; i++) read[i] = from.read(number + i);
        memcpy(whole.data(), read, 16);
    }
    to.check(word, words);
    for (long i = 0; i < words; i++) to.expect(word + i);
    ask(word);
    copies &own = copying[me()];
    shared<T, N> *array = &to;
    own.waiting.push_back({[=] { for (long i = 0; i < words; i++) array->land(word + i, whole[i]); }, own.group});
}
template <class T, long N, class S> static void copy(shared<T, N> &to, long word, const global<S> &from, long number) {
    copy_or_clear(to, word, from, number, 16);
}
template <class T, long N, class S>
static void copy_or_fill(shared<T, N> &to, long word, const global<S> &from, long number, bool inside, const global<S> &around) {
    copy(to, word, inside ? from : around, inside ? number : 0);
}
static void commit() {
    keep_up();
    copying[me()].group++;
}
/* Until all groups of copies of the thread are done but the last `left`. */
static void wait(unsigned long left) {
    keep_up();
    copies &own = copying[me()];
    while (!own.waiting.empty() && own.waiting.front().group + left < own.group) {
        own.waiting.front().land();
        own.waiting.pop_front();
    }
}

template <class A> static void fragments(unsigned *r, A &array, int word) {
    keep_up();
    ask(word);
    ::emulator::fragments(r, array, word);
}

/* Counts this block. What it wrote before the last fence is what others may read that find its count. */
static unsigned increase(place<const global<unsigned>> at, unsigned last) {
    at.array->check(at.index, 1);
    need_following();
    history &h = at.array->past[at.index];
    if (h.writer != NOBODY || h.reader != NOBODY) ::emulator::fail("race: a counter that is no counter elsewhere");
    unsigned *counter = at.array->data + at.index;
    if (counting != me()) fenced = 0; /* the fence of another thread orders nothing here */
    found = counted[counter];
    unsigned block = (me() - 1) / ::emulator::now->threads;
    if (found.count(block)) ::emulator::fail("a block counted twice");
    counted[counter][block] = found[block] = fenced;
    return ::emulator::increase(counter, last);
}

} // namespace checked

#undef __threadfence
#undef atomicInc
#undef cnncc_follow
#undef cnncc_copy_or_clear
#undef cnncc_copy
#undef cnncc_copy_or_fill
#undef cnncc_fragments
#undef cnncc_commit
#undef cnncc_wait_1
#undef cnncc_wait_2
#define __threadfence() ::checked::fence()
#define atomicInc ::checked::increase
#define cnncc_follow() ::checked::follow()
#define cnncc_copy_or_clear ::checked::copy_or_clear
#define cnncc_copy ::checked::copy
#define cnncc_copy_or_fill ::checked::copy_or_fill
#define cnncc_fragments ::checked::fragments
#define cnncc_commit ::checked::commit
#define cnncc_wait_1() ::checked::wait(1)
#define cnncc_wait_2() ::checked::wait(2)
