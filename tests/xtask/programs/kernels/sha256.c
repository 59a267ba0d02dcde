/* SHA-256 over a generated buffer: 32-bit rotations and additions, one big loop body. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t round_constant[64];
static uint32_t initial[8];

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* The constants are the first 32 bits of the fractional parts of the cube roots of the
   first 64 primes, and of the square roots of the first 8: computed here with integers. */
static uint32_t root_bits(uint32_t p, int power) {
  unsigned __int128 target = (unsigned __int128)p << (power == 2 ? 64 : 96);
  uint64_t low = 0, high = (uint64_t)1 << 40;
  while (high - low > 1) {
    uint64_t mid = low + (high - low) / 2;
    unsigned __int128 value = (unsigned __int128)mid * mid;
    if (power == 3) value *= mid;
    if (value <= target) low = mid; else high = mid;
  }
  return (uint32_t)low;
}

static void make_constants(void) {
  int found = 0;
  for (uint32_t n = 2; found < 64; n++) {
    int prime = 1;
    for (uint32_t d = 2; d * d <= n; d++) prime &= n % d != 0;
    if (!prime) continue;
    if (found < 8) initial[found] = root_bits(n, 2);
    round_constant[found++] = root_bits(n, 3);
  }
}

static void block(uint32_t state[8], const uint8_t *data) {
  uint32_t w[64], s[8];
  for (int i = 0; i < 16; i++)
    w[i] = (uint32_t)data[4 * i] << 24 | (uint32_t)data[4 * i + 1] << 16 |
           (uint32_t)data[4 * i + 2] << 8 | data[4 * i + 3];
  for (int i = 16; i < 64; i++) {
    uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + w[i - 7] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) +
           (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
  }
  memcpy(s, state, sizeof s);
  for (int i = 0; i < 64; i++) {
    uint32_t t1 = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) +
                  ((s[4] & s[5]) ^ (~s[4] & s[6])) + round_constant[i] + w[i];
    uint32_t t2 = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
                  ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 7 * sizeof *s);
    s[4] += t1;
    s[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++) state[i] += s[i];
}

static void digest(const uint8_t *data, size_t length, uint32_t state[8]) {
  uint8_t tail[128] = {0};
  size_t whole = length / 64 * 64, rest = length - whole;
  size_t tail_length = rest < 56 ? 64 : 128;
  memcpy(state, initial, sizeof initial);
  for (size_t i = 0; i < whole; i += 64) block(state, data + i);
  memcpy(tail, data + whole, rest);
  tail[rest] = 0x80;
  for (int i = 0; i < 8; i++) tail[tail_length - 1 - i] = (uint8_t)((uint64_t)length * 8 >> 8 * i);
  for (size_t i = 0; i < tail_length; i += 64) block(state, tail + i);
}

static void print_digest(const char *label, const uint32_t state[8]) {
  printf("%s ", label);
  for (int i = 0; i < 8; i++) printf("%08x", state[i]);
  printf("\n");
}

int main(int argc, char **argv) {
  size_t kib = argc > 1 ? (size_t)atoi(argv[1]) : 64;
  int rounds = argc > 2 ? atoi(argv[2]) : 1;
  uint8_t *data = malloc(kib * 1024);
  uint32_t state[8];
  if (!data) return 1;
  make_constants();
  digest((const uint8_t *)"abc", 3, state);
  print_digest("abc", state);
  for (size_t i = 0; i < kib * 1024; i++) data[i] = (uint8_t)(i * 2654435761u >> 24);
  for (int r = 0; r < rounds; r++) {
    digest(data, kib * 1024, state);
    memcpy(data, state, sizeof state);
  }
  print_digest("data", state);
  return 0;
}
