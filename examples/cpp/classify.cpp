// Classifies images on all cores with a compiled ResNet-50, weights in a file beside the module: one network object and one
// arena per thread, the weights shared.
//
//   cnncc compile models/resnet50.net -o resnet50 --emit so,hpp --weights-external
//   c++ -std=c++17 -O2 examples/cpp/classify.cpp -o classify_cpp ./resnet50.so -pthread
//   ./classify_cpp resnet50.weights 8
#if __has_include("resnet50.hpp")
#include "resnet50.hpp"
#else
#include "../../resnet50.hpp" // compiled in the folder above, as the commands say
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>
#include <vector>

using Image = std::vector<float>;

// Soft colour gradients, another one for each number: any images will do to see the module run.
static Image pattern(int number) {
    Image image(RESNET50_INPUT_FLOATS);
    for (std::size_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>((i * (number + 1) / 64) % 256);
    return image;
}

static int best(const std::vector<float> &scores) {
    return static_cast<int>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

// The class of each image. Every worker has a copy of the network and takes the next image until none is left; the runs
// themselves use one thread each, which is best where there are more images than cores.
static std::vector<int> classify(const cnncc::resnet50_network &network, const std::vector<Image> &images, unsigned workers) {
    std::vector<int> classes(images.size());
    std::atomic<std::size_t> next{0};
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < workers; ++i)
        threads.emplace_back([&, copy = network]() mutable {
            for (std::size_t at; (at = next++) < images.size();) classes[at] = best(copy(images[at]));
        });
    for (std::thread &thread : threads) thread.join();
    return classes;
}

int main(int count, char **words) {
    if (count != 3 || std::atoi(words[2]) < 1) {
        std::fprintf(stderr, "usage: classify_cpp WEIGHTS IMAGES\n");
        return 2;
    }
    try {
        const cnncc::resnet50_network network(words[1], cnncc_threads{1, nullptr, nullptr});
        std::vector<Image> images;
        for (int i = 0; i < std::atoi(words[2]); ++i) images.push_back(pattern(i));
        const auto start = std::chrono::steady_clock::now();
        const std::vector<int> classes = classify(network, images, std::max(1u, std::thread::hardware_concurrency()));
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
        for (std::size_t i = 0; i < classes.size(); ++i) std::printf("image %zu: class %d\n", i, classes[i]);
        std::printf("%.1f images a second\n", static_cast<double>(images.size()) / taken.count());
    } catch (const std::exception &error) {
        std::fprintf(stderr, "classify_cpp: %s\n", error.what());
        return 1;
    }
}
