// Something for a C++ front end to do: templates that are instantiated many times, virtual calls, recursion
// in constant expressions.

#include <stddef.h>
#include <stdint.h>

template <unsigned N> struct Fibonacci {
    static constexpr uint32_t value = Fibonacci<N - 1>::value + Fibonacci<N - 2>::value;
};
template <> struct Fibonacci<0> { static constexpr uint32_t value = 0; };
template <> struct Fibonacci<1> { static constexpr uint32_t value = 1; };

template <typename T, size_t N> class Ring {
    T items[N];
    size_t first = 0, count = 0;

public:
    bool push(const T &item) {
        if (count == N) return false;
        items[(first + count++) % N] = item;
        return true;
    }
    bool pop(T &item) {
        if (count == 0) return false;
        item = items[first];
        first = (first + 1) % N;
        --count;
        return true;
    }
    template <typename F> void each(F f) const {
        for (size_t i = 0; i < count; ++i) f(items[(first + i) % N]);
    }
};

template <typename T, size_t N> void sort(T (&values)[N]) {
    for (size_t i = 1; i < N; ++i) {
        T value = values[i];
        size_t j = i;
        for (; j > 0 && value < values[j - 1]; --j) values[j] = values[j - 1];
        values[j] = value;
    }
}

struct Shape {
    virtual int32_t area() const = 0;
    virtual int32_t scaled(int32_t by) const { return area() * by; }
};
struct Square : Shape {
    int32_t side;
    explicit Square(int32_t side) : side(side) {}
    int32_t area() const override { return side * side; }
};
struct Circle : Shape {
    int32_t radius;
    explicit Circle(int32_t radius) : radius(radius) {}
    int32_t area() const override { return 355 * radius * radius / 113; }
    int32_t scaled(int32_t by) const override { return area() * by * by; }
};

volatile int32_t input, output;

template <size_t N> int32_t rings() {
    Ring<int16_t, N> small;
    Ring<int64_t, N + 1> large;
    for (int i = 0; i < input; ++i) {
        small.push(int16_t(i * 3));
        large.push(int64_t(i) << 20);
    }
    int64_t sum = 0;
    small.each([&](int16_t item) { sum += item; });
    large.each([&](int64_t item) { sum ^= item; });
    int16_t item;
    while (small.pop(item)) sum -= item;
    return int32_t(sum);
}

template <size_t N> int32_t sorted() {
    int32_t values[N];
    float floats[N];
    for (size_t i = 0; i < N; ++i) {
        values[i] = int32_t((i * 2654435761u) >> 7) ^ input;
        floats[i] = float(values[i]) / 3.0f;
    }
    sort(values);
    sort(floats);
    return values[N / 2] + int32_t(floats[N / 3]);
}

template <size_t... Sizes> struct List {};
template <size_t First, size_t... Rest> int32_t all(List<First, Rest...>) {
    int32_t result = rings<First>() + sorted<First>();
    if constexpr (sizeof...(Rest) > 0) result += all(List<Rest...>());
    return result;
}

int main() {
    Square square(input);
    Circle circle(input + 1);
    const Shape *shapes[] = {&square, &circle, &square};
    int32_t sum = int32_t(Fibonacci<40>::value);
    for (const Shape *shape : shapes) sum += shape->scaled(input);
    output = sum + all(List<4, 5, 8, 13, 16, 21, 32, 34, 55, 64>());
    return 0;
}
