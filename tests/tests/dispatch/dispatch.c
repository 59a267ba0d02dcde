/*
 * An interpreter of a small register machine. Each handler calls that of the next instruction in its last step, with the
 * machine's state in arguments; some of it lies on the native stack of those who compile it.
 *
 *   clang --target=wasm32 -O2 -mtail-call -nostdlib -Wl,--no-entry,--strip-debug dispatch.c -o dispatch.wasm
 */

typedef unsigned long long u64;
typedef long long i64;

__attribute__((import_module("host"), import_name("show"))) i64 show(i64 value);

typedef struct {
    unsigned char op, a, b, c;
    int imm;
} Instruction;

typedef struct {
    i64 registers[32];
    i64 memory[1024];
    const Instruction *returns[64];
    int depth;
    u64 steps;
    double sum;
} Machine;

#define STATE                                                                                        \
    const Instruction *ip, Machine *vm, i64 acc, double sum, i64 *r, u64 steps, i64 x, i64 y, double z
#define GO_ON(by)                                                                                    \
    do {                                                                                             \
        ip += (by);                                                                                  \
        [[clang::musttail]] return handlers[ip->op](ip, vm, acc, sum, r, steps + 1, x, y, z);        \
    } while (0)

typedef i64 (*Handler)(STATE);
static const Handler handlers[];

enum { HALT, SET, ADD, SUB, MUL, XOR, SHR, ADDI, JNZ, JLT, LOAD, STORE, MIX, SUM, ROOT, CALL, RETURN, SHOW, NEST };

static i64 halt(STATE) {
    vm->steps += steps;
    vm->sum = sum + z;
    return acc ^ x ^ y;
}
static i64 set(STATE) {
    r[ip->a] = ip->imm;
    GO_ON(1);
}
static i64 add(STATE) {
    r[ip->a] = r[ip->b] + r[ip->c];
    GO_ON(1);
}
static i64 sub(STATE) {
    r[ip->a] = r[ip->b] - r[ip->c];
    GO_ON(1);
}
static i64 mul(STATE) {
    r[ip->a] = (u64)r[ip->b] * (u64)r[ip->c];
    x += 1;
    GO_ON(1);
}
static i64 xor (STATE) {
    r[ip->a] = r[ip->b] ^ r[ip->c];
    GO_ON(1);
}
static i64 shr(STATE) {
    r[ip->a] = (u64)r[ip->b] >> (r[ip->c] & 63);
    GO_ON(1);
}
static i64 addi(STATE) {
    r[ip->a] = r[ip->b] + ip->imm;
    GO_ON(1);
}
static i64 jnz(STATE) {
    GO_ON(r[ip->a] ? ip->imm : 1);
}
static i64 jlt(STATE) {
    GO_ON(r[ip->a] < r[ip->b] ? ip->imm : 1);
}
static i64 load(STATE) {
    r[ip->a] = vm->memory[(r[ip->b] + ip->imm) & 1023];
    GO_ON(1);
}
static i64 store(STATE) {
    vm->memory[(r[ip->b] + ip->imm) & 1023] = r[ip->a];
    GO_ON(1);
}
static i64 mix(STATE) {
    acc = ((u64)acc << 5 | (u64)acc >> 59) ^ r[ip->a];
    y ^= acc;
    GO_ON(1);
}
static i64 fsum(STATE) {
    sum += (double)r[ip->a] * 0.5;
    z = z * 0.75 + sum;
    GO_ON(1);
}
static i64 root(STATE) {
    r[ip->a] = (i64)__builtin_sqrt((double)((u64)r[ip->b] >> 1));
    GO_ON(1);
}
static i64 call(STATE) {
    vm->returns[vm->depth++ & 63] = ip + 1;
    GO_ON(ip->imm);
}
static i64 ret(STATE) {
    ip = vm->returns[--vm->depth & 63];
    GO_ON(0);
}
/* Ordinary calls, with everything live across them. */
static i64 shows(STATE) {
    acc += show(r[ip->a] ^ acc);
    GO_ON(1);
}
static const Instruction nested[] = {
    {SET, 20, 0, 0, 20}, {SET, 21, 0, 0, 1}, {MIX, 20}, {SUM, 20}, {SUB, 20, 20, 21}, {JNZ, 20, 0, 0, -3}, {HALT},
};
static i64 nest(STATE) {
    acc ^= handlers[nested->op](nested, vm, acc, sum, r, 0, x, y, z);
    GO_ON(1);
}

static const Handler handlers[] = {
    halt, set, add, sub, mul, xor, shr, addi, jnz, jlt, load, store, mix, fsum, root, call, ret, shows, nest,
};

static Machine machine;

__attribute__((export_name("run"))) i64 run(int rounds) {
    Instruction program[] = {
        {SET, 0, 0, 0, 0}, {SET, 1, 0, 0, 1}, {SET, 2, 0, 0, rounds},
        /* 3 */ {ADDI, 3, 0, 0, 7}, {MUL, 4, 3, 3}, {XOR, 5, 4, 0}, {SHR, 7, 5, 1}, {SET, 8, 0, 0, 12},
        /* 8 */ {ADD, 9, 7, 8}, {MUL, 9, 9, 3}, {MIX, 9}, {SUB, 8, 8, 1}, {JNZ, 8, 0, 0, -4},
        /* 13 */ {ROOT, 10, 5}, {SUM, 10}, {CALL, 0, 0, 0, 7}, {SHOW, 9}, {NEST},
        /* 18 */ {ADDI, 0, 0, 0, 1}, {JLT, 0, 2, 0, -16}, {SUM, 0}, {HALT},
        /* 22 */ {STORE, 9, 0, 0, 3}, {LOAD, 13, 0, 0, 2}, {ADD, 14, 13, 10}, {MIX, 14}, {RETURN},
    };
    i64 result = handlers[program->op](program, &machine, 0, 0.0, machine.registers, 0, 1, 2, 3.0);
    return result ^ machine.steps ^ (i64)machine.sum;
}
