// Exceptions through many frames, in every way that C++ has: destructors on the way, rethrown, nested,
// kept and thrown later, out of constructors, across virtual calls and callbacks of the C library.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

static uint64_t seed = 1;

static unsigned draw(unsigned below) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return unsigned(seed >> 33) % below;
}

// What happened in which order, as one number.
static uint64_t trace = 0;

static void note(uint64_t what) { trace = (trace ^ what) * 1099511628211u; }

static int alive = 0;

struct Guard {
  unsigned id;
  explicit Guard(unsigned id) : id(id) { ++alive; }
  ~Guard() {
    --alive;
    note(id * 2 + (std::uncaught_exceptions() != 0));
  }
};

struct Left {
  virtual ~Left() = default;
  int left = 1;
};
struct Right {
  virtual ~Right() = default;
  int right = 2;
};
struct Both : Left, virtual Right {
  explicit Both(int value) : value(value) {}
  int value;
};
struct Far : std::runtime_error {
  Far(unsigned depth, double x) : std::runtime_error("far " + std::to_string(depth)), x(x) {}
  double x;
};

[[noreturn]] static void raise(unsigned kind, unsigned depth) {
  switch (kind % 6) {
  case 0: throw int(depth);
  case 1: throw Both(int(depth));
  case 2: throw Far(depth, depth / 3.0);
  case 3: throw std::string(depth % 40 + 1, char('a' + depth % 26));
  case 4: throw static_cast<const char *>("literal");
  default: throw std::out_of_range("range " + std::to_string(depth));
  }
}

// Frames with guards, some of which catch what they know and pass it on.
struct Step {
  virtual ~Step() = default;
  virtual long go(unsigned depth, unsigned kind) = 0;
};
static std::vector<std::unique_ptr<Step>> steps;

static long onward(unsigned depth, unsigned kind) {
  if (depth == 0) raise(kind, draw(1000));
  return steps[draw(unsigned(steps.size()))]->go(depth - 1, kind);
}

struct Plain : Step {
  long go(unsigned depth, unsigned kind) override {
    Guard guard(depth);
    return onward(depth, kind) + 1;
  }
};
struct Rethrow : Step {
  long go(unsigned depth, unsigned kind) override {
    Guard outer(depth + 1000);
    try {
      Guard inner(depth + 2000);
      return onward(depth, kind) * 3;
    } catch (const std::exception &error) {
      note(error.what()[0]);
      throw;
    } catch (Right &right) {
      note(unsigned(right.right++));
      throw;
    }
  }
};
struct Change : Step {
  long go(unsigned depth, unsigned kind) override {
    double kept = depth * 1.5;
    try {
      return onward(depth, kind) ^ 5;
    } catch (int value) {
      Guard guard(depth + 3000);
      if (value % 3 == 0) throw Far(unsigned(value), kept);
      throw value + 1;
    } catch (const std::string &text) {
      note(text.size());
      if (text.size() % 2) return long(text.size());
      throw;
    }
  }
};
struct Nested : Step {
  long go(unsigned depth, unsigned kind) override {
    try {
      return onward(depth, kind);
    } catch (...) {
      if (depth % 5 == 0) std::throw_with_nested(std::logic_error("wrapped " + std::to_string(depth)));
      std::exception_ptr kept = std::current_exception();
      try {
        Guard guard(depth + 4000);
        if (depth % 2) throw depth * 0.25;
      } catch (double inner) {
        note(uint64_t(inner * 4));
      }
      std::rethrow_exception(kept);
    }
  }
};
struct Callback : Step {
  long go(unsigned depth, unsigned kind) override {
    std::function<long(unsigned)> call = [guard = std::make_shared<Guard>(depth + 5000), kind](unsigned d) {
      return onward(d, kind) - long(guard->id & 1);
    };
    return call(depth);
  }
};
struct Member {
  Guard guard;
  explicit Member(unsigned id) : guard(id) {}
};
// Its first members are destroyed if a later one throws.
struct Whole {
  Member first;
  Member second;
  long value;
  Whole(unsigned depth, unsigned kind) try
      : first(depth + 6000), second(depth + 7000), value(onward(depth, kind)) {
  } catch (const std::logic_error &) {
    note(77);
  }
};
struct Construct : Step {
  long go(unsigned depth, unsigned kind) override {
    std::unique_ptr<Whole> whole(new Whole(depth, kind));
    return whole->value + 7;
  }
};

