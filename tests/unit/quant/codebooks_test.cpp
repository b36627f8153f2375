// SPDX-License-Identifier: Apache-2.0
// The grids are data that no formula checks: compare the expanded bytes with known checksums.
#include "quant/codebooks.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "quant/blocks.h"

namespace sluice::quant {
namespace {

uint32_t crc32(const std::vector<uint8_t>& data) {
  uint32_t crc = 0xffffffff;
  for (const uint8_t byte : data) {
    crc ^= byte;
    for (int k = 0; k < 8; ++k) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc;
}

// First 32 bits of the fractional part of the square (n = 2) or cube root of p, by bisection.
uint32_t root_fraction(uint32_t p, int n) {
  unsigned __int128 low = 0, high = 1;
  const unsigned __int128 target = static_cast<unsigned __int128>(p) << (n == 2 ? 64 : 96);
  const auto power = [&](unsigned __int128 v) { return n == 2 ? v * v : v * v * v; };
  while (power(high) <= target) high *= 2;
  while (high - low > 1) {
    const unsigned __int128 middle = (low + high) / 2;
    (power(middle) <= target ? low : high) = middle;
  }
  return static_cast<uint32_t>(low);
}

// First 16 hexadecimal digits of SHA-256 (FIPS 180-4).
std::string sha256_prefix(std::vector<uint8_t> data) {
  std::vector<uint32_t> primes;
  for (uint32_t v = 2; primes.size() < 64; ++v) {
    bool prime = true;
    for (const uint32_t p : primes) prime = prime && v % p != 0;
    if (prime) primes.push_back(v);
  }
  std::array<uint32_t, 8> state;
  for (size_t i = 0; i < 8; ++i) state[i] = root_fraction(primes[i], 2);
  const uint64_t bits = data.size() * 8;
  data.push_back(0x80);
  while (data.size() % 64 != 56) data.push_back(0);
  for (int i = 7; i >= 0; --i) data.push_back(static_cast<uint8_t>(bits >> (8 * i)));
  for (size_t at = 0; at < data.size(); at += 64) {
    uint32_t w[64];
    for (size_t t = 0; t < 16; ++t) {
      w[t] = 0;
      for (size_t i = 0; i < 4; ++i) w[t] = w[t] << 8 | data[at + 4 * t + i];
    }
    for (size_t t = 16; t < 64; ++t) {
      const uint32_t a = w[t - 15], b = w[t - 2];
      w[t] = w[t - 16] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ a >> 3) + w[t - 7] +
             (std::rotr(b, 17) ^ std::rotr(b, 19) ^ b >> 10);
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (size_t t = 0; t < 64; ++t) {
      const uint32_t t1 = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) +
                          ((e & f) ^ (~e & g)) + root_fraction(primes[t], 3) + w[t];
      const uint32_t t2 =
          (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const uint32_t added[] = {a, b, c, d, e, f, g, h};
    for (size_t i = 0; i < 8; ++i) state[i] += added[i];
  }
  char text[17];
  std::snprintf(text, sizeof(text), "%08x%08x", state[0], state[1]);
  return text;
}

template <class Grid>
std::vector<uint8_t> bytes_of(const Grid& grid) {
  std::vector<uint8_t> bytes(sizeof(grid.point));
  std::memcpy(bytes.data(), grid.point, sizeof(grid.point));
  return bytes;
}

TEST(Codebooks, ChecksumFunctionsAreRight) {
  const std::string text = "123456789";
  EXPECT_EQ(crc32({text.begin(), text.end()}), 0xcbf43926u);
  EXPECT_EQ(sha256_prefix({'a', 'b', 'c'}), "ba7816bf8f01cfea");
}

TEST(Codebooks, GridsHaveTheirChecksums) {
  const struct {
    const char* name;
    std::vector<uint8_t> bytes;
    uint32_t crc;
    const char* sha;
  } cases[] = {
      {"IQ2_XXS", bytes_of(kGridIQ2_XXS), 0x9924ff02, "05826b5d3e472a3a"},
      {"IQ2_XS", bytes_of(kGridIQ2_XS), 0xfa1e1bfd, "06e47aaca60b4dc1"},
      {"IQ2_S", bytes_of(kGridIQ2_S), 0x25ae5bf1, "e1aa1473412b0552"},
      {"IQ3_XXS", bytes_of(kGridIQ3_XXS), 0x07ba9ed0, "46e35f5a997efdee"},
      {"IQ3_S", bytes_of(kGridIQ3_S), 0xf576e4f3, "bd1af4945a1717c6"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(crc32(c.bytes), c.crc) << c.name;
    EXPECT_EQ(sha256_prefix(c.bytes), c.sha) << c.name;
  }
}

TEST(Codebooks, SignCodesHaveTheirChecksum) {
  std::vector<uint8_t> signs;
  for (uint32_t code = 0; code < 128; ++code) {
    signs.push_back(sign_byte(code));
    EXPECT_EQ(std::popcount(signs.back()) % 2, 0) << code;
    EXPECT_EQ(signs.back() & 127u, code);
  }
  EXPECT_EQ(crc32(signs), 0xffab7940u);
  EXPECT_EQ(sha256_prefix(signs), "a76742a603f8beca");
}

}  // namespace
}  // namespace sluice::quant
