/* A recursive-descent JSON reader over a document that it writes first: branches on bytes,
   recursion, small allocations, string and number conversion. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct value {
  enum kind kind;
  double number;
  char *string;
  struct value *first, *next;
};

static const char *at;

static void fail(const char *what) {
  fprintf(stderr, "json: %s at \"%.16s\"\n", what, at);
  exit(1);
}

static void blank(void) {
  while (*at == ' ' || *at == '\n' || *at == '\t') at++;
}

static char *string(void) {
  size_t length = 0, room = 16;
  char *out = malloc(room);
  at++;
  while (*at != '"') {
    char c = *at++;
    if (!c) fail("string without end");
    if (c == '\\') {
      c = *at++;
      if (c == 'n') c = '\n';
      else if (c == 't') c = '\t';
    }
    if (length + 2 > room) out = realloc(out, room *= 2);
    out[length++] = c;
  }
  at++;
  out[length] = 0;
  return out;
}

static struct value *read_value(void) {
  struct value *v = calloc(1, sizeof *v);
  blank();
  if (*at == '"') {
    v->kind = JSON_STRING;
    v->string = string();
  } else if (*at == '[' || *at == '{') {
    char close = *at == '[' ? ']' : '}';
    struct value **link = &v->first;
    v->kind = *at == '[' ? JSON_ARRAY : JSON_OBJECT;
    at++;
    blank();
    while (*at != close) {
      char *key = NULL;
      if (v->kind == JSON_OBJECT) {
        blank();
        if (*at != '"') fail("no key");
        key = string();
        blank();
        if (*at++ != ':') fail("no colon");
      }
      *link = read_value();
      if (key) {
        struct value *held = *link;
        if (held->kind != JSON_STRING) held->string = key;
        else free(key);
      }
      link = &(*link)->next;
      blank();
      if (*at == ',') at++;
      else if (*at != close) fail("no comma");
    }
    at++;
  } else if (!strncmp(at, "true", 4) || !strncmp(at, "null", 4)) {
    v->kind = *at == 't' ? JSON_BOOL : JSON_NULL;
    v->number = *at == 't';
    at += 4;
  } else if (!strncmp(at, "false", 5)) {
    v->kind = JSON_BOOL;
    at += 5;
  } else {
    char *end;
    v->kind = JSON_NUMBER;
    v->number = strtod(at, &end);
    if (end == at) fail("no value");
    at = end;
  }
  return v;
}

static void add_up(const struct value *v, unsigned long long *count, double *sum) {
  for (; v; v = v->next) {
    count[v->kind]++;
    if (v->kind == JSON_NUMBER) *sum += v->number;
    add_up(v->first, count, sum);
  }
}

static void discard(struct value *v) {
  while (v) {
    struct value *next = v->next;
    discard(v->first);
    free(v->string);
    free(v);
    v = next;
  }
}

static char *write_document(int records) {
  size_t room = (size_t)records * 160 + 16, length = 0;
  char *text = malloc(room);
  length += (size_t)snprintf(text, room, "[");
  for (int i = 0; i < records; i++)
    length += (size_t)snprintf(
        text + length, room - length,
        "%s{\"id\": %d, \"name\": \"item \\\"%d\\\"\", \"tags\": [\"a%d\", \"b\", null], "
        "\"price\": %d.%02de-1, \"in\": {\"stock\": %s}}\n",
        i ? "," : "", i, i * 7, i % 10, i * 3, i % 100, i % 3 ? "true" : "false");
  snprintf(text + length, room - length, "]");
  return text;
}

int main(int argc, char **argv) {
  int records = argc > 1 ? atoi(argv[1]) : 1000;
  int rounds = argc > 2 ? atoi(argv[2]) : 1;
  unsigned long long count[6] = {0};
  double sum = 0;
  char *text = write_document(records);
  for (int r = 0; r < rounds; r++) {
    at = text;
    struct value *v = read_value();
    add_up(v, count, &sum);
    discard(v);
  }
  printf("null %llu bool %llu number %llu string %llu array %llu object %llu sum %.17g\n",
         count[0], count[1], count[2], count[3], count[4], count[5], sum);
  return 0;
}