static unsigned layers(const std::exception &error) {
  note(error.what()[0]);
  try {
    std::rethrow_if_nested(error);
  } catch (const std::exception &inner) {
    return layers(inner) + 1;
  } catch (...) {
    return 100;
  }
  return 0;
}

static long attempt(unsigned depth, unsigned kind) {
  try {
    return onward(depth, kind);
  } catch (int value) {
    return value;
  } catch (const Both &both) {
    return both.value + both.right * 10 + both.left;
  } catch (const Far &far) {
    return long(far.x * 8) + long(layers(far));
  } catch (const std::exception &error) {
    return long(layers(error)) + 10000;
  } catch (const char *text) {
    return text[0];
  } catch (...) {
    return -1;
  }
}

// Out of a callback that C code calls.
static int sorted = 0;
static int compare(const void *a, const void *b) {
  Guard guard(9);
  if (++sorted == 150) throw sorted;
  int x = *static_cast<const int *>(a), y = *static_cast<const int *>(b);
  return (x > y) - (x < y);
}

static long sort_until_it_throws() {
  std::vector<int> numbers(64);
  for (int &n : numbers) n = int(draw(1000));
  sorted = 0;
  try {
    qsort(numbers.data(), numbers.size(), sizeof(int), compare);
  } catch (int at) {
    return at;
  }
  return 0;
}

static std::vector<std::exception_ptr> kept;

static void keep() {
  kept.clear();
  for (unsigned i = 0; i < 12; i++) {
    try {
      Guard guard(i);
      raise(i, i * 7);
    } catch (...) {
      kept.push_back(std::current_exception());
    }
  }
}

static long throw_kept() {
  long sum = 0;
  for (unsigned i = 0; i < 24; i++) {
    try {
      std::rethrow_exception(kept[(i * 5) % kept.size()]);
    } catch (int value) {
      sum += value;
    } catch (const Left &left) {
      sum += left.left * 3;
    } catch (const std::string &text) {
      sum += long(text.size());
    } catch (const std::exception &error) {
      sum += error.what()[0];
    } catch (...) {
      sum += 1;
    }
  }
  return sum;
}

static long deep(unsigned depth, int volatile *at) {
  Guard guard(depth);
  if (depth == 0) throw 42L;
  long below = deep(depth - 1, at);
  *at += 1;
  return below + *at;
}

static long library() {
  long sum = 0;
  try {
    std::vector<int>(3).at(draw(3) + 3) = 1;
  } catch (const std::out_of_range &) {
    sum += 1;
  }
  try {
    sum += std::stoi("no number");
  } catch (const std::invalid_argument &error) {
    sum += error.what()[0];
  }
  try {
    std::function<void()> nothing;
    nothing();
  } catch (const std::bad_function_call &) {
    sum += 2;
  }
  try {
    Left left;
    Left &reference = left;
    sum += dynamic_cast<Both &>(reference).value;
  } catch (const std::bad_cast &) {
    sum += 4;
  }
  return sum;
}

static void no_way_out(unsigned depth) noexcept {
  Guard guard(depth);
  throw Far(depth, 1.0);
}

int main(int argc, char **argv) {
  unsigned rounds = argc > 1 ? unsigned(atoi(argv[1])) : 100;
  steps.emplace_back(new Plain);
  steps.emplace_back(new Rethrow);
  steps.emplace_back(new Change);
  steps.emplace_back(new Nested);
  steps.emplace_back(new Callback);
  steps.emplace_back(new Construct);
  long sum = 0;
  int volatile at = 0;
  for (unsigned i = 0; i < rounds; i++) {
    sum += attempt(draw(30) + 1, i);
    sum += sort_until_it_throws();
    if (i % 8 == 0) {
      keep();
      sum += throw_kept() + library();
      try {
        sum += deep(200 + draw(200), &at);
      } catch (long value) {
        sum += value;
      }
    }
    if (alive != 0) {
      printf("%d guards are still alive in round %u\n", alive, i);
      return 1;
    }
  }
  printf("sum %ld, trace %016llx, exceptions in flight %d\n", sum, (unsigned long long)trace,
         std::uncaught_exceptions());
  // The last one may not leave the function that it comes to.
  std::set_terminate([] {
    printf("ended by std::terminate\n");
    exit(3);
  });
  no_way_out(3);
}
