"""The C++ header of a module: a class around the C interface, C++17, nothing but the standard library."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.base.dim import Dim
from cnncc.ir import TensorType
from cnncc.module.cpu.header_sizes import count_macro
from cnncc.module.cpu.variants import Layout
from cnncc.module.guards import guarded
from cnncc.module.names import parameters
from cnncc.runtime.interface import FORMAT

_SHARED = """\
#ifndef CNNCC_CPP_INTERFACE
#define CNNCC_CPP_INTERFACE @FORMAT@

namespace cnncc {

/// What a function of a module says went wrong; `code` is one of enum cnncc_code.
class error : public std::runtime_error {
public:
    error(int code, const std::string &text) : std::runtime_error(text), code(code) {}
    const int code;
};

/// Numbers somewhere else: any container with data() and size(), or a pointer and a count.
template <class Number>
class span {
public:
    constexpr span(Number *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <class Container, class = decltype(std::declval<Container &>().data())>
    constexpr span(Container &&container) noexcept : data_(container.data()), size_(container.size()) {}
    template <std::size_t N>
    constexpr span(Number (&array)[N]) noexcept : data_(array), size_(N) {}
    constexpr Number *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr Number *begin() const noexcept { return data_; }
    constexpr Number *end() const noexcept { return data_ + size_; }

private:
    Number *data_;
    std::size_t size_;
};

/// Memory for one run at a time.
class arena {
public:
    arena(std::size_t bytes, std::size_t align)
        : data_(::operator new(bytes, std::align_val_t(align)), release{std::align_val_t(align)}), size_(bytes) {}
    void *get() const noexcept { return data_.get(); }
    std::size_t size() const noexcept { return size_; }

private:
    struct release {
        std::align_val_t align;
        void operator()(void *data) const noexcept { ::operator delete(data, align); }
    };
    std::unique_ptr<void, release> data_;
    std::size_t size_;
};

} // namespace cnncc

#elif CNNCC_CPP_INTERFACE != @FORMAT@
#error "modules of different versions of cnncc: compile them with the same one"
#endif""".replace("@FORMAT@", str(FORMAT))


def header_cpp(layout: Layout, c_header: str) -> str:
    """The text of `NAME.hpp`, which includes the C header of that file name."""
    graph, name = layout.program.graph, layout.name
    upper = name.upper()
    arrays = parameters(graph)
    argument, size = _size(layout)
    one, bad = f"{upper}_ARENA_BYTES_FOR(1)", "CNNCC_BAD_IMAGES"
    if layout.several:
        one, bad = f"{upper}_ARENA_BYTES_FOR(0, 1)", f"size < 0 || size >= {upper}_SIZES ? CNNCC_BAD_SIZE : {bad}"
    if layout.ranged:
        least = "".join(f"{upper}_{size.upper()}_LEAST, " for size in layout.size_names)
        one, bad = f"{name}_arena_bytes_for({least}1)", f"{name}_shape({size}0, nullptr) ? {bad} : CNNCC_BAD_SIZE"
    types = {array: kind.element.c for array, kind in arrays.items()}
    inputs, outputs = list(arrays)[: len(graph.inputs)], list(arrays)[len(graph.inputs) :]
    read = [f"span<const {types[a]}> {a}" for a in inputs]
    spans = ", ".join([*read, *(f"span<{types[a]}> {a}" for a in outputs)])
    pointers = ", ".join(f"{a}.data()" for a in arrays)
    told = f"({size.removesuffix(', ')})" if size else ""
    counts = {a: count_macro(upper, a, kind) + told * _varies(layout, kind) for a, kind in arrays.items()}
    sized = f"        if (!{name}_shape({size}0, nullptr)) fail(CNNCC_BAD_SIZE);\n" if layout.ranged else ""
    wanted = f"those of 1 to {layout.batch} images of " if layout.batch > 1 else ""
    counted = f'count("{inputs[0]}", {inputs[0]}.size(), {counts[inputs[0]]})'
    others = (a for a in arrays if a != inputs[0])
    checks = "".join(f'        check("{a}", {a}.size(), images * {counts[a]});\n' for a in others)
    text = f"""\
// {graph.name} for C++17, around {c_header}. Generated; do not edit.
#include "{c_header}"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

{_SHARED}

namespace cnncc {{

/// The network with an arena of its own: for one thread at a time. A copy shares the weights and gets another arena.
/// The arena is made for one image{" of the smallest size" * layout.ranged}, and grows when a call needs more.
class {name}_network {{
public:
{_constructor(layout)}
    {name}_network(const {name}_network &other) : {name}_network(other.model_, other.threads_) {{}}
    {name}_network({name}_network &&) noexcept = default;
    {name}_network &operator=(const {name}_network &other) {{ return *this = {name}_network(other); }}
    {name}_network &operator=({name}_network &&) noexcept = default;

    /// Makes the arena ready for calls with so many images. Throws cnncc::error for a number that no call takes.
    void reserve({argument}std::int32_t images) {{
        const std::size_t bytes = {name}_arena_bytes_for({size}images);
        if (!bytes) fail({bad});
        if (bytes > arena_.size()) arena_ = arena(bytes, {upper}_ARENA_ALIGN);
    }}

    /// Runs the network on 1 to {upper}_MAX_IMAGES images, one after the other in each array. NCHW. Throws
    /// std::invalid_argument for a wrong number of numbers, cnncc::error for what the module refuses.
    void operator()({argument}{spans}) {{
{sized}        const std::size_t images = {counted};
{checks}        const auto number = static_cast<std::int32_t>(images);
        reserve({size}number);
        fail({name}_run_with(model_.get(), {size}number, {pointers}, arena_.get(), arena_.size(), &threads_));
    }}
{_returning(layout, read, counted, inputs, counts, sized)}
{_shape(layout)}{_ports(layout)}
    static const char *info() noexcept {{ return {name}_info(); }}

private:
    {name}_network(std::shared_ptr<const {name}_model> model, cnncc_threads threads)
        : model_(std::move(model)), threads_(threads), arena_({one}, {upper}_ARENA_ALIGN) {{}}

    static void fail(int code) {{
        if (code) throw error(code, std::string("{name}: ") + {name}_error(code));
    }}
    static std::size_t count(const char *what, std::size_t given, std::size_t of_one) {{
        if (given % of_one == 0 && given / of_one - 1 < {upper}_MAX_IMAGES) return given / of_one;
        throw std::invalid_argument(std::string("{name}: ") + what + " has " + std::to_string(given) +
                                    " numbers, not {wanted}" + std::to_string(of_one));
    }}
    static void check(const char *what, std::size_t given, std::size_t wanted) {{
        if (given == wanted) return;
        throw std::invalid_argument(std::string("{name}: ") + what + " has " + std::to_string(given) +
                                    " numbers, not " + std::to_string(wanted));
    }}

    std::shared_ptr<const {name}_model> model_;
    cnncc_threads threads_;
    arena arena_;
}};

}} // namespace cnncc
"""
    return guarded(text, name, "HPP", claims=False)  # the C header, which it includes, claims the name


def _constructor(layout: Layout) -> str:
    name = layout.name
    if layout.digest is None:
        return f"""\
    /// Threads as cnncc_threads says; by default the module's own pool.
    explicit {name}_network(cnncc_threads threads = {{}})
        : {name}_network({{{name}_model_get(), [](const {name}_model *) {{}}}}, threads) {{}}"""
    return f"""\
    /// Opens the weights file. Threads as cnncc_threads says; by default the module's own pool.
    explicit {name}_network(const std::string &weights, cnncc_threads threads = {{}})
        : {name}_network(open(weights), threads) {{}}

    static std::shared_ptr<const {name}_model> open(const std::string &weights) {{
        auto model = std::make_unique<{name}_model>();
        if (const int code = {name}_open(model.get(), weights.c_str()))
            throw error(code, weights + ": " + {name}_error(code));
        return {{model.release(), [](const {name}_model *opened) {{
                    std::unique_ptr<{name}_model> owned(const_cast<{name}_model *>(opened));
                    {name}_close(owned.get());
                }}}};
    }}"""


def _size(layout: Layout) -> tuple[str, str]:
    """How a call is told the size of the inputs, where there are several or a range: its parameters, and what it passes
    on. Each stands before others."""
    chosen = layout.size_names if layout.ranged else ["size"] * layout.several
    return "".join(f"std::int32_t {size}, " for size in chosen), "".join(f"{size}, " for size in chosen)


def _varies(layout: Layout, kind: TensorType) -> bool:
    """Whether the macro that tells the numbers of an array is told the size."""
    return layout.several or any(isinstance(extent, Dim) for extent in kind.shape)


def _shape(layout: Layout) -> str:
    """What tells shapes of a range."""
    if not layout.ranged:
        return ""
    argument, size = _size(layout)
    rank = max(len(kind.shape) for kind in parameters(layout.program.graph).values())
    return f"""\
    /// The shape of an array of one image of a size. Arrays are counted from 0 as calls take them, inputs before
    /// outputs. Empty for a size that is not of the range, and for an array that there is not.
    static std::vector<std::int64_t> shape({argument}std::int32_t array) {{
        std::vector<std::int64_t> dims({rank});
        dims.resize({layout.name}_shape({size}array, dims.data()));
        return dims;
    }}
"""


def _ports(layout: Layout) -> str:
    """The tables of inputs and outputs."""
    argument, size = _size(layout) if layout.several else ("", "")
    return "\n".join(
        f"""\
    static span<const cnncc_port> {ports}({argument.removesuffix(", ")}) noexcept {{
        const cnncc_port *table = nullptr;
        const std::size_t count = {layout.name}_{ports}({size}&table);
        return {{table, count}};
    }}"""
        for ports in ("inputs", "outputs")
    )


def _returning(
    layout: Layout, read: list[str], counted: str, inputs: list[str], counts: Mapping[str, str], sized: str
) -> str:
    """A call that returns the result, where there is one. `read` are the parameters for the inputs, `counted` says how
    many images they hold, `counts` how many numbers an image of each array has; `sized` checks the size."""
    if len(counts) - len(inputs) > 1:
        return ""
    (kind,) = layout.program.outputs.values()
    result, count = f"std::vector<{kind.element.c}>", list(counts.values())[-1]
    argument, size = _size(layout)
    return f"""\
    {result} operator()({argument}{", ".join(read)}) {{
{sized}        {result} result({counted} * {count});
        (*this)({size}{", ".join(inputs)}, result);
        return result;
    }}
"""
