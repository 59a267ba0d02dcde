/* `webp SIZE OUT`: draws a picture, encodes it in several ways, decodes each and says what came of it; the last
   encoded picture is written to OUT. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "webp/decode.h"
#include "webp/encode.h"

static uint32_t seed = 12345;

static uint32_t draw(void) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  return seed;
}

static uint32_t hash(const uint8_t *bytes, size_t count) {
  uint32_t sum = 2166136261u;
  for (size_t i = 0; i < count; i++) sum = (sum ^ bytes[i]) * 16777619u;
  return sum;
}

/* Slopes, edges, noise, and a round shape that one can look through. */
static void paint(uint8_t *rgba, int size) {
  for (int y = 0; y < size; y++) {
    for (int x = 0; x < size; x++) {
      uint8_t *at = rgba + 4 * (y * size + x);
      int dx = x - size / 2, dy = y - size / 3, inside = dx * dx + dy * dy < size * size / 16;
      at[0] = (uint8_t)(x * 255 / size);
      at[1] = (uint8_t)(((x / 8) ^ (y / 8)) & 1 ? 200 : y * 255 / size);
      at[2] = (uint8_t)(inside ? 255 - (dx * dy & 127) : (draw() >> 24) / 4);
      at[3] = (uint8_t)(inside ? 128 + (x & 63) : 255);
    }
  }
}

static int encode(const uint8_t *rgba, int size, const char *name, int lossless, float quality, int method,
                  WebPMemoryWriter *out) {
  WebPConfig config;
  WebPPicture picture;
  if (!WebPConfigInit(&config) || !WebPPictureInit(&picture)) return 0;
  config.lossless = lossless;
  config.quality = quality;
  config.method = method;
  config.use_sharp_yuv = !lossless && method > 4;
  config.autofilter = method > 3;
  picture.use_argb = lossless;
  picture.width = picture.height = size;
  WebPMemoryWriterInit(out);
  picture.writer = WebPMemoryWrite;
  picture.custom_ptr = out;
  int done = WebPPictureImportRGBA(&picture, rgba, 4 * size) && WebPEncode(&config, &picture);
  WebPPictureFree(&picture);
  if (!done) {
    printf("%s: error %d\n", name, picture.error_code);
    return 0;
  }
  int width, height;
  uint8_t *back = WebPDecodeRGBA(out->mem, out->size, &width, &height);
  if (!back || width != size || height != size) return 0;
  uint64_t error = 0;
  for (int i = 0; i < 4 * size * size; i++) error += (uint64_t)((back[i] - rgba[i]) * (back[i] - rgba[i]));
  printf("%s: %zu bytes %08x, decoded %08x, squares %llu\n", name, out->size, hash(out->mem, out->size),
         hash(back, 4 * (size_t)size * (size_t)size), (unsigned long long)error);
  WebPFree(back);
  return 1;
}

/* Decoded again at another size, to colours of another kind. */
static int scaled(const WebPMemoryWriter *from) {
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) return 0;
  config.options.use_scaling = 1;
  config.options.scaled_width = 37;
  config.options.scaled_height = 53;
  config.options.dithering_strength = 40;
  config.output.colorspace = MODE_YUVA;
  if (WebPDecode(from->mem, from->size, &config) != VP8_STATUS_OK) return 0;
  const WebPYUVABuffer *yuva = &config.output.u.YUVA;
  printf("scaled: %08x %08x %08x %08x\n", hash(yuva->y, yuva->y_size), hash(yuva->u, yuva->u_size),
         hash(yuva->v, yuva->v_size), hash(yuva->a, yuva->a_size));
  WebPFreeDecBuffer(&config.output);
  return 1;
}

int main(int count, char **list) {
  int size = count > 1 ? atoi(list[1]) : 64;
  uint8_t *rgba = malloc(4 * (size_t)size * (size_t)size);
  if (!rgba || count < 3) return 1;
  paint(rgba, size);
  WebPMemoryWriter out;
  if (!encode(rgba, size, "lossless", 1, 60, 3, &out)) return 1;
  WebPMemoryWriterClear(&out);
  if (!encode(rgba, size, "fast", 0, 50, 1, &out)) return 1;
  WebPMemoryWriterClear(&out);
  if (!encode(rgba, size, "good", 0, 80, 6, &out) || !scaled(&out)) return 1;
  FILE *file = fopen(list[2], "wb");
  if (!file || fwrite(out.mem, 1, out.size, file) != out.size || fclose(file)) return 1;
  WebPMemoryWriterClear(&out);
  free(rgba);
  return 0;
}
