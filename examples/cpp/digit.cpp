// Reads a handwritten digit with LeNet-5.
//
//     cnncc compile lenet5 -o lenet5.so --emit so,hpp
//     c++ -std=c++17 -O2 digit.cpp -o digit ./lenet5.so
//     ./digit 7.pgm                           (binary PGM, 32 x 32 pixels, white on black)
#include "lenet5.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

constexpr int side = 32;

static std::vector<float> read_pgm(const char *path) {
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    int width = 0, height = 0, most = 0;
    file >> kind >> width >> height >> most;
    file.get(); // the one white space after the header
    std::vector<char> bytes(side * side);
    if (kind != "P5" || width != side || height != side || most != 255 || !file.read(bytes.data(), bytes.size()))
        throw std::runtime_error(std::string(path) + " is no binary PGM of 32 x 32 pixels");
    std::vector<float> image(bytes.size());
    std::transform(bytes.begin(), bytes.end(), image.begin(), [](char c) { return static_cast<unsigned char>(c); });
    return image;
}

int main(int count, char **words) {
    if (count != 2) {
        std::fprintf(stderr, "usage: digit digit.pgm\n");
        return 2;
    }
    try {
        cnncc::lenet5_network network;
        const std::vector<float> scores = network(read_pgm(words[1]));
        std::printf("class  probability\n");
        for (std::size_t i = 0; i < scores.size(); ++i) std::printf("%5zu  %.9f\n", i, scores[i]);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "digit: %s\n", error.what());
        return 1;
    }
}
